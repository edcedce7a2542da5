# SPDX-License-Identifier: Apache-2.0
"""Sums, maxima and broadcasts over the ranks: of tensors within a Program, and of what Python holds."""

from __future__ import annotations

import contextlib
import functools
import pickle
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import paddle
import paddle.distributed as dist

from .. import arguments
from ..arguments import wrong_kind
from .ranks import check_joined, rank, world_size

# -- within a Program; nothing is added to it where there is one rank


def sum_over_ranks(value: Any) -> Any:
    """Add up a tensor over the ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def maximum_over_ranks(value: Any) -> Any:
    """Take the largest of each element over the ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def from_rank_0(value: Any) -> Any:
    """Give all ranks rank 0's tensor, in place."""
    if world_size() > 1:
        dist.broadcast(value, src=0)
    return value


def average(values: Sequence[Any]) -> list[Any]:
    """The mean over the ranks of each tensor: sum_r v_r / world, as one collective per dtype, in the given order.

    Args:
        values: Tensors of known shapes, the same on every rank.

    Returns:
        Tensors of the same shapes and dtypes; with one rank, the given ones.
    """
    kinds = (paddle.Tensor, paddle.pir.Value)
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, kinds) for value in values):
        raise wrong_kind("values", "a list of tensors", values)
    means = list(values)
    if world_size() == 1:
        return means
    for dtype in dict.fromkeys(value.dtype for value in values):
        same = [i for i, value in enumerate(values) if value.dtype == dtype]
        flat = paddle.concat([values[i].reshape([-1]) for i in same])
        flat = sum_over_ranks(flat * (1.0 / world_size()))  # divided first: half precision does not overflow
        sizes = [int(np.prod(values[i].shape)) for i in same]
        parts = paddle.split(flat, sizes) if len(same) > 1 else [flat]
        for i, part in zip(same, parts):
            means[i] = part.reshape(list(values[i].shape))
    return means


# -- between the ranks' Python


def exchange(values: np.ndarray, how: Callable[[Any], Any], times: int = 1) -> np.ndarray:
    """Run one collective on an array, in the mode that Paddle is in: `sum_over_ranks`, `maximum_over_ranks` or
    `from_rank_0`."""
    if not paddle.in_dynamic_mode():
        return _exchanger(values.shape, str(values.dtype), how, times)(np.ascontiguousarray(values))
    result = paddle.to_tensor(values)
    for _ in range(times):
        result = how(result)
    return np.asarray(result.numpy())


@functools.lru_cache(maxsize=64)
def _exchanger(
    shape: tuple[int, ...], dtype: str, how: Callable[[Any], Any], times: int
) -> Callable[[np.ndarray], np.ndarray]:
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        given = paddle.static.data("paddle_unstructured.exchanged", list(shape), dtype)
        result = paddle.assign(given)
        for _ in range(times):
            result = how(result)
    executor, scope = paddle.static.Executor(paddle.framework._current_expected_place_()), paddle.static.Scope()

    def run(values: np.ndarray) -> np.ndarray:
        feed = {"paddle_unstructured.exchanged": values}
        return np.asarray(executor.run(program, feed=feed, fetch_list=[result], scope=scope)[0])

    return run


def total(values: Any) -> np.ndarray:
    """Add up numbers of the host over the ranks, as float64: counts and sums of a metric.

    Args:
        values: A number or an array, of the same shape on every rank.

    Returns:
        The sums; float64, the shape of `values`.

    Example:
        >>> correct, images = total([93.0, 100.0])  # of all test images
        >>> float(correct / images)
        0.93
    """
    check_joined()
    array = arguments.array("values", values).astype("float64")
    return exchange(array.reshape(-1), sum_over_ranks).reshape(array.shape) if world_size() > 1 else array


def share(value: Any) -> Any:
    """Give every rank what rank 0 has: decisions, file names, progress.

    Args:
        value: Anything that pickle can hold; of other ranks it is ignored.

    Returns:
        Rank 0's value.

    Example:
        >>> share({"checkpoint": "runs/gmp90/epoch_7"})
        {'checkpoint': 'runs/gmp90/epoch_7'}
    """
    check_joined()
    if world_size() == 1:
        return value
    given = np.frombuffer(pickle.dumps(value if rank() == 0 else None), "uint8")
    length = int(exchange(np.array([given.size], "int64"), from_rank_0)[0])
    room = 1 << min(max(length - 1, 1).bit_length(), 26)  # few different lengths, so few Programs; 64 MB at a time
    parts = []
    for start in range(0, length, room):
        part = np.zeros(room, "uint8")
        piece = given[start : start + room] if rank() == 0 else given[:0]
        part[: piece.size] = piece
        parts.append(exchange(part, from_rank_0)[: length - start].tobytes())
    return pickle.loads(b"".join(parts))  # from a rank of this job, which could as well have run code here by itself


@contextlib.contextmanager
def mode(switch: Callable[[], None]) -> Iterator[None]:
    """Paddle in dynamic or in static mode for a while, whatever it is in now."""
    back = paddle.disable_static if paddle.in_dynamic_mode() else paddle.enable_static
    switch()
    try:
        yield
    finally:
        back()
