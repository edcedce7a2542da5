# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: the right numbers, the right gradients, masks that hold, and a model without a trace."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net, loop, masks_in
from paddle import nn

from paddle_unstructured import Int8Block, UnstructuredPruner, test_program
from paddle_unstructured.export import export, open_model
from paddle_unstructured.formats.pair import sha256
from paddle_unstructured.graph import open_graph
from paddle_unstructured.training.quantization_aware import quantize_aware
from paddle_unstructured.training.quantizers import AffineQuantizer, round_activation, round_weight
from paddle_unstructured.training.recipe import Recipe


def slow_weight(weight: np.ndarray, axis: int) -> np.ndarray:
    rows = np.moveaxis(np.float64(weight), axis, 0)
    scales = np.abs(rows).reshape(len(rows), -1).max(1) / 127
    return np.moveaxis(np.stack([np.rint(row / s) * s if s else row for row, s in zip(rows, scales)]), 0, axis)


def slow_grid(low: float, high: float) -> tuple[float, float]:
    scale = (max(high, 0.0) - min(low, 0.0)) / 255
    return scale, np.rint(-min(low, 0.0) / scale)


def slow_activation(x: np.ndarray, low: float, high: float) -> np.ndarray:
    scale, zero = slow_grid(low, high)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale


def tensor(values: Any) -> Any:
    return paddle.to_tensor(np.float32(values))


# -- the formulas, on literals


@pytest.mark.parametrize("shape, axis", [((4, 3, 2, 2), 0), ((5, 7), 1), ((6, 1, 3, 3), 0), ((2, 3), 0)])
def test_weights_are_rounded_for_each_output_channel_by_itself(shape, axis):
    weight = np.random.default_rng(0).normal(size=shape).astype("float32")
    weight[(slice(None),) * axis + (1,)] *= 1e-3
    np.testing.assert_allclose(round_weight(tensor(weight), axis).numpy(), slow_weight(weight, axis), rtol=1e-6)


def test_zero_weights_stay_exactly_zero_and_so_does_a_channel_of_zeros():
    weight = np.random.default_rng(1).normal(size=(4, 8)).astype("float32")
    weight[weight < 0.3] = 0.0
    weight[2] = 0.0
    rounded = round_weight(tensor(weight), 0).numpy()
    assert (rounded[weight == 0] == 0).all() and np.isfinite(rounded).all() and rounded.any()


@pytest.mark.parametrize("low, high", [(-1.0, 0.9), (-0.1, 3.0), (0.0, 6.0), (0.5, 2.0), (-3.0, -1.0), (-1e-3, 1e4)])
def test_activations_are_rounded_to_256_numbers_of_which_zero_is_one(low, high):
    x = np.random.default_rng(2).normal(size=4000).astype("float32") * (high - low)
    scale, zero = slow_grid(low, high)
    x = x[np.abs(x / scale - np.floor(x / scale) - 0.5) > 1e-3]  # float32 may see another side of a tie
    rounded = round_activation(tensor(x), tensor([low]), tensor([high])).numpy()
    np.testing.assert_allclose(rounded, slow_activation(x, low, high), rtol=1e-5, atol=1e-6 * scale)
    assert len(np.unique(rounded)) <= 256 and 0 <= zero <= 255
    assert (round_activation(tensor([0.0]), tensor([low]), tensor([high])).numpy() == 0).all()


def test_a_range_between_two_bytes_is_moved_so_that_256_numbers_hold_zero():
    rounded = round_activation(tensor([-9.0, 300.0]), tensor([-1.5]), tensor([253.5]))  # steps of 1, zero at 1.5 -> 2
    assert rounded.tolist() == [-2.0, 253.0]


def test_gradients_go_straight_through_inside_the_range_and_are_zero_outside():
    x = tensor([-2.0, -0.9, 0.3, 0.9, 1.1, 7.0])
    x.stop_gradient = False
    (round_activation(x, tensor([-1.0]), tensor([1.0])) * tensor([1, 2, 3, 4, 5, 6])).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 0, 0]
    weight = tensor([[0.5, 0.0, -2.0]])
    weight.stop_gradient = False
    (round_weight(weight, 0) * tensor([[1, 2, 3]])).sum().backward()
    assert weight.grad.tolist() == [[1, 2, 3]]


# -- in a Program


def small(x: Any) -> Any:
    """[n, 3, 6, 6]: stem, depthwise, 3x3, max pooling, linear: every kind of layer that is rounded."""
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Conv2D(8, 8, 3, padding=1, groups=8),
        nn.ReLU6(),
        nn.MaxPool2D(2),
        nn.Conv2D(8, 6, 1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )(x)


