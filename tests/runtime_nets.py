# SPDX-License-Identifier: Apache-2.0
"""Reference arithmetic and saved nets for the runtime's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.runtime.write_plan import emit
from paddle_unstructured.saved_model import in_inference_mode, open_model

ISAS = ("avx512", "avx2", "portable")


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, window: Window, groups: int = 1) -> np.ndarray:
    """A convolution in float64, tap by tap."""
    (top, bottom, left, right), (high, wide), (down, across) = window.pad, window.stride, window.dilation
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows = (x.shape[2] - (window.kernel[0] - 1) * down - 1) // high + 1
    columns = (x.shape[3] - (window.kernel[1] - 1) * across - 1) // wide + 1
    outputs, inputs = len(weight) // groups, weight.shape[1]
    y = np.zeros((len(x), len(weight), rows, columns))
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            under = x[
                :,
                :,
                i * down : i * down + (rows - 1) * high + 1 : high,
                j * across : j * across + (columns - 1) * wide + 1 : wide,
            ]
            for group in range(groups):
                part = slice(group * outputs, (group + 1) * outputs)
                y[:, part] += np.einsum(
                    "oc,nchw->nohw",
                    weight[part, :, i, j].astype(np.float64),
                    under[:, group * inputs : (group + 1) * inputs],
                )
    return y + bias[None, :, None, None]


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a fraction of the largest expected value."""
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))


def blocks_of_zeros(random: np.random.Generator, weight: np.ndarray, sparsity: float, block: int) -> np.ndarray:
    """Zeros in blocks of neighbouring outputs, at random places."""
    matrix = weight.reshape(len(weight), -1)
    rows = -(-len(matrix) // block)
    kept = np.repeat(random.random((rows, matrix.shape[1])) >= sparsity, block, axis=0)[: len(matrix)]
    return (matrix * kept).reshape(weight.shape).astype(weight.dtype)


def save_net(
    folder: Path,
    layers: Callable[[Any], Any],
    shape: list[int],
    *,
    sparsity: float = 0.8,
    block: int = 1,
    seed: int = 0,
) -> str:
    """Build, initialise and prune a net at random (norm statistics too) and save it as an inference model.

    Returns:
        The prefix of its files.
    """
    random, scope = np.random.default_rng(seed), paddle.static.Scope()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.scope_guard(scope), paddle.utils.unique_name.guard():
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", shape, "float32")
            outputs = layers(x)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        for value in program.global_block().all_parameters():
            tensor = scope.find_var(value.name).get_tensor()
            tensor.set(_values(random, value.name, np.array(tensor), sparsity, block), paddle.CPUPlace())
        fetches = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        paddle.static.save_inference_model(str(folder / "net"), [x], fetches, executor, program=program)
    return str(folder / "net")


def _values(random: np.random.Generator, name: str, old: np.ndarray, sparsity: float, block: int) -> np.ndarray:
    if old.ndim >= 2:
        inputs = old[0].size if old.ndim != 2 else len(old)
        new = random.normal(size=old.shape) / np.sqrt(inputs * (1 - sparsity))
        return (
            blocks_of_zeros(random, new, sparsity, block)
            if old.ndim != 2
            else blocks_of_zeros(random, new.T, sparsity, block).T
        ).astype("float32", order="C")
    scale_or_variance = name.endswith(("w_0", "w_2")) or (old == 1.0).all()  # w_1 where a norm has no scale
    return (
        random.uniform(0.5, 1.5, old.shape).astype("float32")
        if scale_or_variance
        else (random.normal(size=old.shape) * 0.1).astype("float32")
    )


def assert_like_paddle(
    folder: Path,
    layers: Callable[[Any], Any],
    shape: list[int],
    given: list[int] | None = None,
    *,
    most: float = 1e-5,
    sparsity: float = 0.0,
) -> str:
    """The runtime computes what Paddle does, on two threads, behind a layer with weights.

    Args:
        folder: where the net is saved.
        layers: makes the net's outputs from its input.
        shape: of the input, -1 for open sizes.
        given: the shape that comes; where it is open 2 samples and 7 or 9 pixels otherwise.
        most: largest difference, as a fraction of the largest number.
        sparsity: of the weights.

    Returns:
        The plan.
    """

    def net(x: Any) -> Any:
        if shape[-1] > 0 and len(shape) < 4:
            return layers(paddle.nn.Linear(shape[-1], shape[-1])(x))
        kinds = {3: paddle.nn.Conv1D, 4: paddle.nn.Conv2D, 5: paddle.nn.Conv3D}
        first = kinds[len(shape)](shape[1], shape[1], 1)
        return layers(first(x))

    model = in_inference_mode(open_model(save_net(folder, net, shape, sparsity=sparsity)))
    writer, _ = emit(read_net(model))
    given = given or [size if size > 0 else (2, 3, 7, 9)[i] for i, size in enumerate(shape)]
    x = np.random.default_rng(1).normal(size=given).astype("float32")
    expected = model.run(x=x)
    got = Engine(writer.text, writer.arrays, threads=2).run(x)
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected):
        assert relative_error(ours.reshape(theirs.shape), theirs.astype("float64")) <= most, writer.text
    return writer.text
