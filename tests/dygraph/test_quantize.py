# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of an nn.Layer: the same numbers as a Program's, and a model without a trace."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

from paddle_unstructured import (
    AffineQuantizer,
    BinaryQuantizer,
    DoReFaQuantizer,
    FunctionQuantizer,
    UnstructuredPruner,
    quantize_aware,
)
from paddle_unstructured.export import open_model
from paddle_unstructured.graph import LayerGraph


def net() -> nn.Sequential:
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))


def images(seed: int = 0) -> Any:
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(4, 3, 6, 6)).astype("float32"))


def train(model: nn.Layer, steps: int = 3, pruner: Any = None, rate: float = 0.05) -> None:
    optimizer = paddle.optimizer.Momentum(rate, parameters=model.parameters())
    if pruner is not None:
        pruner.watch(optimizer)
    for step in range(steps):
        loss = ((model(images(step)) - 1.0) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        if pruner is not None:
            pruner.step()


def by_hand(model: nn.Layer, x: Any, ranges: dict) -> Any:
    part, sides = AffineQuantizer(), {name: paddle.to_tensor(one["input"]) for name, one in ranges.items()}
    conv, norm, linear = model[0], model[1], model[4]

    def rounded(layer: Any, x: Any, axis: int) -> tuple:
        low, high = (end.astype("float32") for end in sides[layer.weight.name].split(2))
        return part.quantize_input(x, 8, low, high), part.quantize_weight(layer.weight, 8, axis)

    x, weight = rounded(conv, x, 0)
    x = nn.functional.relu(norm(nn.functional.conv2d(x, weight, conv.bias)))
    x, weight = rounded(linear, x.flatten(1), 1)
    return x @ weight + linear.bias


def test_layers_compute_with_rounded_weights_and_inputs_in_learned_ranges():
    model = net()
    aware = quantize_aware(model)
    assert {name: how.words for name, how in aware.layers.items()} == {"0.weight": "8 / 8 / -", "4.weight": "8 / 8 / -"}
    train(model)
    model.eval()
    np.testing.assert_allclose(
        model(images(9)).numpy(), by_hand(model, images(9), aware.ranges()).numpy(), rtol=1e-5, atol=1e-6
    )
    assert not (model(images(9)) == model.__class__(*copy.deepcopy(list(model)))(images(8))).all()


def test_the_stored_weights_train_and_are_no_other_ones():
    model = net()
    stored, before = model[0].weight, model[0].weight.numpy()
    quantize_aware(model)
    train(model)
    assert model[0].weight is stored and (stored.numpy() != before).any()
    assert {name for name in model.state_dict() if "range" in name} == {
        "0.rounding_input_range",
        "4.rounding_input_range",
    }


def test_masked_weights_stay_zero_and_the_exported_model_rounds_nothing(tmp_path):
    model = net()
    aware = quantize_aware(model)
    pruner = UnstructuredPruner(model, ratio=0.5)
    train(model, 3, pruner)
    zeros = model[4].weight.numpy() == 0
    train(model, 2, pruner)
    assert zeros.mean() > 0.3 and (model[4].weight.numpy()[zeros] == 0).all()
    aware.export([InputSpec([None, 3, 6, 6])], tmp_path / "m", pruner)
    text = (tmp_path / "m.json").read_text()
    assert "fake_" not in text and "_range" not in text
    kept = json.loads((tmp_path / "m.ranges.json").read_text())
    assert {"pdiparams_sha256", *aware.ranges()} == set(kept) and kept.items() >= aware.ranges().items()
    weight = model[0].weight
    aware.remove()
    model.eval()
    expected = model(images()).numpy()
    assert model[0].weight is weight and not [name for name in model.state_dict() if "range" in name]
    paddle.enable_static()
    try:
        (shown,) = open_model(tmp_path / "m").run(**{open_model(tmp_path / "m").feeds[0]: images_array()})
    finally:
        paddle.disable_static()
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-5)


def images_array() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 3, 6, 6)).astype("float32")


def test_other_quantizers_export_what_the_model_computes(tmp_path):
    model = net()
    part = DoReFaQuantizer(gradient_bits=6)
    aware = quantize_aware(model, [{"quant_bits": {"weight": 2, "input": 3, "output": 32}, "quantizer": part}])
    train(model)
    model.eval()
    expected, weight = model(images()).numpy(), model[0].weight.numpy()
    aware.export([InputSpec([None, 3, 6, 6])], tmp_path / "m")
    assert (model[0].weight.numpy() == weight).all() and (model(images()).numpy() == expected).all()
    paddle.enable_static()
    try:
        found = open_model(tmp_path / "m")
        (shown,) = found.run(**{found.feeds[0]: images_array()})
    finally:
        paddle.disable_static()
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-5)


