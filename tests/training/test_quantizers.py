# SPDX-License-Identifier: Apache-2.0
"""Quantizers as parts: the papers' formulas on literals, entries that override each other, zeros that are levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import (
    AffineQuantizer,
    BinaryQuantizer,
    DoReFaQuantizer,
    FunctionQuantizer,
    UnstructuredPruner,
    quantize_aware,
)
from paddle_unstructured.export import open_model


def tensor(values: Any, *, trained: bool = False) -> Any:
    return paddle.to_tensor(np.float32(values), stop_gradient=not trained)


def gradient_of(quantize: Any, values: Any) -> list:
    """Of sum(1 y_1 + 2 y_2 + ...)."""
    x = tensor(values, trained=True)
    (quantize(x) * paddle.arange(1, x.size + 1, dtype="float32").reshape(x.shape)).sum().backward()
    return x.grad.tolist()


# -- the formulas


@pytest.mark.parametrize("bits, expected", [(2, [1, 0, -1, 0]), (3, [1, 1 / 3, -1, 0]), (4, [1, 3 / 7, -1, 0])])
def test_affine_weights_have_2_to_the_bits_minus_1_levels_around_zero(bits, expected):
    weight = tensor([[1.0, 0.4, -1.0, 0.0]])
    np.testing.assert_allclose(AffineQuantizer().quantize_weight(weight, bits, 0).numpy()[0], expected, rtol=1e-6)


def test_a_scale_for_each_channel_or_one_for_all():
    weight = tensor([[7.0, 3.4], [0.7, 0.34]])
    each = AffineQuantizer().quantize_weight(weight, 4, 0).numpy()
    whole = AffineQuantizer(per_channel=False).quantize_weight(weight, 4, 0).numpy()
    np.testing.assert_allclose(each, [[7, 3], [0.7, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(whole, [[7, 3], [1, 0]], rtol=1e-6)


def test_asymmetric_weights_use_all_levels_and_zero_is_one_of_them():
    part = AffineQuantizer(symmetric_weights=False)
    rounded = part.quantize_weight(tensor([[0.0, 1.4, 3.0], [-3.0, 0.0, -1.6]]), 2, 0)
    np.testing.assert_allclose(rounded.numpy(), [[0, 1, 3], [-3, 0, -2]], rtol=1e-6)
    assert gradient_of(lambda w: part.quantize_weight(w, 2, 0), [[0.0, 1.4, 3.0]]) == [[1, 2, 3]]


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_activations_have_2_to_the_bits_levels(bits):
    x = tensor(np.linspace(-3, 9, 4001))
    rounded = AffineQuantizer().quantize_input(x, bits, tensor([-2.0]), tensor([6.0])).numpy()
    assert len(np.unique(rounded)) == 2**bits and 0 in rounded
    assert np.isclose(rounded.max() - rounded.min(), 8)
    around = AffineQuantizer(symmetric_activations=True).quantize_input(x, bits, tensor([-2.0]), tensor([6.0])).numpy()
    steps = np.unique(np.rint(around / 6 * (2 ** (bits - 1) - 1)))
    assert around.max() == 6 and steps[-1] == 2 ** (bits - 1) - 1 and np.isclose(around.min(), -3, atol=6 / steps[-1])


def test_dorefa_weights():
    weight = np.float32([-1.0, -0.2, 0.1, 2.0])
    unit = np.tanh(weight) / (2 * np.tanh(2.0)) + 0.5
    expected = 2 * np.rint(unit * 3) / 3 - 1
    np.testing.assert_allclose(DoReFaQuantizer().quantize_weight(tensor(weight), 2, 0).numpy(), expected, rtol=1e-6)
    one = DoReFaQuantizer().quantize_weight(tensor(weight), 1, 0).numpy()
    np.testing.assert_allclose(one, np.sign(weight) * 0.825, rtol=1e-6)
    assert gradient_of(lambda w: DoReFaQuantizer().quantize_weight(w, 1, 0), weight) == [1, 2, 3, 4]


def test_dorefa_gradients_of_weights_pass_tanh_alone():
    weight = np.float32([-0.5, 0.3, 1.0])
    found = gradient_of(lambda w: DoReFaQuantizer().quantize_weight(w, 4, 0), weight)
    x = tensor(weight, trained=True)
    (paddle.tanh(x) / paddle.tanh(x).abs().max() * tensor([1, 2, 3])).sum().backward()
    np.testing.assert_allclose(found, x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_dorefa_activations_are_cut_to_0_and_1():
    x = [-0.5, 0.1, 0.3, 0.9, 1.7]
    rounded = DoReFaQuantizer().quantize_input(tensor(x), 2, None, None)
    np.testing.assert_allclose(rounded.numpy(), [0, 0, 1 / 3, 1, 1], rtol=1e-6)
    assert gradient_of(lambda t: DoReFaQuantizer().quantize_input(t, 2, None, None), x) == [0, 2, 3, 4, 0]


def test_dorefa_rounds_gradients_without_a_bias_in_the_range_of_each_sample():
    paddle.seed(3)
    gradient = tensor([[0.3, -1.0, 0.05], [30.0, 100.0, -5.0]])
    part = DoReFaQuantizer(gradient_bits=3)
    many = np.stack([part.quantize_gradient(gradient, 3).numpy() for _ in range(3000)])
    most = np.float32([[1.0], [100.0]])
    steps = (many / (2 * most) + 0.5) * 7
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    inner = np.abs(gradient.numpy()) < most
    np.testing.assert_allclose((many.mean(0) / most)[inner], (gradient.numpy() / most)[inner], atol=0.02)


def test_binary_weights_and_activations():
    weight = [[0.5, -1.5], [0.0, -0.2]]
    assert BinaryQuantizer(scaled=False).quantize_weight(tensor(weight), 1, 0).tolist() == [[1, -1], [1, -1]]
    np.testing.assert_allclose(
        BinaryQuantizer().quantize_weight(tensor(weight), 1, 0).numpy(), [[1, -1], [0.1, -0.1]], rtol=1e-6
    )
    assert gradient_of(lambda w: BinaryQuantizer(scaled=False).quantize_weight(w, 1, 0), weight) == [[1, 0], [3, 4]]
    found = gradient_of(lambda w: BinaryQuantizer().quantize_weight(w, 1, 0), weight)
    np.testing.assert_allclose(found, [[1 * 1.5, 2 * 0.5], [3 * 0.6, 4 * 0.6]], rtol=1e-6)
    assert BinaryQuantizer().quantize_input(tensor([-2.0, 0.0, 0.4]), 1, None, None).tolist() == [-1, 1, 1]
    assert gradient_of(lambda x: BinaryQuantizer().quantize_input(x, 1, None, None), [-2.0, 0.0, 0.4]) == [0, 2, 3]


def test_functions_of_ones_own_with_a_gradient_of_ones_own():
    part = FunctionQuantizer(weight=paddle.sign, backward=lambda x, gradient: gradient * 10 + x)
    assert part.quantize_weight(tensor([0.5, -3.0]), 1, 0).tolist() == [1, -1]
    np.testing.assert_allclose(gradient_of(lambda w: part.quantize_weight(w, 1, 0), [0.5, -3.0]), [10.5, 17.0])
    clipped = FunctionQuantizer(weight=paddle.sign, backward="clipped")
    assert gradient_of(lambda w: clipped.quantize_weight(w, 1, 0), [0.5, -3.0]) == [1, 0]


# -- in a Program


def small(x: Any) -> Any:
    return nn.Sequential(
        nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 6), nn.Linear(6, 4)
    )(x)


WEIGHTS = ["conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0", "linear_1.w_0"]


class Aware(Net):
    def __init__(self, config: Any, **kwargs: Any) -> None:
        def forward(x: Any) -> Any:
            output = small(x)
            self.quantized = quantize_aware(paddle.static.default_main_program(), config, **kwargs)
            return output

        super().__init__(forward, [4, 3, 6, 6], lambda: paddle.optimizer.Momentum(0.05))

    def by_hand(self, quantizers: dict) -> np.ndarray:
        """The net's output at step 0, eagerly, with functions (of weights, of inputs, of outputs) for some layers."""
        none = (lambda t: t,) * 3
        h = tensor(np.random.default_rng(0).normal(size=self.shape))
        for name in WEIGHTS:
            of_weight, of_input, of_output = quantizers.get(name, none)
            weight, bias = (tensor(self.get(name.replace("w_0", end))) for end in ("w_0", "b_0"))
            h = h.flatten(1) if name == "linear_0.w_0" else h
            if name.startswith("conv"):
                h = nn.functional.relu(
                    nn.functional.conv2d(of_input(h), of_weight(weight)) + bias.reshape([1, -1, 1, 1])
                )
            else:
                h = of_input(h) @ of_weight(weight) + bias
            h = of_output(h)
        return h.numpy()


