# SPDX-License-Identifier: Apache-2.0
"""`einsum` and stacked products with weights are linear layers, whose zeros are left out."""

from __future__ import annotations

import paddle
import pytest
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")
PLANES, OPEN = [-1, 6, 4, 10], [-1, 6, 4, -1]


def weight(*shape):
    return paddle.create_parameter(list(shape), "float32")


def einsum(equation, *shape, swapped=False):
    def layers(x):
        both = (weight(*shape), x) if swapped else (x, weight(*shape))
        return paddle.einsum(equation, *both)

    return layers


def queries(x):
    """Numbers that are learned, the same for each sample: as many as the batch says."""
    return paddle.einsum("nqc,nchw->nqhw", weight(1, 8, 6).expand([paddle.shape(x)[0], -1, -1]), x)


NETS = {
    "the same for each sample": (queries, OPEN),
    "linear": (einsum("nchw,cd->nhwd", 6, 8), OPEN),
    "weight first": (einsum("cd,nchw->ndhw", 6, 8, swapped=True), OPEN),
    "heads": (einsum("nchw,cij->nhwij", 6, 3, 2), OPEN),
    "from heads": (einsum("nchw,chd->nwd", 6, 4, 5), OPEN),
    "one for each row": (einsum("nchw,hkw->nchk", 4, 7, 10), PLANES),
    "one for each channel and row": (einsum("nchw,chwd->nchd", 6, 4, 10, 3), PLANES),
    "a letter of the weight alone": (einsum("nchw,cde->nhwd", 6, 8, 2), OPEN),
    "experts": (lambda x: paddle.matmul(x, weight(6, 10, 8)), PLANES),
    "experts, transposed": (lambda x: paddle.matmul(x, weight(6, 8, 10), transpose_y=True), PLANES),
    "one for all": (lambda x: paddle.matmul(x, weight(1, 10, 8)), PLANES),
    "more than there are": (lambda x: paddle.matmul(x[:, :1], weight(6, 10, 8)), PLANES),
}


@pytest.mark.parametrize("name", NETS)
def test_a_product_with_a_weight_is_a_linear_layer(tmp_path, name):
    layers, shape = NETS[name]
    plan = assert_like_paddle(tmp_path, layers, shape, sparsity=0.8)
    kinds = [line.split(" ")[0] for line in plan.splitlines()]
    assert kinds.count("conv") + kinds.count("linear") == (1 if name == "more than there are" else 2)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("axis, shape", [(0, [8, 6, 3, 3]), (1, [8, 6, 1, 1])])
def test_a_weight_under_spectral_norm_is_stored_divided(tmp_path, axis, shape, steps):
    def layers(x):
        norm = paddle.nn.SpectralNorm(shape, dim=axis, power_iters=steps)
        return paddle.nn.functional.conv2d(x, norm(weight(*shape)))

    plan = assert_like_paddle(tmp_path, layers, [-1, 6, -1, -1])
    assert [line.split(" ")[0] for line in plan.splitlines()].count("conv") == 2
