# SPDX-License-Identifier: Apache-2.0
"""Physical removal: channels that are zero, constant or unread leave an inference Program, and it computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arguments import whole
from ..graph import Param, open_graph
from ..reporting.report import check_initialized
from ..reporting.table import aligned
from .follow import follow_channels
from .removable import Removable, choose
from .rewrite import rewrite
from .trace import Trace


@dataclass(frozen=True)
class Shrunk:
    """What became of one layer.

    Attributes:
        layer: Name of its weight.
        before, after: numbers of its output channels.
        reason: Why channels that are zero, or that nobody reads, are still there; empty if there are none.
    """

    layer: str
    before: int
    after: int
    reason: str


@dataclass(frozen=True)
class Removal:
    """A `Shrunk` for each layer, in the order of the Program; prints as a table.

    Attributes:
        rows: The layers.
        numbers_before, numbers_after: counts of numbers the stored params have.
    """

    rows: tuple[Shrunk, ...]
    numbers_before: int
    numbers_after: int

    def __str__(self) -> str:
        rows = [(row.layer, f"{row.before}", f"{row.after}", row.reason) for row in self.rows]
        totals = [
            ("channels", f"{sum(r.before for r in self.rows)}", f"{sum(r.after for r in self.rows)}", ""),
            ("stored numbers", f"{self.numbers_before}", f"{self.numbers_after}", ""),
        ]
        return aligned(("layer", "before", "after", "why zero channels stay"), rows, totals, numbers=(1, 2))


def remove_channels(program: Any, scope: Any, place: Any = None, *, align_channels: int = 1) -> Removal:
    """Remove channels without which the Program computes the same, and shrink everything that sees them.

    A channel can go if every layer that reads it either has nothing but zeros for it, or sees a constant c there that
    can be taken up: a filter of zeros gives its bias, through norms and activations. What the layer then lacks,
    the sum of w * c over the kernel for each of its outputs, is added to its bias or taken from the running mean of
    the norm behind it. Under zero padding that would be wrong at the border, and elsewhere there may be no bias: there
    one channel stays and stands in for all constants, with their taps added to its own. A depthwise convolution with
    padding makes no constant of a c other than 0, so that its channel stays.
    Channels that meet in an addition (or in any product, maximum, ...) go or stay together; concatenation and splits
    are followed. Where channels reach anything else they stay, and the row of the layer says why. What stays keeps
    its order and its name. A second call removes nothing more.

    Args:
        program: An inference Program (PIR) with its fetch ops, as `paddle.static.load_inference_model` gives it;
            changed in place. An activation that you fetch besides may have fewer channels.
        scope: scope with its weights, exact zeros where they are pruned; changed in place.
        place: device; default: the device Paddle is set to.
        align_channels: Each layer keeps a multiple of this many outputs, rounded up, or all it has. Layers that read a
            concatenation may have any number of inputs.

    Returns:
        A row for each layer; `str(removal)` is a table.

    Raises:
        ValueError: `align_channels` is not a positive int; a Program with masks or gradients; a variable without a
            value. Nothing is changed then.
        TypeError: Not a PIR Program, not a scope.

    Example:
        >>> program, feeds, fetches = paddle.static.load_inference_model("pruned/model", exe)  # doctest: +SKIP
        >>> print(remove_channels(program, paddle.static.global_scope(), align_channels=8))  # doctest: +SKIP
        >>> paddle.static.save_inference_model("small/model", [...], fetches, exe, program=program)  # doctest: +SKIP

    Source: Li et al. 2017, arXiv:1608.08710 (filters, and the inputs of the next layer with them); Fang et al. 2023,
        arXiv:2301.12900 (groups of channels that depend on each other). Folding constants is ours.
    """
    whole("align_channels", align_channels, least=1)
    graph = open_graph(program, scope, place)
    params = graph.params()
    check_initialized(graph, params)
    if graph.declared_masks(params) or any("_grad" in op.name() for op in program.global_block().ops):
        raise ValueError(
            "`program` must be an inference Program without masks and gradients; save it with "
            "paddle.static.save_inference_model and load it into a scope of its own."
        )
    before, numbers = None, sum(param.size for param in params)
    while True:
        trace = follow_channels(graph)
        removable = choose(trace, align_channels)
        before = before or {param.name: _channels(trace, param) for param in params}
        if removable.alive.all():
            break
        rewrite(
            trace, removable.alive, removable.folds
        )  # stand-ins and alignment may leave a little for the next round
    rows = tuple(_row(trace, removable, param, before[param.name]) for param in params if param.is_weight)
    return Removal(rows, numbers, sum(param.size for param in graph.params()))


def _channels(trace: Trace, param: Param) -> int:
    if param.name in trace.layers:
        return len(trace.layers[param.name])
    return param.shape[param.output_axis or 0] * (param.groups if param.role.endswith("transpose") else 1)


def _row(trace: Trace, removable: Removable, param: Param, before: int) -> Shrunk:
    if param.name not in trace.layers:
        unknown = f"{param.reader} reads it in a way that is not followed"
        return Shrunk(param.name, before, before, trace.refused.get(param.name, unknown))
    why = removable.why(trace.layers[param.name], trace.zeros(param.name))
    return Shrunk(param.name, before, _channels(trace, param), why)
