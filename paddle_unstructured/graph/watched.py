# SPDX-License-Identifier: Apache-2.0
"""Optimizers whose steps end with masks: their `step` and `minimize` are wrapped, as Paddle's own ASP does it."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

import paddle
from paddle import Tensor

from ..arguments import wrong_kind

_WRITERS = ("step", "minimize")  # neither calls the other in dynamic mode
_UPDATE = "_create_optimization_pass"  # what both come to: it has the gradients, clipped and with their weight decay
_INNER = ("_inner_opt", "inner_optimizer")  # of those that fleet gives, and of LookAhead


class Wrapped:
    """A method of one optimizer, with something before it and something after it.

    Args:
        optimizer: optimizer whose method it is.
        name: name of the method.
    """

    def __init__(self, optimizer: Any, name: str) -> None:
        self.before: list[Callable[[Any], None]] = []  # given the method's first argument
        self.after: list[Callable[[Any], None]] = []  # given the optimizer
        self._optimizer, self._name, self._call = optimizer, name, getattr(optimizer, name)
        self.__doc__ = self._call.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for look in self.before:
            look(args[0])
        result = self._call(*args, **kwargs)
        if self.after and not paddle.in_dynamic_mode():
            raise RuntimeError(
                f"`optimizer.{self._name}` was traced into a Program, where masks would not hold; convert the model "
                "alone with paddle.jit.to_static, and call the optimizer outside."
            )
        for mask in self.after:
            mask(self._optimizer)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or what is read from a file, is the optimizer's own method: it knows nothing of this package."""
        return getattr, (self._optimizer, self._name)


def watch(optimizer: Any, after: Callable[[Any], None]) -> None:
    """Call `after(optimizer)` at the end of every step."""
    for name in _WRITERS:
        calls = _wrapped(optimizer, name).after
        if after not in calls:
            calls.append(after)


def unwatch(optimizer: Any, after: Callable[[Any], None]) -> None:
    """Undo `watch`; the optimizer is as it was when nobody watches it any more."""
    for name in _WRITERS:
        _unwrap(optimizer, name, after)


def watch_gradients(optimizer: Any, look: Callable[[Iterable[tuple[Tensor, Tensor]]], None]) -> None:
    """Show `look` pairs of weight and gradient, as the optimizer's update is given them, before each update."""
    _wrapped(_innermost(optimizer), _UPDATE).before.append(look)


def unwatch_gradients(optimizer: Any, look: Callable[[Iterable[tuple[Tensor, Tensor]]], None]) -> None:
    """Undo `watch_gradients`."""
    _unwrap(_innermost(optimizer), _UPDATE, look)


def _wrapped(optimizer: Any, name: str) -> Wrapped:
    method = vars(optimizer).get(name)
    if not isinstance(method, Wrapped):
        method = Wrapped(optimizer, name)
        setattr(optimizer, name, method)
    return method


def _unwrap(optimizer: Any, name: str, call: Callable[[Any], None]) -> None:
    method = vars(optimizer).get(name)
    if isinstance(method, Wrapped):
        for calls in (method.before, method.after):
            if call in calls:
                calls.remove(call)
        if not method.before and not method.after:
            delattr(optimizer, name)


def _innermost(optimizer: Any) -> Any:
    """The optimizer that updates weights, of one that wraps another."""
    for name in _INNER:
        inner = vars(optimizer).get(name)
        if callable(getattr(inner, "step", None)):
            return _innermost(inner)
    return optimizer


def trained_by(optimizer: Any) -> list[Tensor]:
    """The tensors that an optimizer trains.

    Raises:
        TypeError: It is none, or was made without `parameters`.
    """
    listed = getattr(optimizer, "_parameter_list", None)
    if not listed or not callable(getattr(optimizer, "step", None)):
        raise wrong_kind("optimizer", "a paddle.optimizer.Optimizer made with `parameters`", optimizer)
    return [tensor for entry in listed for tensor in (entry["params"] if isinstance(entry, dict) else [entry])]


def kept_by(optimizer: Any) -> Iterator[tuple[str, Tensor]]:
    """What an optimizer keeps from step to step, by name: moments, float32 master weights."""
    for one in dict.fromkeys((optimizer, _innermost(optimizer))):
        for name, value in one.state_dict().items():
            parts = value.items() if name == "master_weights" else [(name, value)]
            yield from ((key, part) for key, part in parts if isinstance(part, Tensor))


def accumulators(optimizer: Any, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """What an optimizer keeps of one tensor, by its word for it: ("moment1", ...), ("master weight", ...)."""
    inner = _innermost(optimizer)
    found = [(word, kept[tensor.name]) for word, kept in inner._accumulators.items() if tensor.name in kept]
    master = master_weight(optimizer, tensor)
    return found if master is None else [*found, ("master weight", master)]


def master_weight(optimizer: Any, tensor: Tensor) -> Tensor | None:
    """The float32 copy that the optimizer keeps of a weight of half precision, if it does."""
    found: Tensor | None = getattr(_innermost(optimizer), "_master_weights", {}).get(tensor.name)
    return found
