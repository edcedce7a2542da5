# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: the Program rounds weights and activations, by default as int8 kernels will."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence, overload

import numpy as np
import paddle

from ..arguments import StrPath, flag, names, number
from ..distributed.collectives import mode
from ..graph import Param, PirGraph, open_graph
from ..graph.rounded import between_marks
from ..graph.undo import all_or_nothing
from ..reporting.table import aligned
from ..selection import check_named, why_none
from .activation_ranges import ranges_beside, updated, widest
from .fake_quant import Point, insert_behind, is_rounded, points, range_variable, unrounded, why_not
from .kept_zeros import check_rounding, rounded_array
from .quantized_layers import LayersQuantized, quantize_layers
from .quantizer_config import Rounding, roundings
from .quantizers import Quantizer, in_plain_ops, rounded_activation, rounded_weight, with_backward


@overload
def quantize_aware(
    program: paddle.nn.Layer,
    config: Sequence[Mapping[str, Any]] | None = None,
    *,
    skip: Iterable[str] = (),
    decay: float = 0.99,
) -> LayersQuantized: ...
@overload
def quantize_aware(
    program: Any,
    config: Sequence[Mapping[str, Any]] | None = None,
    *,
    training: bool = True,
    skip: Iterable[str] = (),
    decay: float = 0.99,
    scope: Any = None,
) -> QuantizationAware: ...
def quantize_aware(
    program: Any,
    config: Sequence[Mapping[str, Any]] | None = None,
    *,
    training: bool = True,
    skip: Iterable[str] = (),
    decay: float = 0.99,
    scope: Any = None,
) -> QuantizationAware | LayersQuantized:
    """Rewrite a forward Program, or change an nn.Layer, so that it computes with rounded weights and activations.

    Weights of convolutions and linear layers are rounded on their way to their op, what layers read and give where it
    is computed: behind bias, norm and activation, if an op of the Program reads it. By default that is to 8 bits as the
    int8 kernels do it (`AffineQuantizer`). A range is a running average of the batches' extremes,
        low = sum_t decay^(T-t) min(x_t) / sum_t decay^(T-t),    high likewise,
    in a variable of the Program that only a training Program updates, in the graph. Gradients go straight through the
    rounding, and are zero where an activation lies outside of its range, if the quantizer does not say otherwise.

    Order: build the net, clone the Program for tests, call this for both (`training=False` for the clone: it reads the
    same ranges), then the loss and `minimize`, then load weights and make the pruner. A weight that is zero is rounded
    to zero, and masks apply to the stored weights, which stay float32: they are as sparse at every step as without.
    Where a quantizer has no level at zero, a pruner leaves the weights alone and says so.

    Of an nn.Layer: `Conv2D` and `Linear` round their weight and what they read, and by default not what they give,
    since the next one rounds that; "output" in `config` is what the layer itself returns. Ranges are buffers, and so
    in `state_dict`; they follow the batches in training mode. It holds for eager training and under `to_static`.

    Args:
        program: A PIR Program without gradients, as built; it is changed in place. Or an nn.Layer.
        config: list of entries, of which later ones override earlier ones for the layers that they cover:
            "quant_types", among "weight", "input" and "output" (default: all); "quant_bits", an int for all of them or
            a dict, 2 to 8 (DoReFa: 1 to 8; 32: not rounded); "op_types", among "conv2d", "depthwise_conv2d" and
            "linear"; "op_names", names of weights, with * and ?; "exclude": True for layers that stay float32;
            "quantizer", the part that rounds. Layers that no entry covers stay float32. None: 8 bits everywhere.
        training: whether a run of this Program updates the ranges; a Layer knows it itself.
        skip: Names of weights whose layers stay float32.
        decay: factor of the running average, in [0, 1).
        scope: scope that holds the variables; default: the global scope.

    Returns:
        What was rewritten; prints as a table.

    Raises:
        ValueError: Gradients are there already, or the rounding is; a name in `skip` or `config` that is no weight's; a
            senseless entry; no layer to rewrite; `decay` out of range; a quantizer of one's own that gives another
            shape, NaN, or something else for zero than it says. The Program, or the Layer, is as it was.
        TypeError: Not a PIR Program, or a `config` that is no list of dicts.
        Exception: whatever a quantizer of one's own raises. Nothing has changed then, either.

    Example:
        >>> with paddle.static.program_guard(main, startup):  # doctest: +SKIP
        ...     logits = net(image)
        ...     quantized = quantize_aware(main, [{"quant_bits": {"weight": 4, "input": 8, "output": 8}}])
        ...     optimizer.minimize(loss_of(logits))
        >>> exe.run(startup); load_pruned_weights()  # doctest: +SKIP
        >>> pruner = UnstructuredPruner(main, ratio=0.0); pruner.set_static_masks()  # doctest: +SKIP
        >>> quantized.export([image], [logits], "model", pruner)  # model.ranges.json too  # doctest: +SKIP

    Source: Jacob et al. 2017, arXiv:1712.05877; straight-through gradients: Bengio et al. 2013, arXiv:1308.3432.
    """
    if isinstance(program, paddle.nn.Layer):
        for name, given in (("training", training is not True), ("scope", scope is not None)):
            if given:
                raise TypeError(f"`{name}` belongs to a static Program, got one with an nn.Layer; leave it out.")
        return quantize_layers(program, config, skip=names("skip", skip), decay=decay)
    graph = open_graph(program, scope)
    number("decay", decay, least=0, below=1, rule="in [0, 1)")
    training, left = flag("training", training), names("skip", skip)
    if any("_grad" in op.name() for op in program.global_block().ops):
        raise ValueError("`program` must be a forward Program, and has gradients already; call this before minimize.")
    if is_rounded(program):
        raise ValueError(
            "`program` is rounded already, here or before it was saved; build it anew, and load its variables."
        )
    weights = [param for param in graph.params() if param.is_weight]
    asked = roundings(config, weights)
    unfit = {param.name: why_not(graph, param) for param in weights}
    kept = _kept(weights, unfit, set(left), asked)
    params = [param for param in weights if not kept[param.name]]
    how = {param.name: rounding for param in params if (rounding := asked[param.name])}
    reasons = {name: reason for name, reason in kept.items() if reason}
    asked_out = frozenset(name for name in reasons if not unfit[name])
    found, ends = points(graph, params, how, [param for param in weights if param.name in asked_out])
    layers = tuple(_layer(param, how[param.name], *ends[param.name]) for param in params)
    with all_or_nothing(graph):
        for param in params:
            if (wanted := how[param.name].at("weight")) is not None:
                _round_weight(graph, param, *wanted)
                check_rounding(param, *wanted)
        for point in found:
            build = partial(_rounded, graph, point, decay=decay if training else None)
            insert_behind(graph, point.value, build, point.readers)
    return QuantizationAware(graph, layers, reasons, tuple(found), asked_out)


