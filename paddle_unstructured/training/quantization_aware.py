# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: the Program rounds weights and activations to 8 bits as int8 kernels will."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Iterable

import numpy as np
import paddle
from paddle import Tensor

from ..arguments import StrPath, flag, names, number
from ..graph import Param, PirGraph, open_graph
from ..reporting.table import aligned
from ..selection import check_named
from .fake_quant import Point, insert_behind, is_rounded, points, range_variable, unrounded, why_not

RANGES = ".ranges.json"


def quantize_aware(
    program: Any, *, training: bool = True, skip: Iterable[str] = (), decay: float = 0.99, scope: Any = None
) -> QuantizationAware:
    """Rewrite a forward Program so that it computes with 8-bit weights and activations.

    Weights of convolutions and linear layers become `round_weight(w)`, what layers read and give becomes
    `round_activation(x, low, high)`. A range is a running average of the batches' extremes,
        low = sum_t decay^(T-t) min(x_t) / sum_t decay^(T-t),    high likewise,
    in a variable of the Program that only a training Program updates, in the graph. Gradients go straight through the
    rounding, and are zero where an activation lies outside of its range.

    Order: build the net, clone the Program for tests, call this for both (`training=False` for the clone: it reads the
    same ranges), then the loss and `minimize`, then load weights and make the pruner. A weight that is zero is rounded
    to zero, and masks apply to the stored weights, which stay float32: they are as sparse at every step as without.

    Args:
        program: A PIR Program without gradients, as built; it is changed in place.
        training: whether a run of this Program updates the ranges.
        skip: Names of weights whose layers stay float32.
        decay: factor of the running average, in [0, 1).
        scope: scope that holds the variables; default: the global scope.

    Returns:
        What was rewritten; prints as a table.

    Raises:
        ValueError: Gradients are there already, or the rounding is; a name in `skip` that is no weight's; no layer to
            rewrite; `decay` out of range. The Program is as it was.
        TypeError: Not a PIR Program.

    Example:
        >>> with paddle.static.program_guard(main, startup):  # doctest: +SKIP
        ...     logits = net(image)
        ...     quantized = quantize_aware(main)
        ...     optimizer.minimize(loss_of(logits))
        >>> exe.run(startup); load_pruned_weights()  # doctest: +SKIP
        >>> pruner = UnstructuredPruner(main, ratio=0.0); pruner.set_static_masks()  # doctest: +SKIP
        >>> quantized.export([image], [logits], "model", pruner)  # model.ranges.json too  # doctest: +SKIP

    Source: Jacob et al. 2017, arXiv:1712.05877; straight-through gradients: Bengio et al. 2013, arXiv:1308.3432.
    """
    graph = open_graph(program, scope)
    number("decay", decay, least=0, below=1, rule="in [0, 1)")
    training, left = flag("training", training), names("skip", skip)
    if any("_grad" in op.name() for op in program.global_block().ops):
        raise ValueError("`program` must be a forward Program, and has gradients already; call this before minimize.")
    if is_rounded(program):
        raise ValueError("`program` is rounded to 8 bits already; build it anew.")
    weights = [param for param in graph.params() if param.is_weight]
    kept = _kept(graph, weights, set(left))
    params = [param for param in weights if not kept[param.name]]
    found, ends = points(graph, params)
    for param in params:
        insert_behind(graph, graph.persistable(param.name), partial(round_weight, axis=param.output_axis))
    for point in found.values():
        insert_behind(graph, point.value, partial(_rounded, graph, point, decay=decay if training else None))
    layers = tuple(RoundedLayer(p, ends[p.name][0].name, ends[p.name][1].name) for p in params)
    return QuantizationAware(graph, layers, {name: reason for name, reason in kept.items() if reason})


def round_weight(weight: Tensor, axis: int | None) -> Tensor:
    """Round to int8 and back, symmetric for each output channel c.

        s_c = max|w_c| / 127,    s_c * round(w / s_c);    d/dw = 1

    Args:
        weight: Float32.
        axis: axis of the output channels, 0 or 1.

    Returns:
        The same shape; an exact zero stays one.

    Example:
        >>> round_weight(paddle.to_tensor([[127.0, 0.6, 0.0]]), 0).tolist()
        [[127.0, 1.0, 0.0]]
    """
    return paddle._C_ops.fake_channel_wise_quantize_dequantize_abs_max(weight, 8, 0, axis)[0]  # 8 bits, ties to even


