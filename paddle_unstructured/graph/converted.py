# SPDX-License-Identifier: Apache-2.0
"""Layers that `paddle.jit.to_static` has converted, as they were before."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator

from paddle import nn


def unconvert(model: nn.Layer) -> Callable[[], None]:
    """Give each part of a model the `forward` that it had before it was converted. Returns what undoes that."""
    parts = [(part, vars(part)["forward"]) for part in model.sublayers(include_self=True) if _before(part) is not None]
    for part, _ in parts:
        part.forward = _before(part)

    def undo() -> None:
        for part, converted in parts:
            part.forward = converted

    return undo


def forget_traces(model: nn.Layer) -> None:
    """Let `to_static` trace each part of a model anew: what it has traced knows of no change since."""
    for part in model.sublayers(include_self=True):
        traced = getattr(part.forward, "_program_cache", None)  # `program_cache` raises where byte code is traced
        if traced is not None:
            traced.clear()


def before_conversion(layer: nn.Layer) -> Callable[..., Any]:
    """The forward that a layer has, or had before it was converted."""
    forward: Callable[..., Any] = _before(layer) or layer.forward
    return forward


@contextlib.contextmanager
def unconverted(model: nn.Layer) -> Iterator[None]:
    """The model without conversions, for a while."""
    undo = unconvert(model)
    try:
        yield
    finally:
        undo()


def _before(layer: nn.Layer) -> Any:
    """The forward of a converted layer as it was before; None of any other."""
    return getattr(vars(layer).get("forward"), "dygraph_function", None)