@dataclass(frozen=True)
class RoundedLayer:
    """A layer that is rounded.

    Attributes:
        param: its weight.
        how: its quantizer and bits.
        inputs, outputs: variables that hold the ranges of what it reads (none: that is not rounded) and gives; several
            where several ops compute with the weight.
    """

    param: Param
    how: Rounding
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def input(self) -> str | None:
        """Of the first op."""
        return self.inputs[0] if self.inputs else None

    @property
    def output(self) -> str:
        """Of the first op."""
        return self.outputs[0]


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
    _points: tuple[Point, ...] = field(repr=False)
    _left: frozenset[str] = field(repr=False)

    def ranges(self) -> dict[str, dict[str, list[float]]]:
        """Weight name -> {"input": [low, high], "output": [low, high]} of the activations of each layer in int8.

        Of a weight with which several ops compute these are the widest. {} of a layer that is not in int8 because it
        was asked so, by `skip`, `exclude`, another quantizer or other bits: it stays in float32 when it is converted.

        Raises:
            ValueError: No training batch has been seen yet.
        """
        found = {
            layer.param.name: {"input": self._widest(layer.inputs), "output": self._widest(layer.outputs)}
            for layer in self.layers
            if layer.how.is_int8
        }
        others = {layer.param.name for layer in self.layers} | self._left
        return found | {name: {} for name in sorted(others - found.keys())}

    def export(self, feed: Any, fetch: Any, path: StrPath, pruner: Any = None, exe: Any = None, **kwargs: Any) -> Any:
        """Write the inference model, as `paddle_unstructured.export.export` does, and its ranges.

        What int8 kernels will round is written without any rounding, for `accelerate --int8 --calibrate`. Of every
        other quantizer the file holds the rounded weights, in float32, and the ops that round its activations.

        Args:
            feed, fetch: Inputs (or their names) and outputs of this Program.
            path: Prefix of the files; the ranges go into `path`.ranges.json.
            pruner, exe, kwargs: arguments as there.

        Raises:
            ValueError: No training batch has been seen yet, or what is said there. Nothing is written then.
        """
        from ..export.export_program import export, inputs_in, outputs_in

        beside = ranges_beside(self.ranges())
        feed, fetch = inputs_in(self.graph.program, feed), outputs_in(self.graph.program, fetch)
        with mode(paddle.enable_static), in_plain_ops():
            program, values = unrounded(self.graph.program, [*feed, *fetch], self._kept_roundings())
        feed, fetch = values[: len(feed)], values[len(feed) :]
        kwargs.setdefault("scope", self.graph.scope)
        with self._rounded_weights():
            return export(program, feed, fetch, path, pruner, exe, beside=beside, **kwargs)

    def _kept_roundings(self) -> dict[str, Callable[[Any], Any]]:
        """The roundings of activations that are part of the model, by their marks.

        What a layer gives that is not to be rounded may be rounded for an int8 kernel that reads it; it rounds itself.
        """
        others = [layer for layer in self.layers if not layer.how.is_int8]
        other = {name for layer in others for name in layer.inputs}
        other |= {name for layer in others if layer.how.output is not None for name in layer.outputs}
        kept = [point for point in self._points if point.name in other and point.how and point.kind != "gradient"]
        return {
            point.name: partial(_fixed, point, self._range(point.name) if point.needs_range else None) for point in kept
        }

    @contextmanager
    def _rounded_weights(self) -> Iterator[None]:
        """The weights that no int8 kernel rounds are rounded in the scope, for as long as this lasts."""
        stored = {}
        try:
            for layer in self.layers:
                wanted = layer.how.at("weight")
                if wanted is not None and not layer.how.is_int8:
                    stored[layer.param.name] = self.graph.stored(layer.param.name)
                    self.graph.store(layer.param.name, rounded_array(stored[layer.param.name], layer.param, *wanted))
            yield
        finally:
            for name, array in stored.items():
                self.graph.store(name, array)

    def _widest(self, names: Iterable[str]) -> list[float]:
        return widest(map(self._range, names))

    def _range(self, name: str) -> list[float]:
        low, high, weight = self.graph.array(name).astype(np.float64)
        if not weight:
            raise ValueError(
                f"{name} has seen no batch yet; run the training Program first, or load a checkpoint of one that ran."
            )
        return [float(low / weight), float(high / weight)]

    def __str__(self) -> str:
        rows = [
            (layer.param.name, layer.param.role, layer.how.words, ", ".join(layer.inputs), ", ".join(layer.outputs))
            for layer in self.layers
        ]
        return aligned(
            ("weight", "role", "bits", "range of its input", "range of its output"),
            rows + [(name, "float32", "", reason, "") for name, reason in self.kept.items()],
            numbers=(),
        )