def round_activation(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Round to uint8 and back, asymmetric; zero is always one of the 256 numbers.

        s = (max(high, 0) - min(low, 0)) / 255,    z = round(-min(low, 0) / s),
        s * (q - z),    q = min(max(round(x / s) + z, 0), 255);    d/dx = 1 where x is not cut, else 0

    Args:
        x: Float32.
        low, high: ends of its range, [1] each.

    Example:
        >>> x = paddle.to_tensor([-9.0, 0.4, 0.6, 999.0])
        >>> round_activation(x, paddle.to_tensor([-5.0]), paddle.to_tensor([250.0])).tolist()
        [-5.0, 0.0, 1.0, 250.0]
    """
    low, high = paddle.clip(low, max=0.0), paddle.clip(high, min=0.0)
    scale = paddle.clip((high - low) / 255.0, min=1e-30)
    zero = paddle.round(-low / scale)
    cut = paddle.clip(x, -zero * scale, (255.0 - zero) * scale)
    # Paddle's op has 2^(bits - 1) - 1 steps on either side of zero: 9 bits hold all of [-z, 255 - z].
    span = 255.0 * scale
    return paddle._C_ops.fake_quantize_dequantize_moving_average_abs_max(cut, span, None, None, 0.9, 9, True, 0)[0]


@dataclass(frozen=True)
class RoundedLayer:
    """A layer that is rounded, and the variables that hold the ranges of what it reads and gives."""

    param: Param
    input: str
    output: str


@dataclass(frozen=True)
class QuantizationAware:
    """A Program that was rewritten by `quantize_aware`.

    Attributes:
        graph: graph of the Program.
        layers: layers that are rounded.
        kept: Name of each other weight -> why it is not.
    """

    graph: PirGraph
    layers: tuple[RoundedLayer, ...]
    kept: dict[str, str]

    def ranges(self) -> dict[str, dict[str, list[float]]]:
        """Weight name -> {"input": [low, high], "output": [low, high]} of its layer's activations.

        Raises:
            ValueError: No training batch has been seen yet.
        """
        return {
            layer.param.name: {"input": self._range(layer.input), "output": self._range(layer.output)}
            for layer in self.layers
        }

    def export(self, feed: Any, fetch: Any, path: StrPath, pruner: Any = None, exe: Any = None, **kwargs: Any) -> Any:
        """Write the inference model without any rounding, as `paddle_unstructured.export.export` does, and its ranges.

        Args:
            feed, fetch: Inputs (or their names) and outputs of this Program.
            path: Prefix of the files; the ranges go into `path`.ranges.json.
            pruner, exe, kwargs: arguments as there.

        Raises:
            ValueError: No training batch has been seen yet, or what is said there. Nothing is written then.
        """
        from ..export.export_program import export

        ranges = json.dumps(self.ranges(), indent=1) + "\n"
        feed, fetch = (list(v) if isinstance(v, (list, tuple)) else [v] for v in (feed, fetch))
        values = [value for value in (*feed, *fetch) if not isinstance(value, str)]
        program, values = unrounded(self.graph.program, values)
        here = iter(values)
        feed, fetch = ([v if isinstance(v, str) else next(here) for v in part] for part in (feed, fetch))
        kwargs.setdefault("scope", self.graph.scope)
        return export(program, feed, fetch, path, pruner, exe, beside={RANGES: ranges}, **kwargs)

    def _range(self, name: str) -> list[float]:
        low, high, weight = self.graph.array(name).astype(np.float64)
        if not weight:
            raise ValueError(
                f"{name} has seen no batch yet; run the training Program first, or load a checkpoint of one that ran."
            )
        return [float(low / weight), float(high / weight)]

    def __str__(self) -> str:
        rows = [(layer.param.name, layer.param.role, layer.input, layer.output) for layer in self.layers]
        return aligned(
            ("weight", "role", "range of its input", "range of its output"),
            rows + [(name, "float32", reason, "") for name, reason in self.kept.items()],
            numbers=(),
        )


def _rounded(graph: PirGraph, point: Point, x: Any, decay: float | None) -> Any:
    """An activation rounded in its range; nothing for one that is only watched, or not even that."""
    range_ = range_variable(graph, point)
    if decay is not None:
        range_ = _updated(range_, x, decay)
    if not point.rounded:
        return None
    low, high, weight = paddle.split(range_, 3)
    return round_activation(x, low / weight, high / weight)


def _updated(range_: Any, x: Any, decay: float) -> Any:
    """Sums and weight of a running average, [low, high, 1], with one more batch."""
    with paddle.no_grad():
        seen = paddle.stack([paddle.min(x), paddle.max(x), paddle.ones([], "float32")])
        return paddle.assign(range_ * decay + seen, output=range_)


def _kept(graph: PirGraph, weights: list[Param], skip: set[str]) -> dict[str, str]:
    check_named("skip", skip, weights, "Program")
    kept = {param.name: "named in `skip`" if param.name in skip else why_not(graph, param) for param in weights}
    if all(kept.values()):
        raise ValueError(f"the Program has no layer that int8 kernels run: {kept or 'it has no weights'}.")
    return kept