class Aware(Net):
    """A net whose forward Program was rewritten before the loss; `test` is the clone that reads the same ranges."""

    def __init__(self, layers: Any = small, shape: tuple = (8, 3, 6, 6), rate: float = 0.05, **kwargs: Any) -> None:
        def forward(x: Any) -> Any:
            output = layers(x)
            program, mapping = paddle.static.default_main_program(), paddle.pir.IrMapping()
            self.plain, self.twin = program.clone(mapping), mapping.look_up(output)
            self.quantized = quantize_aware(program, **kwargs)
            return output

        super().__init__(forward, list(shape), lambda: paddle.optimizer.Momentum(rate))
        for op in self.plain.global_block().ops:
            if op.has_attr("is_test"):
                op.set_bool_attr("is_test", True)


WEIGHTS = ["conv2d_0.w_0", "conv2d_1.w_0", "conv2d_2.w_0", "linear_0.w_0"]


@pytest.mark.usefixtures("static")
def test_a_linear_layer_computes_the_rounded_product_and_learns_through_it():
    """One SGD-like step by hand: loss mean((y - 1)^2) of y = q(x) q(W) + b."""
    net = Aware(lambda x: nn.Linear(4, 3)(x), (8, 4), 0.5)
    weight, bias = net.get("linear_0.w_0"), net.get("linear_0.b_0")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")  # what `run` feeds at step 0
    loss, output = net.run((net.output,))
    seen = slow_activation(x, x.min(), x.max())
    expected = seen @ slow_weight(weight, 1) + bias
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    gradient = seen.T @ (2 * (expected - 1) / expected.size)
    np.testing.assert_allclose(net.get("linear_0.w_0"), weight - 0.5 * gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("static")
def test_ranges_are_running_averages_of_the_batches_extremes():
    net = Aware(lambda x: nn.Linear(4, 3)(x), (8, 4), decay=0.75)
    with pytest.raises(ValueError, match="linear_0.w_0_input_range has seen no batch yet"):
        net.quantized.ranges()
    for _ in range(3):
        net.run()
    batches = [np.random.default_rng(step).normal(size=(8, 4)).astype("float32") for step in range(3)]
    shares = np.array([0.75**2, 0.75, 1.0])
    low, high = net.quantized.ranges()["linear_0.w_0"]["input"]
    assert low == pytest.approx((shares * [b.min() for b in batches]).sum() / shares.sum(), rel=1e-5)
    assert high == pytest.approx((shares * [b.max() for b in batches]).sum() / shares.sum(), rel=1e-5)


@pytest.mark.usefixtures("static")
def test_a_test_program_rounds_in_the_ranges_of_training_and_leaves_them_alone():
    net = Aware(lambda x: nn.Linear(4, 3)(x), (8, 4), 0.0)
    quantize_aware(net.plain, training=False)
    net.run()
    before = net.get("linear_0.w_0_input_range").copy()
    x = 10 * np.random.default_rng(9).normal(size=(8, 4)).astype("float32")
    (shown,) = net.exe.run(net.plain, feed={"x": x}, fetch_list=[net.twin])
    low, high = net.quantized.ranges()["linear_0.w_0"]["input"]
    expected = slow_activation(x, low, high) @ slow_weight(net.get("linear_0.w_0"), 1) + net.get("linear_0.b_0")
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-4)
    assert (net.get("linear_0.w_0_input_range") == before).all()


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize(
    "part", [AffineQuantizer(), AffineQuantizer(symmetric_activations=True)], ids=["", "symmetric"]
)
def test_whoever_tests_before_training_reads_why_it_fails(part):
    net = Aware(lambda x: nn.Linear(4, 3)(x), (8, 4), config=[{"quantizer": part}])
    quantize_aware(net.plain, [{"quantizer": part}], training=False)
    with pytest.raises(ValueError, match="no training batch of finite numbers was seen yet"):
        net.exe.run(net.plain, feed={"x": np.ones((8, 4), "float32")}, fetch_list=[net.twin])


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("bits", [8, 4])
def test_a_test_program_that_is_made_of_a_rounding_one_leaves_its_ranges_alone(bits):
    net = Aware(lambda x: nn.Linear(6, 3)(paddle.tanh(nn.Linear(4, 6)(x))), (8, 4), config=[{"quant_bits": bits}])
    quantize_aware(net.plain, [{"quant_bits": bits}], training=False)
    net.run()
    copy, (twin,) = test_program(net.program, [net.output])
    before = {name: net.get(name) for name in open_graph(net.program).persistables() if name.endswith("_range")}
    x = 10 * np.random.default_rng(9).normal(size=(8, 4)).astype("float32")
    (expected,) = net.exe.run(net.plain, feed={"x": x}, fetch_list=[net.twin])
    (shown,) = net.exe.run(copy, feed={"x": x}, fetch_list=[twin])
    np.testing.assert_array_equal(shown, expected)
    assert before and all((net.get(name) == values).all() for name, values in before.items())
    assert "pd_op.assign_out_" not in [op.name() for op in copy.global_block().ops]


