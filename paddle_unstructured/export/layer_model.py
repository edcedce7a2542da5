# SPDX-License-Identifier: Apache-2.0
"""An nn.Layer as an inference model: traced in evaluation mode, its masks under the names that the model has."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle import nn

from ..formats.scratch import scratch
from ..graph import LayerGraph, Param
from ..graph.converted import unconverted
from ..graph.trace import read_what_is_computed, reason_of
from ..reporting.report import Explanation
from ..saved_model import Model, drop_unread, open_model


def layer_model(model: nn.Layer, input_spec: Sequence[Any]) -> Model:
    """The inference model of a Layer, with a copy of its weights. To be called, and used, in static mode.

    Raises:
        ValueError: Paddle cannot trace the Layer with these inputs, with its reason.
    """
    with scratch() as folder:
        draft = os.path.join(folder, "model")
        with _evaluating(model), unconverted(model), paddle.base.dygraph.guard():  # which may have run in other shapes
            names = {tensor.name for tensor in (*model.parameters(), *model.buffers())}
            try:
                paddle.jit.save(model, draft, input_spec=list(input_spec))
            except OSError:
                raise
            except Exception as error:  # whatever the model's own code meets
                raise ValueError(
                    f"`input_spec` must be what {type(model).__name__} can be traced with, got {list(input_spec)}: "
                    f"{reason_of(error)}"
                ) from error
        saved = open_model(draft, paddle.framework._current_expected_place_())
    drop_unread(saved.program)
    read_what_is_computed(saved.program, names)
    return saved


@dataclass(frozen=True)
class Renamed:
    """What a report asks of a pruner, with params under the names that the saved model has for them."""

    pruner: Any
    names: Mapping[str, str]

    def explain(self) -> Explanation:
        verdicts = self.pruner.explain()
        return Explanation(replace(v, param=replace(v.param, name=self.names[v.param.name])) for v in verdicts)


def layer_masks(graph: LayerGraph, known: Mapping[str, Param], pruner: Any) -> dict[str, np.ndarray]:
    """Masks by the names of the Layer; without a pruner those that its parameters have."""
    if pruner is None:
        return {name: graph.mask(param) for name, param in known.items() if graph.has_mask(param)}
    masks: dict[str, np.ndarray] = pruner.state_dict()["masks"]

    def has(name: str, mask: np.ndarray) -> bool:
        return name in known and graph.has_mask(known[name]) and np.array_equal(graph.mask(known[name]), mask)

    strangers = [name for name, mask in masks.items() if not has(name, mask)]
    if strangers:
        raise ValueError(
            f"`pruner` must be of the model that is exported, and {strangers[0]} is no param that it has pruned there; "
            "give the model that the pruner was made with."
        )
    return masks


def tensor_names(graph: LayerGraph, known: Mapping[str, Param]) -> dict[str, str]:
    """What the params are called in a saved model, by their names in the Layer.

    Raises:
        ValueError: Two have the same name there; they would be taken for each other.
    """
    names = {name: graph.tensor_name(param) for name, param in known.items()}
    given = list(names.values())
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise ValueError(
            f"the model's tensors must have names of their own, and two have the name {twice[0]}; rename one."
        )
    return names


@contextlib.contextmanager
def _evaluating(model: nn.Layer) -> Iterator[None]:
    """In evaluation mode; every part goes back to the mode that it was in."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextlib.contextmanager
def static_mode() -> Iterator[None]:
    """Static mode for a while."""
    paddle.enable_static()
    try:
        yield
    finally:
        paddle.disable_static()