def _layer(param: Param, how: Rounding, inputs: Sequence[str], outputs: Sequence[Point]) -> RoundedLayer:
    done = how if any(point.how is not None for point in outputs) else replace(how, output=None)
    return RoundedLayer(param, done, tuple(inputs), tuple(point.name for point in outputs))


def _round_weight(graph: PirGraph, param: Param, quantizer: Quantizer, bits: int) -> None:
    build = partial(rounded_weight, quantizer=quantizer, bits=bits, axis=param.output_axis or 0)
    lost = quantizer.loses_zeros(bits)
    value = graph.persistable(param.name)
    insert_behind(graph, value, lambda weight: between_marks(weight, param.name, build, loses_zeros=lost))


def _rounded(graph: PirGraph, point: Point, x: Any, decay: float | None) -> Any:
    """An activation rounded, in its range where it has one, or with a gradient to be rounded; None: only watched."""
    low = high = None
    if point.needs_range:
        range_ = range_variable(graph, point)
        if decay is not None:
            range_ = updated(range_, x, decay)
        low, high, weight = paddle.split(range_, 3)
        low, high = low / weight, high / weight
    if point.how is None:
        return None
    quantizer, bits = point.how
    if point.kind == "gradient":
        back = partial(quantizer.quantize_gradient, bits=bits)
        return between_marks(x, point.name + "_gradient", partial(with_backward, backward=back))
    build = partial(rounded_activation, point.kind, quantizer=quantizer, bits=bits, low=low, high=high)
    return between_marks(x, point.name, build)


def _fixed(point: Point, range_: Sequence[float] | None, x: Any) -> Any:
    """An activation rounded in a range that no batch moves."""
    assert point.how is not None
    low = high = None
    if range_ is not None:
        low, high = (paddle.full([1], end, "float32") for end in range_)
    return rounded_activation(point.kind, x, *point.how, low=low, high=high)


def _kept(
    weights: list[Param], unfit: Mapping[str, str], skip: set[str], asked: Mapping[str, Rounding | None]
) -> dict[str, str]:
    """Why each weight stays float32, or ""."""
    check_named("skip", skip, weights, "Program")
    kept = {}
    for param in weights:
        unasked = "" if asked[param.name] else "no entry of `config` rounds it"
        kept[param.name] = "named in `skip`" if param.name in skip else unfit[param.name] or unasked
    if all(kept.values()):
        raise ValueError(f"the Program has no layer to round: {why_none(kept)}; `skip` and `config` may leave some.")
    return kept