@pytest.mark.usefixtures("static")
def test_each_activation_is_rounded_once_and_the_last_output_only_watched():
    net = Aware()
    found = {layer.param.name: (layer.input, layer.output) for layer in net.quantized.layers}
    assert found == {  # max pooling and flattening keep a range; norm and activation belong to the layer before them
        "conv2d_0.w_0": ("conv2d_0.w_0_input_range", "conv2d_0.w_0_output_range"),
        "conv2d_1.w_0": ("conv2d_0.w_0_output_range", "conv2d_1.w_0_output_range"),
        "conv2d_2.w_0": ("conv2d_1.w_0_output_range", "conv2d_2.w_0_output_range"),
        "linear_0.w_0": ("conv2d_2.w_0_output_range", "linear_0.w_0_output_range"),
    }
    names = [op.name() for op in net.program.global_block().ops]
    assert names.count("pd_op.fake_quantize_dequantize_moving_average_abs_max") == 4
    assert names.count("pd_op.fake_channel_wise_quantize_dequantize_abs_max") == 4
    net.run()
    assert set(net.quantized.ranges()) == set(WEIGHTS)
    assert net.quantized.ranges()["conv2d_1.w_0"]["output"][0] == 0.0 and "conv2d_0.w_0_input" in str(net.quantized)


@pytest.mark.usefixtures("static")
def test_what_an_addition_reads_and_what_is_read_behind_it_have_ranges_of_their_own():
    def residual(x: Any) -> Any:
        h = nn.functional.relu(nn.Conv2D(3, 4, 1)(x))
        h = nn.functional.relu(nn.BatchNorm2D(4)(nn.Conv2D(4, 4, 1)(h)) + h)
        return nn.Linear(4, 2)(nn.AdaptiveAvgPool2D(1)(h).flatten(1))

    net = Aware(residual)
    assert [(layer.input, layer.output) for layer in net.quantized.layers] == [
        ("conv2d_0.w_0_input_range", "conv2d_0.w_0_output_range"),
        ("conv2d_0.w_0_output_range", "conv2d_1.w_0_output_range"),
        ("linear_0.w_0_input_range", "linear_0.w_0_output_range"),
    ]
    net.run()
    assert net.quantized.ranges()["conv2d_1.w_0"]["output"][0] < 0 <= net.quantized.ranges()["linear_0.w_0"]["input"][0]


@pytest.mark.usefixtures("static")
def test_masked_weights_are_exactly_zero_at_every_step_and_the_others_train():
    net = Aware()
    pruner = Recipe(ratio=0.5, steps=12, pattern=Int8Block()).pruner(net.program)
    assert [param.name for param in pruner.params] == ["conv2d_2.w_0", "linear_0.w_0"]
    assert [param.role for param in open_graph(net.program).params() if param.is_weight] == [
        "conv2d",
        "depthwise_conv2d",
        "conv2d",
        "linear",
    ]
    for step in range(12):
        net.run()
        held = {name: net.get(pruner.masks[name]) == 0 for name in pruner.masks}
        assert all((net.get(name)[held[name]] == 0).all() for name in held), step
        pruner.step()
    assert net.zeros("conv2d_2.w_0", "linear_0.w_0") == (48 + 120) / 2
    before = {name: net.get(name) for name in WEIGHTS}
    net.run()
    assert all((net.get(name) != before[name]).any() for name in WEIGHTS)


@pytest.mark.usefixtures("static")
def test_the_zeros_of_a_pruned_model_are_kept_as_static_masks():
    net = Aware()
    weight = net.get("conv2d_2.w_0")
    weight[:, :4] = 0.0
    net.put("conv2d_2.w_0", weight)
    pruner = UnstructuredPruner(net.program, ratio=0.0)
    pruner.set_static_masks()
    net.train(pruner, 3)
    assert ((net.get("conv2d_2.w_0") == 0) == (weight == 0)).all() and pruner.target_reached()


@pytest.mark.usefixtures("static")
def test_the_exported_model_rounds_nothing_and_brings_its_ranges(tmp_path):
    net = Aware()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    for _ in range(3):
        net.train(pruner)
    quantized = quantize_aware(net.plain, training=False)
    x = np.random.default_rng(5).normal(size=(8, 3, 6, 6)).astype("float32")
    (rounded,) = net.exe.run(net.plain, feed={"x": x}, fetch_list=[net.twin])
    for name, part, value in (("test", quantized, net.twin), ("training", net.quantized, net.output)):
        part.export(["x"], [value], tmp_path / name, pruner)
        kept = json.loads((tmp_path / f"{name}.ranges.json").read_text())
        assert kept.pop("pdiparams_sha256") == sha256(str(tmp_path / f"{name}.pdiparams"))
        assert kept == net.quantized.ranges()
        text = (tmp_path / f"{name}.json").read_text()
        assert "fake_" not in text and "_range" not in text and "_mask" not in text
    model = open_model(tmp_path / "test")
    (shown,) = model.run(x=x)
    assert (model.run(x=x)[0] == open_model(tmp_path / "training").run(x=x)[0]).all()
    assert 0 < np.abs(shown - rounded).mean() < 0.05 * np.abs(shown).mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{end}" for name in ("test", "training") for end in ("json", "pdiparams", "ranges.json")
    ]


