# SPDX-License-Identifier: Apache-2.0
"""Joining the ranks: a communicator that has been tried before anything is trained with it."""

from __future__ import annotations

import os

import numpy as np
import paddle
import paddle.distributed as dist
from paddle.distributed import fleet

from ..arguments import number
from ..distributed import ranks, watch
from .collectives import exchange, mode, sum_over_ranks
from .ranks import check_environment, rank, world_size

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
    global _ready
    if timeout is not None:
        number("timeout", timeout, above=0, rule="a number of seconds > 0, or None")
    if _ready:
        return
    if check_environment(os.environ) > 1:
        _communicate()
        ranks.join(dist.get_rank(), dist.get_world_size())
        watch.start(rank(), world_size(), timeout)
        _self_test()
    with mode(paddle.enable_static):  # in dynamic mode it would make groups of its own
        fleet.init(is_collective=True)
    _ready = True


def _communicate() -> None:
    """Make the communicator; Paddle does that in dynamic mode only."""
    try:
        with mode(paddle.disable_static):
            dist.init_parallel_env()
        if os.environ.get("PADDLE_DISTRI_BACKEND") != "gloo":
            # gloo's group serves static Programs too. NCCL's does not: they look for a communicator named "0".
            dist.collective._init_parallel_env("nccl" if paddle.is_compiled_with_cuda() else "bkcl")
    except Exception as error:
        raise RuntimeError(
            f"rank {os.environ.get('PADDLE_TRAINER_ID')} cannot reach the others at "
            f"{os.environ.get('PADDLE_MASTER')}: {error}. Look whether all ranks were started, and "
            "whether the port is open between the machines."
        ) from error


def _self_test() -> None:
    """Three sums, each of the one before, of different lengths: wrong, or out of order, and nothing is trained."""
    total = world_size() * (world_size() + 1) // 2
    for length in (1, 1000, 3):
        values = np.arange(length, dtype="float64")
        found = exchange(values * (rank() + 1), sum_over_ranks, times=3)
        wanted = values * total * world_size() ** 2
        if not np.array_equal(found, wanted):
            raise RuntimeError(
                f"a sum over the {world_size()} ranks is wrong: rank {rank()} got "
                f"{found[:5].tolist()}... and should have {wanted[:5].tolist()}...; look for FLAGS_ in "
                "the environment, and for different Paddle versions."
            )
