# SPDX-License-Identifier: Apache-2.0
"""Calls of a rounded nn.Layer: what an error leaves behind, converted layers, copies; nothing is changed by halves."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured import FunctionQuantizer, quantize_aware

ROUGH = [{"quant_bits": 3}]


def net(*more: nn.Layer) -> nn.Sequential:
    paddle.seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2), *more)


def batch(seed: int = 0, width: int = 4) -> Any:
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(8, width)).astype("float32"))


def ranges(model: nn.Layer) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.named_buffers()}


def raises(*_: Any) -> Any:
    raise KeyError("of the user")


def interrupts(*_: Any) -> Any:
    raise KeyboardInterrupt


def no_pixels(layer: nn.Layer) -> Callable[[], Any]:
    return lambda: layer(batch(1, width=3) * 200.0)


def bad_hook(layer: nn.Layer) -> Callable[[], Any]:
    layer.register_forward_pre_hook(raises)
    return lambda: layer(batch(1) * 200.0)


def bad_forward(layer: nn.Layer) -> Callable[[], Any]:
    return lambda: layer(batch(1) * 200.0)


FAILING = {
    "a shape": (lambda layer: None, no_pixels, ValueError),
    "a hook": (lambda layer: None, bad_hook, KeyError),
    "forward": (lambda layer: setattr(layer, "forward", raises), bad_forward, KeyError),
    "an interrupt": (lambda layer: setattr(layer, "forward", interrupts), bad_forward, KeyboardInterrupt),
}


@pytest.mark.parametrize("before, after, error", FAILING.values(), ids=FAILING)
def test_a_call_that_fails_leaves_weight_and_range_as_they_were(before, after, error):
    layer = nn.Linear(4, 6)
    weight = layer.weight
    before(layer)
    quantize_aware(layer, ROUGH)
    kept = ranges(layer)
    with pytest.raises(error):
        after(layer)()
    assert layer.weight is weight and "weight" not in vars(layer)
    layer.eval()
    for name, tensor in layer.named_buffers():
        np.testing.assert_array_equal(tensor.numpy(), kept[name])


def test_a_range_of_a_call_that_failed_is_not_written_by_the_next_one():
    layer = nn.Linear(4, 6)
    quantize_aware(layer)
    layer(batch())
    kept = ranges(layer)
    with pytest.raises(ValueError):
        layer(batch(1, width=3) * 200.0)
    layer.eval()
    layer(batch(2))
    np.testing.assert_array_equal(ranges(layer)["rounding_input_range"], kept["rounding_input_range"])


def test_an_output_that_cannot_be_rounded_leaves_the_range_of_the_input_as_it_was():
    layer = nn.Linear(4, 6)
    part = FunctionQuantizer(output=lambda y: y.mean())
    quantize_aware(layer, [{"quant_types": ["input"]}, {"quant_types": ["output"], "quantizer": part}])
    with pytest.raises(ValueError, match="`output` must give a tensor of the shape"):
        layer(batch())
    assert all(not tensor.any() for tensor in ranges(layer).values())


@pytest.mark.parametrize("full_graph", [True, False])
def test_a_trace_that_fails_leaves_every_weight_as_it_was(full_graph):
    class Fails(nn.Layer):
        def forward(self, x: Any) -> Any:
            return paddle.matmul(x, paddle.ones([5, 5]))

    model = net(Fails())
    weights = [model[0].weight, model[2].weight]
    quantize_aware(model)
    traced = paddle.jit.to_static(model, full_graph=full_graph)
    with pytest.raises(Exception, match="matmul|[Mm]ismatch|shape"):
        traced(batch())
    assert model[0].weight is weights[0] and model[2].weight is weights[1]


@pytest.mark.parametrize("first", ["to_static", "quantize_aware"])
@pytest.mark.parametrize("part", [0, None])
def test_a_single_layer_that_is_converted_trains_its_stored_weight(first, part):
    eager, traced = net(), net()
    for model, converted in ((eager, False), (traced, True)):
        place = model[0]
        whole = model if part is None else place
        if converted and first == "to_static":
            paddle.jit.to_static(whole, full_graph=True)
        quantize_aware(model, ROUGH)
        if converted and first == "quantize_aware":
            paddle.jit.to_static(whole, full_graph=True)
        optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
        for step in range(3):
            (model(batch(step)) ** 2).mean().backward()
            optimizer.step()
            optimizer.clear_grad()
    for name, tensor in eager.state_dict().items():
        np.testing.assert_allclose(traced.state_dict()[name].numpy(), tensor.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("full_graph", [True, False])
def test_what_to_static_traced_before_knows_of_the_rounding_and_of_its_end(full_graph):
    model = net()
    plain, expected = copy.deepcopy(model), model(batch()).numpy()
    traced = paddle.jit.to_static(model, full_graph=full_graph)
    traced(batch())
    aware = quantize_aware(model, ROUGH)
    quantize_aware(plain, ROUGH)
    for one in (traced, plain):
        one(batch())
        one.eval()
    np.testing.assert_allclose(traced(batch()).numpy(), plain(batch()).numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(traced(batch()).numpy() - expected).max() > 0.01
    aware.remove()
    np.testing.assert_allclose(traced(batch()).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_forward_of_ones_own_is_called_with_the_rounded_weight_and_is_there_again_afterwards():
    layer = nn.Linear(4, 6)

    def own(x: Any) -> Any:
        return 2.0 * nn.functional.linear(x, layer.weight)

    layer.forward = own
    aware = quantize_aware(layer, [{"quant_types": ["weight"], "quantizer": FunctionQuantizer(weight=paddle.sign)}])
    np.testing.assert_allclose(layer(batch()).numpy(), 2.0 * batch().numpy() @ np.sign(layer.weight.numpy()), rtol=1e-5)
    aware.remove()
    assert layer.forward is own


def test_forward_is_that_of_the_class_after_remove_and_one_that_was_kept_rounds_no_more():
    layer = nn.Linear(4, 6)
    aware = quantize_aware(layer, ROUGH)
    kept = layer.forward
    aware.remove()
    assert "forward" not in vars(layer)
    np.testing.assert_array_equal(kept(batch()).numpy(), layer(batch()).numpy())


def pickled(model: nn.Layer) -> nn.Layer:
    try:
        return pickle.loads(pickle.dumps(model))
    except TypeError:
        pytest.skip("this Paddle pickles no parameters")  # 3.0


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_round_their_own_weight(copied):
    model = net()
    quantize_aware(model, ROUGH)
    model(batch())
    twin = copied(model)
    model.eval(), twin.eval()
    np.testing.assert_array_equal(twin(batch()).numpy(), model(batch()).numpy())
    with paddle.no_grad():
        twin[2].weight.set_value(-twin[2].weight)
        twin[2].bias.set_value(-twin[2].bias)
    np.testing.assert_allclose(twin(batch()).numpy(), -model(batch()).numpy(), rtol=1e-5, atol=1e-6)
