"""Who else is there: the ranks of a job, and the sums, maxima and broadcasts between them."""
from __future__ import annotations

import contextlib
import functools
import os
import pickle
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import paddle
import paddle.distributed as dist
from paddle.distributed import fleet

from . import watch

_DEPENDENCY = "FLAGS_add_dependency_for_communication_op"
_world = 1  # ranks that the communicator joins
_rank = 0
_ready = False  # whether init() was called


def init(timeout: float | None = 600.0) -> None:
    """Join the ranks that `python -m paddle.distributed.launch` has started; without it, be the only one.

    Makes the communicator (NCCL on GPUs, gloo on CPUs), checks that sums over the ranks are right, calls
    `fleet.init(is_collective=True)` so that `fleet.worker_index()` works, and starts a watchdog: when a rank ends by an
    error or by SIGTERM, one line names it, its step and the ranks that are gone.

    Args:
        timeout: Seconds, > 0. A rank that has finished no step for so long is ended, with the place where it hangs in
            the log; `progress()` begins the count anew (`pruner.step()` calls it). Up to the first step, ten times as
            long is allowed. None: ranks wait for ever.

    Raises:
        ValueError: The environment is not one that can work; the message says which variable to change.
        RuntimeError: There is no communicator, or its sums are wrong.

    Example:
        >>> init()  # started without the launcher: one rank
        >>> rank(), world_size()
        (0, 1)
    """
    global _world, _rank, _ready
    if timeout is not None and not timeout > 0:
        raise ValueError(f"`timeout` must be a number of seconds > 0, or None, got {timeout!r}.")
    if _ready:
        return
    if check_environment(os.environ) > 1:
        _communicate()
        _world, _rank = dist.get_world_size(), dist.get_rank()
        watch.start(_rank, _world, timeout)
        _self_test()
    with _mode(paddle.enable_static):  # in dynamic mode it would make groups of its own
        fleet.init(is_collective=True)
    _ready = True


def is_joined() -> bool:
    """Whether `init` has joined this process with others."""
    return _world > 1


def world_size() -> int:
    """Number of ranks that train together; 1 before `init`, and without a launcher."""
    return _world


def rank() -> int:
    """This process's place among them, 0 to world_size() - 1. Rank 0 is the one that saves."""
    return _rank


def device_id() -> int:
    """Number of the GPU that the launcher has given to this rank; 0 without a launcher."""
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)


def check_joined() -> None:
    """Raise ValueError if a launcher has started several ranks and `init` has not joined them."""
    if check_environment(os.environ) > 1 and not is_joined():
        raise ValueError("the launcher has started several ranks, and they are not joined; call "
                         "paddle_unstructured.distributed.init() first, before the Program is built.")


def check_environment(environment: Mapping[str, str]) -> int:
    """The number of ranks that a launcher says there are; ValueError if they cannot work together."""
    launched = int(environment.get("PADDLE_TRAINERS_NUM", "1") or 1)
    if launched < 2:
        return 1
    if not paddle.get_flags([_DEPENDENCY])[_DEPENDENCY]:
        raise ValueError(f"{_DEPENDENCY} must be true, got false in the environment; leave it out: without it the "
                         "order of sums differs between ranks, and they are silently wrong.")
    on_cpu = environment.get("PADDLE_DISTRI_BACKEND") == "gloo"
    if not on_cpu and not (paddle.is_compiled_with_cuda() or paddle.is_compiled_with_xpu()):
        raise ValueError("the launcher has chosen devices that this paddle is not built for (PADDLE_DISTRI_BACKEND is "
                         f"{environment.get('PADDLE_DISTRI_BACKEND', 'not set')}); on CPUs start it with "
                         "`env -u CUDA_VISIBLE_DEVICES python -m paddle.distributed.launch --nproc_per_node N ...`, "
                         "without --devices and --backend.")
    return launched


def _communicate() -> None:
    """Make the communicator; Paddle does that in dynamic mode only."""
    try:
        with _mode(paddle.disable_static):
            dist.init_parallel_env()
        if os.environ.get("PADDLE_DISTRI_BACKEND") != "gloo":
            # gloo's group serves static Programs too. NCCL's does not: they look for a communicator named "0".
            dist.collective._init_parallel_env("nccl" if paddle.is_compiled_with_cuda() else "bkcl")
    except Exception as error:
        raise RuntimeError(f"rank {os.environ.get('PADDLE_TRAINER_ID')} cannot reach the others at "
                           f"{os.environ.get('PADDLE_MASTER')}: {error}. Look whether all ranks were started, and "
                           "whether the port is open between the machines.") from error