def in_dynamic_mode(function: Any) -> Any:
    paddle.disable_static()
    try:
        return function()
    finally:
        paddle.enable_static()


@pytest.mark.usefixtures("static")
def test_later_entries_override_earlier_ones_and_the_program_computes_what_they_say():
    binary, dorefa = BinaryQuantizer(), DoReFaQuantizer()
    net = Aware(
        [
            {"quant_types": ["weight", "input"], "quant_bits": {"weight": 3, "input": 2}, "quantizer": dorefa},
            {"op_types": ["linear"], "quant_types": ["weight"], "quant_bits": 1, "quantizer": binary},
            {"op_names": ["*1.w_0"], "exclude": True},
        ]
    )
    assert net.quantized.kept == dict.fromkeys(("conv2d_1.w_0", "linear_1.w_0"), "no entry of `config` rounds it")
    assert [(layer.param.name, layer.how.words) for layer in net.quantized.layers] == [
        ("conv2d_0.w_0", "3 / 2 / -"),
        ("linear_0.w_0", "1 / - / -"),
    ]
    same = lambda t: t  # noqa: E731
    expected = in_dynamic_mode(
        lambda: net.by_hand(
            {
                "conv2d_0.w_0": (
                    lambda w: dorefa.quantize_weight(w, 3, 0),
                    lambda x: dorefa.quantize_input(x, 2, None, None),
                    same,
                ),
                "linear_0.w_0": (lambda w: binary.quantize_weight(w, 1, 1), same, same),
            }
        )
    )
    _, output = net.run((net.output,))
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("static")
def test_outputs_are_rounded_if_somebody_asks_for_it_and_an_op_reads_them():
    part = FunctionQuantizer(output=lambda t: paddle.round(t * 4.0) / 4.0)
    net = Aware([{"op_names": ["conv2d_1.w_0", "linear_1.w_0"], "quant_types": ["output"], "quantizer": part}])
    same = lambda t: t  # noqa: E731
    expected = in_dynamic_mode(lambda: net.by_hand({"conv2d_1.w_0": (same, same, part.output)}))
    assert [layer.how.words for layer in net.quantized.layers] == ["- / - / 8", "- / - / -"]
    _, output = net.run((net.output,))
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("static")
def test_two_layers_that_read_one_value_may_round_it_apart():
    def forks(x: Any) -> Any:
        h = nn.functional.relu(nn.Linear(4, 4)(x))
        first, second = nn.Linear(4, 3), nn.Linear(4, 3)
        output = first(h) + second(h)
        self.quantized = quantize_aware(
            paddle.static.default_main_program(),
            [
                {"op_names": ["linear_1*"], "quant_types": ["input"], "quantizer": BinaryQuantizer()},
                {
                    "op_names": ["linear_2*"],
                    "quant_types": ["input"],
                    "quantizer": FunctionQuantizer(input=paddle.floor),
                },
            ],
        )
        self.parts = h, output
        return output

    class self:  # noqa: N801
        parts: Any

    net = Net(forks, [8, 4], lambda: paddle.optimizer.SGD(0.0))
    hidden, output = self.parts
    _, h, found = net.run((hidden, output))
    first, second = (net.get(f"linear_{i}.w_0") for i in (1, 2))
    bias = net.get("linear_1.b_0") + net.get("linear_2.b_0")
    np.testing.assert_allclose(
        found, np.where(h >= 0, 1, -1) @ first + np.floor(h) @ second + bias, rtol=1e-5, atol=1e-5
    )


