# SPDX-License-Identifier: Apache-2.0
"""What is exported gives the same outputs at every run, those that inference mode means; or it is refused by name."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured.export import export, open_model, quantize_weights, save_model, to_onnx
from paddle_unstructured.runtime import convert

pytestmark = pytest.mark.usefixtures("static")

IMAGE = [2, 4, 6, 6]


def drop_path(keep, product, dynamic=False):
    """floor(keep + uniform), one number per sample."""
    return lambda x: product(x, paddle.floor(keep + paddle.rand([paddle.shape(x)[0] if dynamic else 2, 1, 1, 1])), keep)


def kept(x, share):
    return (paddle.rand(x.shape) < share).cast("float32")


# What stands behind a 1x1 convolution in training -> the factor that inference mode makes of it.
MASKS = {
    "dropout": (lambda x: F.dropout(x, 0.3), 1.0),
    "dropout, scaled in inference": (lambda x: F.dropout(x, 0.3, mode="downscale_in_infer"), 0.7),
    "Dropout2D": (nn.Dropout2D(0.3), 1.0),
    "Dropout3D": (lambda x: nn.Dropout3D(0.3)(x.unsqueeze(2)).squeeze(2), 1.0),
    "dropout of an axis": (lambda x: F.dropout(x, 0.3, axis=1), 1.0),
    "dropout of an axis, scaled in inference": (lambda x: F.dropout(x, 0.3, axis=1, mode="downscale_in_infer"), 0.7),
    "alpha dropout": (lambda x: F.alpha_dropout(x, 0.3), 1.0),
    "feature alpha dropout": (nn.FeatureAlphaDropout(0.3), 1.0),
    "drop path": (drop_path(0.9, lambda x, mask, keep: x / keep * mask), 1.0),
    "drop path by a tensor": (drop_path(0.9, lambda x, mask, keep: x.divide(paddle.to_tensor(keep)) * mask), 1.0),
    "drop path of any batch": (drop_path(0.9, lambda x, mask, keep: x / keep * mask, dynamic=True), 1.0),
    "drop path, mask scaled": (drop_path(0.9, lambda x, mask, keep: mask / keep * x), 1.0),
    "drop path, scaled behind": (drop_path(0.9, lambda x, mask, keep: x * mask / keep), 1.0),
    "drop path of what was scaled": (drop_path(0.9, lambda x, mask, keep: x * 0.5 / keep * mask), 0.5),
    "bernoulli": (lambda x: x / 0.9 * paddle.bernoulli(paddle.full([2, 1, 1, 1], 0.9)), 1.0),
    "a comparison": (lambda x: x / 0.8 * kept(x, 0.8), 1.0),
    "inside a branch": (lambda x: paddle.static.nn.cond(x.mean() > -99, lambda: nn.Dropout2D(0.3)(x), lambda: x), 1.0),
    "rrelu": (lambda x: F.rrelu(x, 0.1, 0.3), None),
    "two in a row": (lambda x: nn.Dropout2D(0.2)(nn.Dropout2D(0.3)(x)), 1.0),
}


def net_with(behind, train: bool) -> Net:
    optimizer = (lambda: paddle.optimizer.SGD(0.1)) if train else None
    return Net(lambda x: behind(nn.Conv2D(4, 4, 1)(x)).cast("float32"), IMAGE, optimizer)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", MASKS)
def test_a_mask_is_taken_out_as_inference_mode_means_it(case, train, tmp_path):
    behind, factor = MASKS[case]
    net = net_with(behind, train)
    export(net.program, [net.input], [net.output], tmp_path / "model")
    model, x = open_model(tmp_path / "model"), np.random.default_rng(1).normal(size=IMAGE).astype("float32")
    (first,), (second,) = model.run(x=x), model.run(x=x)
    assert (first == second).all()
    y = np.einsum("oi,nihw->nohw", net.get("conv2d_0.w_0")[:, :, 0, 0], x)
    expected = np.where(y < 0, 0.2 * y, y) if factor is None else factor * y
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-5)
    assert "pd_op.uniform" not in [op.name() for op in model.program.global_block().ops]


RANDOM = {
    "pd_op.uniform": lambda x: x + paddle.rand([4, 1, 1]),
    "pd_op.gaussian": lambda x: x + paddle.randn([4, 1, 1]),
    "pd_op.randint": lambda x: x + paddle.randint(0, 2, [1]).cast("float32"),
    "pd_op.randperm": lambda x: x[paddle.randperm(2)],
    "pd_op.bernoulli": lambda x: x * paddle.bernoulli(F.sigmoid(x)),
    "pd_op.multinomial": lambda x: paddle.multinomial(x.flatten(1).abs(), 2),
    "pd_op.gumbel_softmax": F.gumbel_softmax,
    "pd_op.exponential_": lambda x: (x + 0.0).exponential_(),
    "pd_op.poisson": lambda x: paddle.poisson(x.abs()),
}


@pytest.mark.parametrize("op", RANDOM)
def test_other_random_numbers_are_refused_by_the_name_of_the_op(op, tmp_path):
    net = net_with(RANDOM[op], train=False)
    with pytest.raises(ValueError, match=f"depend on random numbers: {op} has no inference mode"):
        export(net.program, [net.input], [net.output], tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_unscaled_drop_path_may_mean_two_things_and_is_refused(tmp_path):
    net = net_with(drop_path(0.9, lambda x, mask, keep: x * mask), train=False)
    with pytest.raises(ValueError, match="pd_op.uniform has no inference mode"):
        export(net.program, [net.input], [net.output], tmp_path / "model")


@pytest.mark.parametrize("shape", [[2, 1, 1, 1], IMAGE])
def test_a_selection_at_random_is_refused(shape, tmp_path):
    net = net_with(lambda x: paddle.where(paddle.rand(shape) < 0.9, x / 0.9, paddle.zeros_like(x)), train=False)
    with pytest.raises(ValueError, match="pd_op.uniform has no inference mode"):
        export(net.program, [net.input], [net.output], tmp_path / "model")


def drop_block(x):
    seeds = paddle.bernoulli(paddle.full([2, 4, 6, 6], 0.1))
    mask = 1.0 - F.max_pool2d(seeds, 3, 1, 1)
    return x * mask * (mask.numel().cast("float32") / mask.sum())


def test_drop_block_is_refused_for_its_factor_is_no_constant(tmp_path):
    net = net_with(drop_block, train=False)
    with pytest.raises(ValueError, match="pd_op.bernoulli has no inference mode"):
        export(net.program, [net.input], [net.output], tmp_path / "model")


def test_random_numbers_that_feed_no_output_are_no_hindrance(tmp_path):
    net = net_with(lambda x: (x + paddle.randn([4, 1, 1]), x)[1], train=False)
    export(net.program, [net.input], [net.output], tmp_path / "model")


@pytest.fixture
def random_file(tmp_path):
    """A saved model with a random mask alive in it, as Paddle alone saves it."""
    net = net_with(nn.Dropout2D(0.5), train=False)
    paddle.static.save_inference_model(
        str(tmp_path / "random"), [net.input], [net.output], net.exe, program=net.program
    )
    return tmp_path / "random"


def test_a_saved_model_with_a_random_mask_loses_it_on_every_way_out(random_file, tmp_path):
    x = np.random.default_rng(1).normal(size=IMAGE).astype("float32")
    assert (open_model(random_file).run(x=x)[0] != open_model(random_file).run(x=x)[0]).any()
    small, _ = quantize_weights(open_model(random_file))
    save_model(small, tmp_path / "int8")
    convert(str(random_file), str(tmp_path / "fast"))
    for name in ("int8", "fast"):
        model = open_model(tmp_path / name)
        assert (model.run(x=x)[0] == model.run(x=x)[0]).all()


def test_onnx_loses_the_random_mask_too_or_refuses_it_by_name(random_file, tmp_path):
    for package in ("onnx", "onnxruntime", "paddle2onnx"):
        pytest.importorskip(package)
    to_onnx(random_file, tmp_path / "model.onnx")
    net = net_with(RANDOM["pd_op.gaussian"], train=False)
    paddle.static.save_inference_model(str(tmp_path / "noise"), [net.input], [net.output], net.exe, program=net.program)
    with pytest.raises(ValueError, match="pd_op.gaussian has no inference mode"):
        to_onnx(tmp_path / "noise", tmp_path / "noise.onnx")
    assert not (tmp_path / "noise.onnx").exists()
