# SPDX-License-Identifier: Apache-2.0
"""What can be compressed: the parameters of a saved model, one at a time, and which of them are weights."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import paddle

from ..formats import pair, pdiparams, pdparams
from ..graph import open_graph
from ..saved_model import find_model, read_program

Tensors = Iterator["tuple[str, str, np.ndarray]"]


@dataclass(frozen=True)
class Source:
    """A saved model.

    Attributes:
        files: All its files; the parameters come first.
        program: Content of its `.json`; empty for a checkpoint.
        tensors: A function that reads (name, dtype, array) one after the other.
        axes: A function that finds name -> output axis (None: it has none) of every float32 weight. Norm params,
            biases and statistics are no weights.
    """

    files: tuple[str, ...]
    program: bytes
    tensors: Callable[[], Tensors]
    axes: Callable[[], dict[str, int | None]]


def open_source(model: str) -> Source:
    """Open a saved model.

    Args:
        model: A prefix, a folder, or a file: `.json` and `.pdiparams` of `save_inference_model`, or a `.pdparams` file
            of `paddle.static.save` (its Program is not needed).

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: It is a legacy model, damaged or not whole.
    """
    if model.endswith(".pdparams"):
        return _checkpoint(model)
    files = find_model(model)
    if files.kind == "legacy":
        raise ValueError(
            f"`model` must be a model of Paddle 3, got the legacy model {files.program}; "
            "save_model(open_model(...), path) translates it."
        )
    if files.kind == "checkpoint":
        return _checkpoint(files.params)
    found = pdiparams.scan(files.params, files.program)
    pair.check(files.program, files.params)

    def tensors() -> Tensors:
        for tensor in found:
            yield tensor.name, tensor.dtype, pdiparams.read(files.params, tensor)

    return Source(
        (files.params, files.program), Path(files.program).read_bytes(), tensors, lambda: _axes_by_role(files.program)
    )


def _checkpoint(file: str) -> Source:
    arrays = pdparams.load(file)
    unknown = [
        f"{name} ({array.dtype})"
        for name, array in arrays.items()
        if array.dtype.name not in pdiparams.DTYPES and array.dtype != np.uint16
    ]  # how Paddle holds bfloat16
    if unknown:
        raise ValueError(f"{file} must hold types of Paddle, but holds {', '.join(unknown[:3])}.")
    axes: dict[str, int | None] = {
        name: array.ndim - 1 if array.ndim == 2 else 0
        for name, array in arrays.items()
        if array.dtype == np.float32 and array.ndim >= 2
    }

    def tensors() -> Tensors:
        for name in list(arrays):
            array = arrays.pop(name)  # what has been compressed is let go
            yield name, "bfloat16" if array.dtype == np.uint16 else array.dtype.name, array

    return Source((file,), b"", tensors, lambda: axes)


def _axes_by_role(program: str) -> dict[str, int | None]:
    with _static_mode():
        params = open_graph(read_program(program), paddle.static.Scope(), paddle.CPUPlace()).params()
    return {param.name: param.output_axis for param in params if param.is_weight and param.dtype == "float32"}


@contextmanager
def _static_mode() -> Iterator[None]:
    """Paddle reads Programs in static mode only."""
    eager = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        yield
    finally:
        if eager:
            paddle.disable_static()
