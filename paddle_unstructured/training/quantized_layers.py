# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of an nn.Layer: its convolutions and linear layers round what they compute with."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from types import MethodType
from typing import Any, Collection, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.base.libpaddle import pir
from paddle.jit.sot import psdb
from paddle.utils import unique_name

from ..arguments import StrPath, number
from ..graph import LayerGraph, Param
from ..graph.converted import before_conversion, forget_traces
from ..graph.in_place import assign_
from ..graph.rounded import between_marks, newest_range, note_lost_zeros
from ..reporting.table import aligned
from ..selection import check_named, why_none
from .activation_ranges import moved, ranges_beside, updated, widest
from .kept_zeros import check_rounding
from .quantizer_config import Rounding, roundings
from .quantizers import Quantizer, in_plain_ops, rounded_activation, rounded_weight, with_backward

_CAN_RECUR = bool(signature(psdb.fallback).parameters)  # not in Paddle 3.0, where it need not
_KINDS = (nn.Conv1D, nn.Conv2D, nn.Linear)
_STATE, _INPUT, _OUTPUT = "rounding", "rounding_input_range", "rounding_output_range"


@dataclass
class _State:
    """What the hooks of one layer know of it; a copy of the layer has a copy of it."""

    how: Rounding
    axis: int
    decay: float
    exporting: bool = False
    fixed: dict[str, list[float]] = field(default_factory=dict)
    moving: dict[str, Tensor] = field(default_factory=dict)  # ranges with a batch that no run has finished
    own_forward: Any = None  # which the layer had in the place of that of its class


