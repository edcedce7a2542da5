# SPDX-License-Identifier: Apache-2.0
"""Hooks of layers that neither copies of a model nor traces of it take along."""

from __future__ import annotations

from typing import Any, Callable

import paddle


class Hook:
    """A hook that a copy of the model does not have."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        if paddle.in_dynamic_mode():  # else the model is only being traced
            self._call(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, (_nothing,)


def _nothing(*args: Any) -> None:
    """What the hook of a copy does."""
