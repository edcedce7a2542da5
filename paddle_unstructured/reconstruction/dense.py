# SPDX-License-Identifier: Apache-2.0
"""The weights that a model had, beside those that it gets: large ones wait in a file and are read from there."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import numpy as np
import paddle

from ..saved_model import Model
from .spill import together

_LARGE = 1 << 20  # bytes of a weight that is read from the file


@contextlib.contextmanager
def kept(model: Model) -> Iterator[Any]:
    """A scope with all variables of a model as they are now; empty afterwards, since Paddle never frees a scope."""
    scope, graph = paddle.static.Scope(), model.graph
    large = []
    for name in sorted(model.param_names):
        array = graph.stored(name)
        if array.nbytes >= _LARGE and array.dtype == np.float32 and isinstance(model.place, paddle.CPUPlace):
            large.append(name)
        else:
            scope.var(name).get_tensor().set(array, model.place)
    arrays = together(graph.stored(name) for name in large)
    for name, array in zip(large, arrays):
        scope.var(name).get_tensor().set(array, model.place, True)  # the tensor is the array
    try:
        yield scope
    finally:
        scope.erase(list(scope.local_var_names()))