@pytest.mark.usefixtures("static")
def test_gradients_are_rounded_on_their_way_back_in_a_program():
    def steps(bits: int | None) -> np.ndarray:
        with paddle.static.scope_guard(paddle.static.Scope()):
            part = DoReFaQuantizer(gradient_bits=bits)
            net = Aware([{"op_names": ["linear_0.w_0"], "quant_bits": 32, "quantizer": part}])
            before = net.get("linear_0.w_0")
            net.run()
            return net.get("linear_0.w_0") - before

    exact = steps(None)
    errors = [np.linalg.norm(steps(bits) - exact) / np.linalg.norm(exact) for bits in (8, 2)]
    assert 0 < errors[0] < 0.02 < 0.1 < errors[1]


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_masked_weights_stay_zero_wherever_zero_is_a_level(bits):
    net = Aware([{"quant_bits": bits}])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    assert {param.name for param in pruner.params} == set(WEIGHTS)
    net.train(pruner, 3)
    assert net.zeros(*WEIGHTS) >= sum(net.get(name).size for name in WEIGHTS) // 2 - 1
    assert pruner.target_reached()


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("part, name", [(BinaryQuantizer(), "BinaryQuantizer"), (DoReFaQuantizer(), "DoReFaQuantizer")])
def test_weights_without_a_level_at_zero_are_refused_by_name(part, name, caplog):
    net = Aware([{"op_types": ["conv2d"], "quantizer": part}])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    assert {param.name for param in pruner.params} == {"linear_0.w_0", "linear_1.w_0"}
    assert f"{name} " in caplog.text and "no level at zero" in caplog.text
    with pytest.raises(ValueError, match="no level at zero"):
        UnstructuredPruner(Aware([{"quantizer": part}]).program, ratio=0.5)


