# SPDX-License-Identifier: Apache-2.0
"""The only files that touch a static Program or an nn.Layer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Sequence

import paddle

from ..arguments import wrong_kind
from .base import WEIGHT_ROLES, Graph, Param
from .gather import Gathering, is_gathered
from .gather_layer import LayerGathering
from .gather_program import ProgramGathering
from .layers import LayerGraph
from .program import PirGraph
from .trace import TracedGraph

if TYPE_CHECKING:
    from ..criteria import Watching

__all__ = [
    "Gathering",
    "Graph",
    "LayerGraph",
    "Param",
    "PirGraph",
    "TracedGraph",
    "WEIGHT_ROLES",
    "gather",
    "is_gathered",
    "open_any",
    "open_graph",
    "open_traced",
]


def open_any(
    program: Any, scope: Any = None, place: Any = None, *, optimizer: Any = None, input_spec: Any = None
) -> Graph:
    """The graph of a Program or of an nn.Layer.

    Args:
        program: A PIR Program, or an nn.Layer.
        scope, place: those of a Program; see `open_graph`.
        optimizer: optimizer that trains the Layer.
        input_spec: InputSpecs of the Layer's inputs, to trace it with.

    Raises:
        TypeError: None of the two, or an argument that belongs to the other one.
        ValueError: Paddle is in the other one's mode; the Layer cannot be traced; the optimizer does not train it.
    """
    if not isinstance(program, paddle.nn.Layer):
        for name, value in (("optimizer", optimizer), ("input_spec", input_spec)):
            if value is not None:
                raise TypeError(
                    f"`{name}` belongs to an nn.Layer, got one with a {type(program).__name__}; leave it out."
                )
        return open_graph(program, scope, place)
    for name, value in (("scope", scope), ("place", place)):
        if value is not None:
            raise TypeError(f"`{name}` belongs to a static Program, got one with an nn.Layer; leave it out.")
    graph = LayerGraph(program, input_spec)
    if optimizer is not None:
        graph.watch(optimizer)
    return graph


def open_graph(program: Any, scope: Any = None, place: Any = None) -> PirGraph:
    """The graph of a Program.

    Args:
        program: A PIR Program (`paddle.static.Program` of Paddle 3).
        scope: scope that holds the weights; default: `paddle.static.global_scope()`.
        place: device; default: the device Paddle is set to.

    Raises:
        TypeError: Not a Program, or a kind of Program that is not supported.
        ValueError: Paddle is in dynamic mode.
    """
    if isinstance(program, paddle.static.CompiledProgram):
        raise TypeError(
            "`program` must be a paddle.static.Program, got a CompiledProgram; give the Program it was "
            "compiled from (Paddle 3 runs it as it is)."
        )
    if isinstance(program, paddle.base.framework.Program):
        raise TypeError(
            "`program` must be a PIR Program, got a legacy Program (ProgramDesc) on Paddle "
            f"{paddle.__version__}; run without FLAGS_enable_pir_api=0, or translate a loaded model with "
            "paddle.pir.translate_to_pir."
        )
    if isinstance(program, paddle.nn.Layer):
        raise TypeError(
            f"`program` must be a static Program, got an nn.Layer ({type(program).__name__}); call it on "
            "paddle.static.data within a program_guard, or work on what export(layer, input_spec, path) writes."
        )
    if not isinstance(program, paddle.pir.Program):
        is_path = isinstance(program, (str, os.PathLike))
        hint = "; of a saved model give open_model(path).program, with its scope" if is_path else ""
        raise TypeError(f"`program` must be a paddle.static.Program, got {type(program).__name__}{hint}.")
    if scope is not None and not isinstance(scope, paddle.base.core._Scope):
        raise TypeError(f"`scope` must be a paddle.static.Scope, got {type(scope).__name__}.")
    if paddle.in_dynamic_mode():
        raise ValueError(
            "Paddle is in dynamic mode, and a static Program is to be pruned; call paddle.enable_static() first."
        )
    return PirGraph(program, scope or paddle.static.global_scope(), _place(place))


def _place(place: Any) -> Any:
    if place is None:
        return paddle.framework._current_expected_place_()
    if not isinstance(
        place,
        (
            paddle.CPUPlace,
            paddle.CUDAPlace,
            paddle.CUDAPinnedPlace,
            paddle.CustomPlace,
            paddle.XPUPlace,
            paddle.base.core.Place,
        ),
    ):
        raise wrong_kind("place", "a place such as paddle.CPUPlace() or paddle.CUDAPlace(0)", place)
    return place


def gather(graph: Graph, params: Sequence[Param], criterion: Watching) -> Gathering:
    """What a criterion wants to know of some params of a graph, to be summed over batches.

    Raises:
        ValueError: It cannot be watched there, with the reason.
    """
    if isinstance(graph, LayerGraph):
        return LayerGathering(graph, params, criterion)
    assert isinstance(graph, PirGraph)
    return ProgramGathering(graph, params, criterion)


def open_traced(model: Any, input_spec: Sequence[Any] | None, doing: str) -> TracedGraph:
    """The Program of an nn.Layer, over its own weights.

    Args:
        model: The Layer.
        input_spec: InputSpecs to trace it with; None: an earlier trace will do.
        doing: What has to see it, for the message.

    Raises:
        ValueError: It was not traced, or cannot be.
    """
    found = LayerGraph(model, input_spec).trace
    if found is None:
        raise ValueError(f"`input_spec` must be given for an nn.Layer: {doing} has to see how its parts are joined.")
    return found