@pytest.mark.usefixtures("static")
def test_values_of_another_program_are_refused_and_so_is_what_no_model_holds(tmp_path):
    net = Aware(lambda x: nn.Linear(4, 3)(x), (8, 4))
    net.run()
    with pytest.raises(
        ValueError, match="`fetch` must be values of the Program, .*result of pd_op.add of another Program"
    ):
        net.quantized.export(net.input, net.twin, str(tmp_path / "model"))
    with pytest.raises(ValueError, match="`feed` must name or be inputs of the Program .x., got None"):
        net.quantized.export(None, net.output, str(tmp_path / "model"))
    with pytest.raises(
        ValueError, match="variables that no inference model holds, linear_0.w_0_input_range; .*`export`"
    ):
        export(net.program, net.input, net.output, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("static")
def test_without_a_batch_nothing_is_exported(tmp_path):
    net = Aware()
    with pytest.raises(ValueError, match="has seen no batch yet; run the training Program first"):
        net.quantized.export(["x"], [net.output], tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("static")
def test_ranges_are_saved_with_the_program(tmp_path):
    net = Aware()
    net.run()
    paddle.static.save(net.program, str(tmp_path / "m"))
    before = net.quantized.ranges()
    net.run()
    assert net.quantized.ranges() != before
    paddle.static.load(net.program, str(tmp_path / "m"))
    assert net.quantized.ranges() == before and not masks_in(net.program)


@pytest.mark.usefixtures("static")
def test_ranges_are_averaged_over_ranks_as_statistics_of_norms_are():
    from paddle_unstructured.distributed.state import _statistics

    found = _statistics(open_graph(Aware().program))
    assert found[:2] == ["batch_norm2d_0.w_1", "batch_norm2d_0.w_2"]
    assert found[2:] == ["conv2d_0.w_0_input_range", *(f"{name}_output_range" for name in WEIGHTS)]


@pytest.mark.usefixtures("static")
def test_layers_that_are_skipped_or_unfit_stay_float32_and_say_why():
    net = Aware(skip=["conv2d_0.w_0"])
    assert net.quantized.kept == {"conv2d_0.w_0": "named in `skip`"}
    other = Aware(lambda x: nn.Linear(4, 2)(nn.Embedding(9, 4)((x * 0).cast("int64"))), (3, 4))
    assert other.quantized.kept == {
        "embedding_0.w_0": "it is embedding, and int8 kernels are for conv2d, depthwise_conv2d, linear"
    }
    halved = Aware(
        lambda x: nn.Linear(6, 2)(x @ (paddle.create_parameter([4, 6], "float32", name="half") * 0.5)), (3, 4)
    )
    assert halved.quantized.kept == {
        "half": "it passes pd_op.scale on its way to its layer, and int8 kernels read stored weights"
    }


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize(
    "words, message",
    [
        ({"skip": ["conv"]}, "`skip` must name weights of the Program, got conv; it has conv2d_0.w_0"),
        ({"skip": WEIGHTS}, r"no layer to round: \w+.w_0 \(named in `skip`\), .*; `skip` and `config` may leave some"),
        ({"decay": 1.0}, r"`decay` must be in \[0, 1\), got 1.0"),
    ],
)
def test_senseless_words_are_refused_and_the_program_stays_as_it_was(words, message):
    net = Net(small, [8, 3, 6, 6])
    ops = net.program.num_ops()
    with pytest.raises(ValueError, match=message):
        quantize_aware(net.program, **words)
    assert net.program.num_ops() == ops


@pytest.mark.usefixtures("static")
def test_it_is_refused_after_minimize_a_second_time_and_for_loops():
    with pytest.raises(ValueError, match="has gradients already; call this before minimize"):
        quantize_aware(Net(small, [8, 3, 6, 6], lambda: paddle.optimizer.SGD(0.1)).program)
    net = Net(small, [8, 3, 6, 6])
    quantize_aware(net.program)
    with pytest.raises(ValueError, match="rounded already"):
        quantize_aware(net.program)
    with pytest.raises(ValueError, match="read inside a branch or a loop"):
        quantize_aware(Net(loop, [8, 4]).program)
    with pytest.raises(TypeError, match="`program` must be a paddle.static.Program, got str"):
        quantize_aware("net")