@contextlib.contextmanager
def _mode(switch: Callable[[], None]) -> Iterator[None]:
    """Paddle in dynamic or in static mode for a while, whatever it is in now."""
    back = paddle.disable_static if paddle.in_dynamic_mode() else paddle.enable_static
    switch()
    try:
        yield
    finally:
        back()


def _self_test() -> None:
    """Three sums, each of the one before, of different lengths: wrong, or out of order, and nothing is trained."""
    total = _world * (_world + 1) // 2
    for length in (1, 1000, 3):
        values = np.arange(length, dtype="float64")
        found = exchange(values * (_rank + 1), sum_over_ranks, times=3)
        wanted = values * total * _world * _world
        if not np.array_equal(found, wanted):
            raise RuntimeError(f"a sum over the {_world} ranks is wrong: rank {_rank} got {found[:5].tolist()}... and "
                               f"should have {wanted[:5].tolist()}...; look for FLAGS_ in the environment, and for "
                               "different Paddle versions.")


# -- within a Program; nothing is added to it where there is one rank

def sum_over_ranks(value: Any) -> Any:
    """Add up a tensor over the ranks, in place."""
    if _world > 1:
        dist.all_reduce(value)
    return value


def maximum_over_ranks(value: Any) -> Any:
    """Take the largest of each element over the ranks, in place."""
    if _world > 1:
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def from_rank_0(value: Any) -> Any:
    """Give all ranks rank 0's tensor, in place."""
    if _world > 1:
        dist.broadcast(value, src=0)
    return value


def average(values: Sequence[Any]) -> list[Any]:
    """The mean over the ranks of each tensor: sum_r v_r / world, as one collective per dtype, in the given order.

    Args:
        values: Tensors of known shapes, the same on every rank.

    Returns:
        Tensors of the same shapes and dtypes; with one rank, the given ones.
    """
    means = list(values)
    if _world == 1:
        return means
    for dtype in dict.fromkeys(value.dtype for value in values):
        same = [i for i, value in enumerate(values) if value.dtype == dtype]
        flat = paddle.concat([values[i].reshape([-1]) for i in same])
        flat = sum_over_ranks(flat * (1.0 / _world))  # divided first: half precision does not overflow
        sizes = [int(np.prod(values[i].shape)) for i in same]
        parts = paddle.split(flat, sizes) if len(same) > 1 else [flat]
        for i, part in zip(same, parts):
            means[i] = part.reshape(list(values[i].shape))
    return means


# -- between the ranks' Python

def exchange(values: np.ndarray, how: Callable[[Any], Any], times: int = 1) -> np.ndarray:
    """Run one collective on an array: `sum_over_ranks`, `maximum_over_ranks` or `from_rank_0`."""
    with _mode(paddle.enable_static):
        return _exchanger(values.shape, str(values.dtype), how, times)(np.ascontiguousarray(values))


@functools.lru_cache(maxsize=64)
def _exchanger(shape: tuple[int, ...], dtype: str, how: Callable[[Any], Any],
               times: int) -> Callable[[np.ndarray], np.ndarray]:
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        given = paddle.static.data("paddle_unstructured.exchanged", list(shape), dtype)
        result = paddle.assign(given)
        for _ in range(times):
            result = how(result)
    executor, scope = paddle.static.Executor(paddle.framework._current_expected_place_()), paddle.static.Scope()

    def run(values: np.ndarray) -> np.ndarray:
        return executor.run(program, feed={"paddle_unstructured.exchanged": values}, fetch_list=[result],
                            scope=scope)[0]
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
    array = np.asarray(values, "float64")
    return exchange(array.reshape(-1), sum_over_ranks).reshape(array.shape) if _world > 1 else array


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
    if _world == 1:
        return value
    given = np.frombuffer(pickle.dumps(value if _rank == 0 else None), "uint8")
    length = int(exchange(np.array([given.size], "int64"), from_rank_0)[0])
    room = 1 << min(max(length - 1, 1).bit_length(), 26)  # few different lengths, so few Programs; 64 MB at a time
    parts = []
    for start in range(0, length, room):
        part = np.zeros(room, "uint8")
        piece = given[start:start + room] if _rank == 0 else given[:0]
        part[:piece.size] = piece
        parts.append(exchange(part, from_rank_0)[:length - start].tobytes())
    return pickle.loads(b"".join(parts))  # from a rank of this job, which could as well have run code here by itself
