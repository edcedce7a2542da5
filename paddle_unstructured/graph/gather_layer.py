# SPDX-License-Identifier: Apache-2.0
"""Accumulators beside an nn.Layer: gradients are seen at the optimizer's update, the rest by hooks on its parts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterable, Sequence

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from .activations import activation, can_read
from .base import Param
from .converted import unconvert
from .gather import Gathering
from .hook import Hook
from .in_place import add_
from .layer_roles import is_whole
from .layers import LayerGraph
from .watched import unwatch_gradients, watch_gradients

if TYPE_CHECKING:
    from ..criteria import Watching

_log = logging.getLogger(__name__)
_AGAIN: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {  # what stands between a layer and its activation
    "relu": lambda x, _: F.relu(x),
    "relu6": lambda x, _: F.relu6(x),
    "leaky_relu": lambda x, how: F.leaky_relu(x, how["negative_slope"]),
    "hardswish": lambda x, _: F.hardswish(x),
    "swish": lambda x, _: F.swish(x),
    "silu": lambda x, _: F.silu(x),
    "sigmoid": lambda x, _: F.sigmoid(x),
    "hardsigmoid": lambda x, how: F.hardsigmoid(x, how["slope"], how["offset"]),
    "tanh": lambda x, _: F.tanh(x),
    "gelu": lambda x, how: F.gelu(x, how["approximate"]),
    "elu": lambda x, how: F.elu(x, how["alpha"]),
    "cast": lambda x, how: x.cast(how["dtype"]),
    "dropout": lambda x, _: x,  # what it drops is chance; on average its output is its input
}


@dataclass(frozen=True)
class Tap:
    """Where the input or output of a param's layer is seen.

    Attributes:
        layer: The part whose input it is, or whose output, up to `tail`.
        tail: Operations of one tensor that the model applies to that output before it is what the criterion means.
        axis: Where the channels are: 1, or -1.
    """

    layer: nn.Layer
    tail: tuple[Callable[[Tensor], Tensor], ...]
    axis: int


class LayerGathering(Gathering):
    """`Gathering` of an nn.Layer that trains.

    Each training forward adds what its first use of a layer reads or gives. A model that to_static has converted runs
    eagerly while these are gathered: a Program has no parts to hook.
    """

    _no_optimizer = "give `optimizer`, or call watch(optimizer)"

    def __init__(self, graph: LayerGraph, params: Sequence[Param], criterion: Watching) -> None:
        super().__init__(graph, params, criterion)
        self._graph = graph
        self._taps = {p.name: tap(graph, p, criterion) for p in params} if criterion.source != "gradient" else {}
        self._undo: list[Callable[[], None]] = []
        self._seen: set[str] = set()  # params that this forward has shown
        self._gathered: set[str] = set()  # params that were shown since a batch was counted
        self._warned = False
        if criterion.source == "gradient":
            self._has_gradients()

    @property
    def attached(self) -> bool:
        return bool(self._undo)

    def attach(self) -> None:
        self._begin()
        for param, name in zip(self._params, self.names):
            weight = self._graph.tensor(param.name)
            self._graph.hold(name, paddle.zeros(self._observed_shape(param), weight.dtype))
        if self._criterion.source == "gradient":
            for optimizer in {id(one): one for param in self._params for one in self._graph.trainers(param)}.values():
                watch_gradients(optimizer, self._gradients)
                self._undo.append(lambda one=optimizer: unwatch_gradients(one, self._gradients))  # type: ignore[misc]
        else:
            self._hook()

    def release(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._graph.erase(self.names)
        self._undo, self._batches = [], 0

    def count(self) -> None:
        """Count a batch in which something was seen: a gradient scaler skips steps, and so may a user."""
        if self.attached and not self._gathered and not self._warned:
            self._warned = True
            _log.warning(
                "%r has seen nothing since the last step(): its masks wait for batches. step() belongs behind every "
                "training step, and the model must be called as a whole, in train() mode",
                self._criterion,
            )
        self._batches += bool(self._gathered)
        self._gathered.clear()
        self._seen.clear()

    def _has_gradients(self) -> bool:
        return self._check_updated([param.name for param in self._params if not self._graph.trainers(param)])

    def _gradients(self, update: Iterable[tuple[Tensor, Tensor]] | dict[str, Any]) -> None:
        """Add one update up: pairs of weight and gradient, in a dict for a group of weights with options of its own."""
        pairs = update["params"] if isinstance(update, dict) else update
        gradients = {id(weight): gradient for weight, gradient in pairs if gradient is not None}
        for param in self._params:
            gradient = gradients.get(id(self._graph.tensor(param.name)))
            if gradient is not None:
                self._add(param, gradient, -1)

    def _hook(self) -> None:
        model = self._graph.program
        self._undo.append(unconvert(model))
        self._undo.append(model.register_forward_pre_hook(Hook(lambda *_: self._seen.clear())).remove)
        for param in self._params:
            layer = self._taps[param.name].layer
            if self._criterion.source == "input":
                see = Hook(lambda _, given, param=param: self._activation(param, given[0]))
                self._undo.append(layer.register_forward_pre_hook(see).remove)
            else:
                see = Hook(lambda _, __, output, param=param: self._activation(param, output))
                self._undo.append(layer.register_forward_post_hook(see).remove)

    def _activation(self, param: Param, value: Tensor) -> None:
        if param.name in self._seen or not self._graph.program.training:
            return
        self._seen.add(param.name)
        value = value.detach()
        for step in self._taps[param.name].tail:
            value = step(value)
        self._add(param, value, self._taps[param.name].axis % value.ndim)

    def _add(self, param: Param, seen: Tensor, axis: int) -> None:
        weight = self._graph.tensor(param.name).detach()
        with paddle.no_grad(), paddle.amp.auto_cast(enable=False):
            sum_so_far = self._graph.held(str(self.name_for(param)))
            add_(sum_so_far, self._observed(param, weight, seen.detach(), axis))
        self._gathered.add(param.name)


def tap(graph: LayerGraph, param: Param, criterion: Any) -> Tap:
    """Where the input or output of a param's layer can be seen.

    Raises:
        ValueError: The model was not traced; no layer of Paddle's computes it, or it cannot be said what follows.
    """
    owners = graph.owners()
    owner = owners[param.name]
    layer = owner if is_whole(owner) else None
    if criterion.source == "input" and layer is not None and can_read(param):
        return Tap(layer, (), -1 if getattr(layer, "_data_format", "C").endswith("C") else 1)
    if graph.trace is None:
        raise ValueError(
            f"what {criterion!r} is to watch is known once the model is traced: the norm and the activation behind "
            f"{param.name} may be no layers; give `input_spec`."
        )
    found = activation(graph.trace, param, criterion)
    seen = 1 + _adds_bias(layer)
    for i, op in enumerate(found.ops):
        behind = [owners[name] for name in graph.trace.read_by(op) if name in owners and is_whole(owners[name])]
        if behind and ("norm" in op.name() or op.name() == "pd_op.prelu"):
            layer, seen = behind[0], i + 1 + _activates(behind[0])
    rest = found.ops[seen:]
    unknown = [op.name() for op in rest if _again(op) is None]
    if layer is None or unknown:
        why = f"{unknown[0]} behind it is no layer of its own" if layer else "no layer of paddle.nn computes it"
        raise ValueError(f"{criterion!r} cannot watch {param.name}: {why}; leave it out with `select`.")
    return Tap(layer, tuple(step for step in map(_again, rest) if step), 1 if found.axis == 1 else -1)


def _adds_bias(layer: nn.Layer | None) -> bool:
    return getattr(layer, "bias", None) is not None


def _activates(layer: nn.Layer) -> bool:
    """Whether it is an old BatchNorm, which applies an activation itself."""
    return getattr(layer, "_act", None) is not None


def _again(op: Any) -> Callable[[Tensor], Tensor] | None:
    """What an op without parameters does to a tensor."""
    name, how = op.name().split(".")[-1].rstrip("_"), op.attrs()
    if name == "scale":
        factor = op.operand_source(1).get_defining_op()
        if factor is None or factor.name() != "pd_op.full":
            return None
        by = float(factor.attrs()["value"])
        return lambda x: paddle.scale(x, by, how["bias"], how["bias_after_scale"])
    return (lambda x: _AGAIN[name](x, how)) if name in _AGAIN else None