@dataclass(frozen=True)
class LayersQuantized:
    """A model whose layers round, as `quantize_aware(model)` made it.

    Attributes:
        model: the model.
        layers: its weights that are rounded, by name, and how.
        kept: Name of each other weight -> why it is not.
    """

    model: nn.Layer
    layers: dict[str, Rounding]
    kept: dict[str, str]
    _places: dict[str, list[nn.Layer]] = field(repr=False)
    _left: frozenset[str] = field(repr=False)
    _hooks: list[Any] = field(repr=False)

    def ranges(self) -> dict[str, dict[str, list[float]]]:
        """Weight, as the saved model calls it -> {"input": [low, high]} of each layer in int8.

        Of a weight that several layers hold this is the widest. {} of a layer that is not in int8 because it was asked
        so, as of a Program.

        Raises:
            ValueError: No training batch has been seen yet, or the rounding was removed.
        """
        self._check_there()
        found: dict[str, dict[str, list[float]]] = {name: {} for name in sorted(self._left)}
        for name, how in self.layers.items():
            layers = self._places[name]
            learned = (_learned(layer, _INPUT, name) for layer in layers)
            found[layers[0].weight.name] = {"input": widest(learned)} if how.is_int8 else {}
        return found

    def export(self, input_spec: Sequence[Any], path: StrPath, pruner: Any = None, **kwargs: Any) -> Any:
        """Write the inference model, as `paddle_unstructured.export.export` does, and its ranges, as
        `QuantizationAware.export` does for a Program.

        Args:
            input_spec: an InputSpec for each input.
            path: Prefix of the files; the ranges go into `path`.ranges.json.
            pruner, kwargs: arguments as there.

        Raises:
            ValueError: No training batch has been seen yet, or what is said there. Nothing is written then.
        """
        from ..export.export_program import export

        beside = ranges_beside(self.ranges())
        with self._exporting():
            return export(self.model, input_spec, path, pruner, beside=beside, **kwargs)

    def _check_there(self) -> None:
        if not self._hooks:
            raise ValueError(
                "the rounding and its ranges were taken out by `remove()`; export before that, or the model itself by "
                "`paddle_unstructured.export.export`."
            )

    def remove(self) -> None:
        """Take all rounding out again; the weights stay what they are."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for layer in (layer for layers in self._places.values() for layer in layers):
            _uninstall(layer)
            note_lost_zeros(layer.weight, "")
            for name in (_INPUT, _OUTPUT):
                layer._buffers.pop(name, None)
        forget_traces(self.model)

    @contextmanager
    def _exporting(self) -> Iterator[None]:
        """What int8 kernels round does not round; other weights are stored rounded. For as long as this lasts."""
        stored: dict[int, tuple[Tensor, np.ndarray]] = {}
        layers = [layer for places in self._places.values() for layer in places]
        try:
            for layer in layers:
                state = vars(layer)[_STATE]
                state.exporting = True
                kept = [] if state.how.is_int8 else [name for name in (_INPUT, _OUTPUT) if name in layer._buffers]
                state.fixed = {name: _learned(layer, name, layer.full_name()) for name in kept}
                weight, wanted = layer._parameters["weight"], state.how.at("weight")
                if wanted is not None and not state.how.is_int8 and id(weight) not in stored:
                    stored[id(weight)] = weight, weight.numpy()
                    with paddle.no_grad():
                        weight.set_value(rounded_weight(weight, wanted[0], wanted[1], state.axis))
            yield
        finally:
            for layer in layers:
                state = vars(layer)[_STATE]
                state.exporting, state.fixed = False, {}
            for weight, values in stored.values():
                weight.set_value(values)

    def __str__(self) -> str:
        rows = [(name, how.words, repr(how.quantizer)) for name, how in self.layers.items()]
        return aligned(
            ("weight", "bits", ""), rows + [(name, "", reason) for name, reason in self.kept.items()], numbers=()
        )


def quantize_layers(
    model: nn.Layer, config: Sequence[Mapping[str, Any]] | None, *, skip: Collection[str], decay: float
) -> LayersQuantized:
    """`quantize_aware` of an nn.Layer."""
    graph = LayerGraph(model)
    number("decay", decay, least=0, below=1, rule="in [0, 1)")
    weights = [param for param in graph.params() if param.is_weight]
    places = _places(graph, weights)
    if any(_STATE in vars(layer) for layer in model.sublayers(include_self=True)):
        raise ValueError("`program` rounds already; call `remove()` of what quantize_aware returned first.")
    check_named("skip", skip, weights, "model")
    asked = roundings(config, weights)
    unfit = {param.name: _unfit(param, places.get(param.name)) for param in weights}
    reasons = {param.name: _why_not(param.name, unfit[param.name], asked, set(skip)) for param in weights}
    if all(reasons.values()):
        raise ValueError(f"the model has no layer to round: {why_none(reasons)}; `skip` and `config` may leave some.")
    layers: dict[str, Rounding] = {}
    lost: dict[str, str] = {}
    for param in weights:
        rounding = asked[param.name]
        if reasons[param.name] or rounding is None:
            continue
        layers[param.name] = rounding if rounding.explicit else _without_output(rounding)
        if (wanted := rounding.at("weight")) is not None:
            check_rounding(param, *wanted)
            lost[param.name] = wanted[0].loses_zeros(wanted[1])
    hooks = [
        hook
        for param in weights
        for layer in (places[param.name] if param.name in layers else ())
        for hook in _attach(layer, _State(layers[param.name], param.output_axis or 0, decay), lost.get(param.name))
    ]
    forget_traces(model)
    kept = {name: reason for name, reason in reasons.items() if reason}
    left = frozenset(places[name][0].weight.name for name in kept if not unfit[name])
    return LayersQuantized(graph.program, layers, kept, {name: places[name] for name in layers}, left, hooks)


def _without_output(how: Rounding) -> Rounding:
    """What follows a layer, a norm or an activation, is not known here: the next layer rounds what it reads."""
    return Rounding(how.quantizer, how.weight, how.input, None)


def _places(graph: LayerGraph, weights: Sequence[Param]) -> dict[str, list[nn.Layer]]:
    """The convolutions and linear layers, with Paddle's own `forward`, that have each weight."""
    names = {graph.key_of(param): param.name for param in weights}
    found: dict[str, list[nn.Layer]] = {}
    for layer in graph.program.sublayers(include_self=True):
        weight = layer._parameters.get("weight")
        if id(weight) in names and any(type(layer).forward is kind.forward for kind in _KINDS):
            found.setdefault(names[id(weight)], []).append(layer)
    return found


def _unfit(param: Param, places: list[nn.Layer] | None) -> str:
    """Why a weight cannot be rounded, or ""."""
    if param.dtype != "float32":
        return f"dtype {param.dtype}"
    return "" if places else "it is no weight of a paddle.nn.Conv1D, Conv2D or Linear"


def _why_not(name: str, unfit: str, asked: Mapping[str, Rounding | None], skip: set[str]) -> str:
    if name in skip:
        return "named in `skip`"
    return unfit or ("" if asked[name] else "no entry of `config` rounds it")


def _attach(layer: nn.Layer, state: _State, lost: str | None) -> list[Any]:
    vars(layer)[_STATE] = state
    if lost is not None:
        note_lost_zeros(layer._parameters["weight"], lost)
    for name, kind in ((_INPUT, "input"), (_OUTPUT, "output")):
        asked = state.how.at(kind)
        if asked is not None and asked[0].needs_range:
            layer.register_buffer(name, paddle.zeros([3]))
    _install(layer)
    return [layer.register_forward_pre_hook(_before), layer.register_forward_post_hook(_after)]


def _install(layer: nn.Layer) -> None:
    """Let the layer's `forward` be ours, which `to_static` takes for the layer's own and traces."""
    vars(layer)[_STATE].own_forward = vars(layer).get("forward")
    vars(layer)["forward"] = MethodType(forward, layer)


