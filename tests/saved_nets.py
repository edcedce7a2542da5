# SPDX-License-Identifier: Apache-2.0
"""Nets of a few layers as saved models, and images for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np
import paddle

from paddle_unstructured.saved_model import Model, open_model


def saved(folder: Path, build: Callable[[Any], Any], shape: Sequence[int] = (3, 8, 8)) -> Model:
    """The model `m` in a folder: `build` of an input `x` of this shape behind the batch; always the same weights."""
    program, startup = paddle.static.Program(), paddle.static.Program()
    paddle.seed(0)
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [-1, *shape])
        y = build(x)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    outputs = list(y) if isinstance(y, (list, tuple)) else [y]
    paddle.static.save_inference_model(str(folder / "m"), [x], outputs, executor, program=program)
    return open_model(folder / "m")


def structured(random: np.random.Generator, count: int, channels: int = 3, size: int = 8) -> np.ndarray:
    """Images whose pixels have much to do with each other, as real ones have."""
    coarse = np.kron(random.normal(size=(count, channels, 2, 2)), np.ones((size // 2, size // 2)))
    return (coarse + 0.3 * random.normal(size=(count, channels, size, size))).astype(np.float32)
