# SPDX-License-Identifier: Apache-2.0
"""Optimizers whose steps end with masks: their `step` and `minimize` are wrapped, as Paddle's own ASP does it."""

from __future__ import annotations

from typing import Any, Callable

import paddle
from paddle import Tensor

from ..arguments import wrong_kind

_WRITERS = ("step", "minimize")  # neither calls the other in dynamic mode


class Masked:
    """A method of one optimizer, followed by what keeps weights sparse.

    Args:
        optimizer: Whose method.
        name: Of the method.
    """

    def __init__(self, optimizer: Any, name: str) -> None:
        self.after: list[Callable[[Any], None]] = []
        self._optimizer, self._name, self._call = optimizer, name, getattr(optimizer, name)
        self.__doc__ = self._call.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
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
        method = vars(optimizer).get(name)
        if not isinstance(method, Masked):
            method = Masked(optimizer, name)
            setattr(optimizer, name, method)
        if after not in method.after:
            method.after.append(after)


def unwatch(optimizer: Any, after: Callable[[Any], None]) -> None:
    """Undo `watch`; the optimizer is as it was when nobody watches it any more."""
    for name in _WRITERS:
        method = vars(optimizer).get(name)
        if isinstance(method, Masked) and after in method.after:
            method.after.remove(after)
            if not method.after:
                delattr(optimizer, name)


def trained_by(optimizer: Any) -> list[Tensor]:
    """The tensors that an optimizer trains.

    Raises:
        TypeError: It is none, or was made without `parameters`.
    """
    listed = getattr(optimizer, "_parameter_list", None)
    if not listed or not callable(getattr(optimizer, "step", None)):
        raise wrong_kind("optimizer", "a paddle.optimizer.Optimizer made with `parameters`", optimizer)
    return [tensor for entry in listed for tensor in (entry["params"] if isinstance(entry, dict) else [entry])]


def master_weight(optimizer: Any, tensor: Tensor) -> Tensor | None:
    """The float32 copy that the optimizer keeps of a weight of half precision, if it does."""
    found: Tensor | None = getattr(optimizer, "_master_weights", {}).get(tensor.name)
    return found