def test_weights_without_a_level_at_zero_are_not_pruned_and_that_is_said(caplog):
    model = net()
    aware = quantize_aware(model, [{"op_types": ["conv2d"], "quantizer": BinaryQuantizer()}])
    pruner = UnstructuredPruner(model, ratio=0.5)
    assert [param.name for param in pruner.params] == ["4.weight"]
    assert "BinaryQuantizer has no level at zero" in caplog.text
    aware.remove()
    assert {param.role for param in LayerGraph(model).params() if param.is_weight} == {"conv2d", "linear"}


@pytest.mark.parametrize("spec", [None, [InputSpec([None, 3, 6, 6])]])
def test_ranges_are_no_params_of_the_model_as_of_a_program(spec):
    model = net()
    quantize_aware(model)
    assert any(name.endswith("_input_range") for name, _ in model.named_buffers())
    names = {param.name for param in LayerGraph(model, spec).params()}
    assert names == {*dict(model.named_parameters()), "1._mean", "1._variance"}  # those of the batch norm


def test_a_copy_of_the_model_rounds_by_itself():
    model = net()
    quantize_aware(model)
    train(model)
    twin = copy.deepcopy(model)
    model.eval(), twin.eval()
    assert (model(images()) == twin(images())).all()
    twin.train()
    twin(images(5) * 9)
    assert (twin[0].rounding_input_range != model[0].rounding_input_range).any()


class Twice(nn.Layer):
    """A layer that is called twice in one run: its range is moved twice."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.shared, self.head = nn.Conv2D(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu(self.images(x)).mean([2, 3])
        return self.head(self.shared(nn.functional.relu(3.0 * self.shared(x))))


@pytest.mark.parametrize("make", [net, Twice])
@pytest.mark.parametrize("config", [None, [{"quantizer": FunctionQuantizer(input=paddle.round)}]])
@pytest.mark.parametrize("full_graph", [True, False])
def test_it_holds_under_to_static(full_graph, config, make):
    paddle.seed(1)
    eager = make()
    traced = copy.deepcopy(eager)
    quantize_aware(eager, config)
    quantize_aware(traced, config)
    traced = paddle.jit.to_static(traced, full_graph=full_graph)
    train(eager)
    train(traced)
    for one, other in zip(eager.state_dict().values(), traced.state_dict().values()):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


def test_once_the_rounding_is_removed_there_is_nothing_of_it_to_export(tmp_path):
    model = net()
    aware = quantize_aware(model)
    train(model)
    aware.remove()
    for of_it in (aware.ranges, lambda: aware.export([InputSpec([None, 3, 6, 6])], tmp_path / "m")):
        with pytest.raises(ValueError, match=r"taken out by `remove\(\)`; export before that, or the model itself"):
            of_it()


@pytest.mark.parametrize(
    "words, message",
    [
        (
            {"config": [{"quant_types": ["weight"], "quant_bits": {"weight": 4, "input": 4}}]},
            r"`config\[0\]\['quant_bits'\]` must have keys among weight, got 'input'; add it to `quant_types`",
        ),
        (
            {"config": [{"op_names": ["5*"]}]},
            "must name weights, got '5\\*', which is none; there are 0.weight, 4.weight",
        ),
        ({"skip": ["conv"]}, "`skip` must name weights of the model, got conv; it has 0.weight, 4.weight"),
        ({"skip": ["0.weight", "4.weight"]}, "the model has no layer to round"),
        ({"training": False}, "`training` belongs to a static Program"),
        ({"decay": 1.0}, r"`decay` must be in \[0, 1\)"),
    ],
)
def test_senseless_words_are_refused_and_the_model_stays_as_it_was(words, message):
    model = net()
    with pytest.raises((ValueError, TypeError), match=message):
        quantize_aware(model, **words)
    assert not [name for name in model.state_dict() if "range" in name] and not model[0]._forward_pre_hooks


def test_without_a_batch_it_says_so(tmp_path):
    model = net()
    aware = quantize_aware(model)
    with pytest.raises(ValueError, match="has seen no batch yet"):
        aware.export([InputSpec([None, 3, 6, 6])], tmp_path / "m")
    with pytest.raises(ValueError, match="rounds already"):
        quantize_aware(model)
    model.eval()
    with pytest.raises(ValueError, match="has seen no batch yet"):
        model(images())
    assert list(tmp_path.iterdir()) == []
