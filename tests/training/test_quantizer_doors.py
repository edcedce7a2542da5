# SPDX-License-Identifier: Apache-2.0
"""A Program and an nn.Layer round alike, in odd nets too; functions and batches that give nonsense are named."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
import pytest
from nets import new_programs
from paddle import nn

from paddle_unstructured import (
    AffineQuantizer,
    BinaryQuantizer,
    DoReFaQuantizer,
    FunctionQuantizer,
    quantize_aware,
)
from paddle_unstructured.training.quantizers import Quantizer


class Shortcut(nn.Layer):
    """[n, 4]: what the first layer reads goes around it, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.second(nn.functional.relu(x + self.first(x)))


class Tied(nn.Layer):
    """Two layers hold one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        return self.second(nn.functional.relu(self.first(x)) * 3.0)


class Pooled(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2D(2, 3, 3), nn.MaxPool2D(2), nn.Dropout(0.0), nn.Conv2D(3, 1, 1))

    def forward(self, x: Any) -> Any:
        return self.body(x)


NETS: dict[str, tuple[Callable[[], nn.Layer], list[int]]] = {
    "shortcut": (Shortcut, [3, 4]),
    "tied": (Tied, [3, 4]),
    "pooled": (Pooled, [2, 2, 6, 6]),
    "conv1d": (lambda: nn.Sequential(nn.Conv1D(3, 4, 3), nn.ReLU(), nn.Conv1D(4, 1, 2)), [2, 3, 6]),
    "grouped": (lambda: nn.Conv2D(4, 8, 3, groups=2), [2, 4, 5, 5]),
    "channels last": (lambda: nn.Conv2D(3, 4, 3, data_format="NHWC"), [2, 5, 5, 3]),
}
READS = ["weight", "input"]
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "3 bits": [{"quant_types": READS, "quant_bits": 3}],
    "5 bits another way": [
        {
            "quant_types": READS,
            "quant_bits": 5,
            "quantizer": AffineQuantizer(symmetric_weights=False, per_channel=False, symmetric_activations=True),
        }
    ],
    "binary": [{"quant_types": READS, "quantizer": BinaryQuantizer()}],
    "DoReFa": [{"quant_types": READS, "quant_bits": {"weight": 1, "input": 2}, "quantizer": DoReFaQuantizer()}],
}


def as_program(make: Callable[[], nn.Layer], x: np.ndarray, config: Any) -> tuple[np.ndarray, list[np.ndarray], Any]:
    """What it gives, the gradients of its weights under the sum of squares, and what `quantize_aware` returned."""
    with new_programs() as (main, startup):
        paddle.seed(1)
        data = paddle.static.data("x", [-1, *x.shape[1:]])
        layer = make()
        output = layer(data)
        aware = quantize_aware(main, config)
        pairs = paddle.static.append_backward((output**2).sum(), parameter_list=layer.parameters())
        exe = paddle.static.Executor()
        exe.run(startup)
        gradients = [gradient for weight, gradient in pairs if len(weight.shape) > 1]
        found, *gradients = exe.run(main, feed={"x": x}, fetch_list=[output, *gradients])
        return found, gradients, aware


def as_layer(make: Callable[[], nn.Layer], x: np.ndarray, config: Any) -> tuple[np.ndarray, list[np.ndarray], Any]:
    paddle.seed(1)
    layer = make()
    aware = quantize_aware(layer, config)
    output = layer(paddle.to_tensor(x))
    (output**2).sum().backward()
    return output.numpy(), [weight.grad.numpy() for weight in layer.parameters() if weight.ndim > 1], aware


def numbers(shape: list[int]) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype("float32")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("net, shape", NETS.values(), ids=NETS)
def test_a_program_and_a_layer_give_the_same_numbers_and_gradients(net, shape, config):
    x = numbers(shape)
    (found, gradients, _), (expected, others, _) = as_program(net, x, config), as_layer(net, x, config)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(gradients) == len(others)
    for one, other in zip(sorted(gradients, key=np.shape), sorted(others, key=np.shape)):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("door", [as_program, as_layer])
def test_what_goes_around_a_layer_is_not_rounded_with_its_input(door):
    x = numbers([3, 4])
    found, _, aware = door(Shortcut, x, [{"quant_types": ["input"], "quantizer": BinaryQuantizer()}])
    paddle.seed(1)
    layer = Shortcut()
    first, second = (each.weight.numpy() for each in (layer.first, layer.second))
    hidden = np.maximum(x + np.where(x >= 0, 1, -1) @ first, 0)  # biases are zero
    np.testing.assert_allclose(found, np.where(hidden >= 0, 1, -1) @ second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("door", [as_program, as_layer])
def test_the_range_of_a_shared_weight_holds_what_all_its_layers_read(door):
    x = numbers([3, 4])
    _, _, aware = door(Tied, x, [{"quant_types": READS, "quant_bits": 8}])
    paddle.seed(1)
    layer = Tied()
    hidden = 3.0 * np.maximum(layer.first(paddle.to_tensor(x)).numpy(), 0)
    (sides,) = aware.ranges().values()
    low, high = sides["input"]
    assert low == pytest.approx(x.min(), abs=1e-6) and high == pytest.approx(max(x.max(), hidden.max()), rel=0.02)
    assert hidden.max() > x.max()


class Quarters(Quantizer):
    """Rounds nothing but gradients, to quarters."""

    gradient_bits = 4

    def quantize_gradient(self, gradient: Any, bits: int) -> Any:
        return paddle.round(gradient * 4.0) / 4.0


@pytest.mark.parametrize("door", [as_program, as_layer])
def test_gradients_are_rounded_where_the_layer_itself_gives_its_output(door):
    def make() -> nn.Layer:
        return nn.Sequential(nn.Linear(4, 3), nn.Tanh())

    x = numbers([5, 4])
    _, (found,), _ = door(make, x, [{"quant_bits": 32, "quantizer": Quarters()}])
    paddle.seed(1)
    output = np.tanh(x @ make()[0].weight.numpy())
    gradient = np.rint(4 * 2 * output * (1 - output**2)) / 4
    np.testing.assert_allclose(found, x.T @ gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("door", [as_program, as_layer])
def test_gradients_of_outputs_with_an_extent_of_one_are_rounded(door):
    part = DoReFaQuantizer(gradient_bits=4)
    _, gradients, _ = door(lambda: nn.Linear(4, 1), numbers([1, 4]), [{"quant_bits": 32, "quantizer": part}])
    assert np.isfinite(gradients[0]).all() and gradients[0].any()


# -- functions that give something else


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda t: t.mean(), r"`{}` must give a tensor of the shape \[.*4\] that it gets, got \[\]"),
        (lambda t: None, r"`{}` must give a tensor, got None"),
        (lambda t: t.astype("float64"), r"`{}` must give a tensor of .*float32, as it gets, got .*float64"),
    ],
)
@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize("door", [as_program, as_layer])
def test_a_function_that_gives_no_tensor_of_that_kind_is_named(door, kind, function, message):
    config = [{"quant_types": [kind], "quantizer": FunctionQuantizer(**{kind: function})}]
    with pytest.raises((ValueError, TypeError), match=message.format(kind)):
        door(lambda: nn.Linear(4, 4), numbers([3, 4]), config)


def test_a_part_of_ones_own_that_gives_another_shape_is_named():
    class Mean(Quantizer):
        def quantize_weight(self, weight: Any, bits: int, axis: int) -> Any:
            return weight.mean()

    for door in (as_program, as_layer):
        with pytest.raises(ValueError, match=r"quantize_weight of Mean\(\) must give a tensor of the shape \[4, 4\]"):
            door(lambda: nn.Linear(4, 4), numbers([3, 4]), [{"quant_types": ["weight"], "quantizer": Mean()}])


@pytest.mark.parametrize("door", [as_program, as_layer])
def test_a_backward_that_gives_another_shape_is_named(door):
    part = FunctionQuantizer(weight=paddle.sign, backward=lambda x, gradient: gradient.mean())
    with pytest.raises((ValueError, OSError), match=r"`backward` must give a tensor of the shape \[4, 4\]"):
        door(lambda: nn.Linear(4, 4), numbers([3, 4]), [{"quant_types": ["weight"], "quantizer": part}])


def built(door: str) -> tuple[Any, Callable[[], Any]]:
    """A net of two layers that `quantize_aware` takes, and what it is made of."""
    if door == "layer":
        layer = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
        return layer, lambda: [
            (sorted(vars(each)), [*each._forward_pre_hooks], [*each._forward_post_hooks], [*each._buffers])
            for each in layer.sublayers(include_self=True)
        ]
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        nn.Linear(4, 3)(nn.functional.relu(nn.Linear(4, 4)(paddle.static.data("x", [-1, 4]))))
    return program, lambda: str(program)


@pytest.fixture(params=["program", "layer"])
def net(request, static):
    if request.param == "layer":
        paddle.disable_static()
    return built(request.param)


@pytest.mark.parametrize("door, kind", [("layer", "weight"), ("program", "weight"), ("program", "input")])
def test_a_function_that_raises_at_any_call_leaves_all_as_it_was(door, kind, static):
    if door == "layer":
        paddle.disable_static()
    for last in range(1, 9):
        model, state = built(door)
        before, calls = state(), iter(range(1, last + 1))

        def function(t: Any) -> Any:
            if next(calls) == last:  # noqa: B023
                raise KeyError("of the user")
            return t * 1.0

        config = [{}, {"quant_types": [kind], "quantizer": FunctionQuantizer(**{kind: function})}]
        try:
            quantize_aware(model, config)
        except KeyError:
            assert state() == before
            quantize_aware(model)
        else:
            break
    assert 2 < last < 8


@pytest.mark.parametrize(
    "function, message",
    [
        (
            lambda w: w + 0.25,
            r"which rounds .*, must give zero for zero, as it says, got 0.25; say `zero=False`",
        ),
        (lambda w: w / w.abs().max(1, keepdim=True), r"must give zero for zero, as it says, got nan"),
        (lambda w: w.log(), r"must give finite numbers for finite weights, got NaN or infinity"),
    ],
)
def test_a_function_that_does_not_keep_zeros_is_found(net, function, message):
    model, state = net
    before = state()
    with pytest.raises(ValueError, match=message):
        quantize_aware(model, [{"quant_types": ["weight"], "quantizer": FunctionQuantizer(weight=function)}])
    assert state() == before
    if "zero" in message:
        said = FunctionQuantizer(weight=function, zero=False)
        quantize_aware(model, [{"quant_types": ["weight"], "quantizer": said}])


def test_a_part_of_ones_own_that_does_not_keep_zeros_is_found(net):
    class Shifted(Quantizer):
        def quantize_weight(self, weight: Any, bits: int, axis: int) -> Any:
            return weight + 1.0

    with pytest.raises(ValueError, match=r"Shifted\(\), which rounds .*got 1; let `loses_zeros` say why it does not"):
        quantize_aware(net[0], [{"quant_types": ["weight"], "quantizer": Shifted()}])


def test_an_input_that_cannot_be_rounded_leaves_the_weight_of_its_layer_alone():
    layer = nn.Linear(4, 4)
    quantize_aware(layer, [{"quantizer": FunctionQuantizer(weight=paddle.sign, input=lambda x: x.mean())}])
    with pytest.raises(ValueError, match="`input` must give a tensor of the shape"):
        layer(paddle.ones([2, 4]))
    assert "weight" not in vars(layer)


def test_layers_that_are_called_by_keyword_are_refused_with_the_way_out():
    layer = nn.Linear(4, 4)
    quantize_aware(layer)
    with pytest.raises(ValueError, match=r"linear_\d+ must be called with what it reads by position, layer\(x\)"):
        layer(input=paddle.ones([2, 4]))


@pytest.mark.parametrize("key", ["quant_types", "op_types", "op_names"])
def test_a_list_of_nothing_is_not_a_list_of_all(key):
    with pytest.raises(ValueError, match=rf"`config\[0\]\['{key}'\]` must name at least one, got none; leave it out"):
        quantize_aware(nn.Linear(4, 4), [{key: []}])


# -- ranges


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_batch_that_is_not_finite_leaves_the_ranges_as_they_were(bad):
    layer = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    aware = quantize_aware(layer)
    x = numbers([3, 4])
    layer(paddle.to_tensor(x))
    before = aware.ranges()
    x[0, 0] = bad
    layer(paddle.to_tensor(x))
    first, second = aware.ranges().values()
    assert first == next(iter(before.values())) and np.isfinite(second["input"]).all()


@pytest.mark.usefixtures("static")
def test_a_batch_that_is_not_finite_leaves_the_ranges_of_a_program_as_they_were():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        output = nn.Linear(4, 4)(paddle.static.data("x", [-1, 4]))
        aware = quantize_aware(main)
    exe = paddle.static.Executor()
    exe.run(startup)
    x = numbers([3, 4])
    exe.run(main, feed={"x": x}, fetch_list=[output])
    before = aware.ranges()
    x[1, 2] = np.inf
    exe.run(main, feed={"x": x}, fetch_list=[output])
    assert aware.ranges()["linear_0.w_0"]["input"] == before["linear_0.w_0"]["input"]


class Halves(Quantizer):
    """A part of one's own that rounds weights alone."""

    def quantize_weight(self, weight: Any, bits: int, axis: int) -> Any:
        return paddle.round(weight * 2.0) / 2.0