def _uninstall(layer: nn.Layer) -> None:
    """Take ours out, also where `to_static` has converted it since."""
    state: _State = vars(layer).pop(_STATE)
    if getattr(before_conversion(layer), "__func__", None) is forward:
        del vars(layer)["forward"]
        if state.own_forward is not None:
            vars(layer)["forward"] = state.own_forward


def _before(layer: nn.Layer, inputs: Any) -> Any:
    # `to_static` by byte code trips over our frames (3.3.1): they run eagerly.
    psdb.fallback(recursive=True) if _CAN_RECUR else psdb.fallback()
    state: _State = vars(layer)[_STATE]
    if not inputs:
        raise ValueError(
            f"{layer.full_name()} must be called with what it reads by position, layer(x), and was called by keyword, "
            "where no hook can round it."
        )
    if layer.forward == MethodType(type(layer).forward, layer):  # `pickle` finds a method by its name
        _install(layer)
    state.moving.clear()  # of a run that an error ended
    x, *others = inputs
    return (_rounded(layer, state, "input", _INPUT, x), *others)


@paddle.jit.not_to_static  # type: ignore[untyped-decorator]
def forward(layer: nn.Layer, *inputs: Any, **others: Any) -> Any:
    """What the layer computes with its weight rounded; `pickle` finds it by the name of the method."""
    psdb.fallback(recursive=True) if _CAN_RECUR else psdb.fallback()
    return _with_rounded_weight(layer, inputs, others)


def _with_rounded_weight(layer: nn.Layer, inputs: Sequence[Any], others: Mapping[str, Any]) -> Any:
    state: _State | None = vars(layer).get(_STATE)
    if state is None:  # somebody kept our `forward` beyond `remove()`
        return type(layer).forward(layer, *inputs, **others)
    own = getattr(state.own_forward, "dygraph_function", state.own_forward)  # as before `to_static`
    compute, wanted = own or MethodType(type(layer).forward, layer), state.how.at("weight")
    if wanted is None or state.exporting:
        return compute(*inputs, **others)
    # A name in the layer's own dict comes before its parameters: `compute` reads this one.
    vars(layer)["weight"] = _rounded_weight(layer.weight, *wanted, state.axis)
    try:
        return compute(*inputs, **others)
    finally:
        vars(layer).pop("weight", None)


def _rounded_weight(weight: Tensor, quantizer: Quantizer, bits: int, axis: int) -> Tensor:
    """A weight rounded; what is traced tells whoever reads it from a file that zeros are lost on the way."""
    build, lost = partial(rounded_weight, quantizer=quantizer, bits=bits, axis=axis), quantizer.loses_zeros(bits)
    if not (lost and isinstance(weight, pir.Value)):
        return build(weight)
    return between_marks(weight, unique_name.generate("rounded_weight"), build, loses_zeros=lost)


def _after(layer: nn.Layer, inputs: Any, output: Any) -> Any:
    psdb.fallback(recursive=True) if _CAN_RECUR else psdb.fallback()
    state: _State = vars(layer)[_STATE]
    output = _rounded(layer, state, "output", _OUTPUT, output)
    with paddle.no_grad():
        for name in list(state.moving):
            assign_(layer._buffers[name], state.moving.pop(name))
    bits = state.how.quantizer.gradient_bits
    if bits is None or state.exporting or output.stop_gradient:
        return output
    return with_backward(output, partial(state.how.quantizer.quantize_gradient, bits=bits))


def _rounded(layer: nn.Layer, state: _State, kind: str, range_name: str, x: Tensor) -> Tensor:
    asked = state.how.at(kind)
    if asked is None or (state.exporting and state.how.is_int8):
        return x
    quantizer, bits = asked
    low = high = None
    if state.exporting:
        if quantizer.needs_range:
            low, high = (paddle.full([1], end, "float32") for end in state.fixed[range_name])
        with in_plain_ops():
            return rounded_activation(kind, x, quantizer, bits, low, high)
    if quantizer.needs_range:
        range_ = getattr(layer, range_name)
        if isinstance(range_, pir.Value):  # it is traced, and perhaps this layer was before
            range_ = newest_range(range_)
            range_ = updated(range_, x, state.decay) if layer.training else range_
        elif layer.training:
            range_ = state.moving[range_name] = moved(range_, x, state.decay)
        elif paddle.in_dynamic_mode():
            _learned(layer, range_name, layer.full_name())
        low, high, weight = paddle.split(range_, 3)
        low, high = low / weight, high / weight
    return rounded_activation(kind, x, quantizer, bits, low, high)


def _learned(layer: nn.Layer, range_name: str, name: str) -> list[float]:
    low, high, weight = layer._buffers[range_name].numpy().astype(np.float64)
    if not weight:
        raise ValueError(
            f"{name} has seen no batch yet; run the model in training mode first, or load one that ran; if nothing "
            "calls this layer, name its weight in `skip`."
        )
    return [float(low / weight), float(high / weight)]