@pytest.mark.usefixtures("static")
def test_what_no_int8_kernel_rounds_is_exported_as_it_computes(tmp_path):
    config = [{"quantizer": DoReFaQuantizer(gradient_bits=6), "quant_bits": {"weight": 2, "input": 4, "output": 32}}]
    net = Aware(config)
    for _ in range(2):
        net.run()
    weight = net.get("conv2d_1.w_0")
    net.quantized.export(["x"], [net.output], tmp_path / "m")
    assert (net.get("conv2d_1.w_0") == weight).all()
    x = np.random.default_rng(net.steps).normal(size=(4, 3, 6, 6)).astype("float32")
    model = open_model(tmp_path / "m")
    (shown,) = model.run(x=x)
    stored = [model.graph.array(name) for name in WEIGHTS]
    _, output = net.run((net.output,))
    np.testing.assert_allclose(shown, output, rtol=1e-4, atol=1e-5)
    assert all(len(np.unique(array)) <= 4 for array in stored)
    text = (tmp_path / "m.json").read_text()
    assert "pylayer" not in text and "tanh" not in text and "_range" not in text


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize(
    "config, message",
    [
        ("int4", r"`config` must be a list of entries, .* got 'int4'"),
        ([], "`config` must have at least one entry"),
        ([3], r"`config\[0\]` must be a dict, got 3"),
        ([{"bits": 4}], r"`config\[0\]` must have keys among quant_types, .* got 'bits'"),
        ([{"quant_bits": 1}], r"`config\[0\]\['quant_bits'\]` must be an int in \[2, 8\], which AffineQuantizer knows"),
        ([{"quant_bits": 4.0}], r"`config\[0\]\['quant_bits'\]` must be an int in \[2, 8\]"),
        (
            [{}, {"quant_bits": {"bias": 4}}],
            r"`config\[1\]\['quant_bits'\]` must have keys among weight, input, output",
        ),
        ([{"quant_types": ["weights"]}], r"`config\[0\]\['quant_types'\]` must be one of weight, input, output"),
        ([{"op_types": "conv1d"}], r"`config\[0\]\['op_types'\]` must be one of default, conv2d"),
        (
            [{"op_names": ["fc*"]}],
            r"`config\[0\]\['op_names'\]` must name weights, got 'fc\*', which is none; there are",
        ),
        ([{"quantizer": BinaryQuantizer}], r"`config\[0\]\['quantizer'\]` must be a Quantizer"),
        ([{"exclude": True}], "the Program has no layer to round"),
    ],
)
def test_senseless_entries_are_refused_and_the_program_stays_as_it_was(config, message):
    net = Net(small, [4, 3, 6, 6])
    ops = net.program.num_ops()
    with pytest.raises((ValueError, TypeError), match=message):
        quantize_aware(net.program, config)
    assert net.program.num_ops() == ops


def under_auto_cast(x: Any) -> Any:
    with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
        return nn.Linear(6, 2)(x)


def by_einsum(x: Any) -> Any:
    return paddle.einsum("nc,cd->nd", x, paddle.create_parameter([6, 2], "float32"))


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize(
    "layer, why",
    [
        (under_auto_cast, "its layer computes in paddle.bfloat16; build a net that rounds without auto_cast"),
        (by_einsum, "pd_op.einsum reads it in a list of tensors; write the product as matmul to have it rounded"),
    ],
)
def test_layers_that_no_rounding_fits_stay_as_they_are_and_say_why(layer, why):
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        layer(nn.Linear(4, 6)(paddle.static.data("x", [-1, 4])))
    assert [*quantize_aware(program).kept.values()] == [why]