def part(**words: Any) -> Quantizer:
    return type("Own", (Halves,), words)()


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"quantizer": Halves()}, "must override quantize_input to round that, and Halves does not; .*`quant_types`"),
        ({"quantizer": Halves(), "quant_types": ["output"]}, "must override quantize_output"),
        (
            {"quantizer": part(gradient_bits=4), "quant_types": ["weight"]},
            "quantize_gradient .*`gradient_bits` to None",
        ),
        ({"quantizer": part(bits=(8, 2))}, r".bits` must be \(least, most\), 1 <= least <= most < 32, got \(8, 2\)"),
        ({"quantizer": part(bits=4)}, r".bits` must be \(least, most\), .* got 4"),
        (
            {"quantizer": part(loses_zeros=lambda self, bits: True), "quant_types": ["weight"]},
            "loses_zeros` must give the reason why .*got True",
        ),
    ],
)
def test_what_a_part_of_ones_own_lacks_is_said_at_the_door(entry, message):
    model = nn.Linear(4, 3)
    with pytest.raises(ValueError, match=r"`config\[0\]\['quantizer'\]" + f".*{message}"):
        quantize_aware(model, [entry])
    assert not model._forward_pre_hooks


def test_a_part_of_ones_own_may_round_weights_alone():
    model = nn.Linear(4, 3)
    quantize_aware(model, [{"quantizer": Halves(), "quant_types": ["weight"]}])
    expected = np.round(model.weight.numpy() * 2) / 2 + model.bias.numpy()
    np.testing.assert_allclose(model(paddle.eye(4)).numpy(), expected, rtol=1e-6, atol=1e-7)
