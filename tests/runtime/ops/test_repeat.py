# SPDX-License-Identifier: Apache-2.0
"""Numbers that are repeated as often as the input's size says, where somebody must see all of them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from runtime_nets import assert_like_paddle

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import PlanWriter, image
from paddle_unstructured.runtime.reader import Refusal

pytestmark = pytest.mark.usefixtures("static")


def length(x):
    return paddle.shape(x)[1]


def stored(*shape):
    return paddle.create_parameter(list(shape), "float32")


def mean(x):
    return x.mean(1, keepdim=True)


TOKENS = {
    "times ones": lambda x: paddle.concat([x, mean(x) * paddle.ones_like(x)], -1),
    "expand": lambda x: paddle.concat([x, x[:, :1].expand([-1, length(x), -1])], -1),
    "expand, returned": lambda x: mean(x).expand([-1, length(x), -1]),
    "expand_as": lambda x: paddle.cumsum(mean(x).expand_as(x), 1),
    "tile": lambda x: paddle.concat([paddle.tile(x[:, 2:3], [1, length(x), 1]), x], 2),
    "a stored row": lambda x: paddle.concat([x, stored(1, 1, 3).expand([paddle.shape(x)[0], length(x), -1])], -1),
    "one number": lambda x: paddle.concat([x[:, :, :4], mean(x[:, :, :1]).expand([-1, length(x), -1]), x], -1),
    "length of a slice": lambda x: paddle.concat([x[:, 1:], mean(x) + paddle.zeros_like(x[:, 1:])], -1),
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_repeated_as_in_paddle(tmp_path, name):
    plan = assert_like_paddle(tmp_path, TOKENS[name], [-1, -1, 12], [2, 7, 12])
    assert sum(line.startswith("expand ") for line in plan.splitlines()) == 1


def columns(x):
    """[n, 12, h, 1] as wide as x."""
    return x.max(3, keepdim=True)


PLANES = {
    "columns": lambda x: paddle.concat([x, columns(x).expand([-1, -1, -1, paddle.shape(x)[3]])], 1),
    "rows": lambda x: paddle.concat([x, x[:, :3].mean(2, keepdim=True) * paddle.ones_like(x[:, :3])], 1),
    "one number": lambda x: paddle.concat([x, x.mean([1, 2, 3], keepdim=True) + paddle.zeros_like(x[:, :1])], 1),
}


@pytest.mark.parametrize("name", PLANES)
def test_planes_are_repeated_as_in_paddle(tmp_path, name):
    assert_like_paddle(tmp_path, PLANES[name], [-1, 12, -1, -1])


def test_what_is_cut_to_an_open_size_is_not_joined(tmp_path):
    def layers(x):
        return paddle.stack([paddle.arange(length(x)).astype("float32"), x[0, :, 0]], axis=0)

    with pytest.raises(Refusal, match="places of an open size are joined with an activation"):
        assert_like_paddle(tmp_path, layers, [-1, -1, 12])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 4, 1), (1, 1, 17), (3, 4, 1), (1, 4, 17), (3, 1, 17), (3, 4, 17)])
def test_expand_equals_numpys_and_looks_at_sizes_alone(shape, threads):
    random = np.random.default_rng(0)
    x, like = random.normal(size=(2, *shape)).astype("float32"), np.full([2, 3, 4, 17], np.nan, "float32")
    writer = PlanWriter([image(shape[0]), image(3, name="like")])
    writer.output(writer.add("expand", [0, 1]), dims=["n", "c", "h", "w"])
    [found] = Engine(writer.text, writer.arrays, threads=threads).run(x, like)
    np.testing.assert_array_equal(found, np.broadcast_to(x, like.shape))
