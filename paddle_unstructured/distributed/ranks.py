# SPDX-License-Identifier: Apache-2.0
"""Who this process is among the ranks of a job, and what the launcher says of them."""

from __future__ import annotations

import os
from typing import Mapping

import paddle
import paddle.distributed as dist

DEPENDENCY = "FLAGS_add_dependency_for_communication_op"
_rank, _world = 0, 1


def join(rank: int, world: int) -> None:
    """From now on this process is one of several."""
    global _rank, _world
    _rank, _world = rank, world


def adopt() -> None:
    """Be one of the ranks that Paddle has joined in dynamic mode, by `init_parallel_env()` or `fleet.init()`."""
    if not is_joined() and dist.is_initialized() and dist.get_world_size() > 1:
        join(dist.get_rank(), dist.get_world_size())


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
        raise ValueError(
            "the launcher has started several ranks, and they are not joined; call "
            "paddle_unstructured.distributed.init() first, before the Program is built; with an nn.Layer, "
            "paddle.distributed.init_parallel_env() will do."
        )


def check_environment(environment: Mapping[str, str]) -> int:
    """The number of ranks that a launcher says there are; ValueError if they cannot work together."""
    launched = int(environment.get("PADDLE_TRAINERS_NUM", "1") or 1)
    if launched < 2:
        return 1
    if not paddle.get_flags([DEPENDENCY])[DEPENDENCY]:
        raise ValueError(
            f"{DEPENDENCY} must be true, got false in the environment; leave it out: without it the "
            "order of sums differs between ranks, and they are silently wrong."
        )
    on_cpu = environment.get("PADDLE_DISTRI_BACKEND") == "gloo"
    if not on_cpu and not (paddle.is_compiled_with_cuda() or paddle.is_compiled_with_xpu()):
        raise ValueError(
            "the launcher has chosen devices that this paddle is not built for (PADDLE_DISTRI_BACKEND is "
            f"{environment.get('PADDLE_DISTRI_BACKEND', 'not set')}); on CPUs start it with "
            "`env -u CUDA_VISIBLE_DEVICES python -m paddle.distributed.launch --nproc_per_node N ...`, "
            "without --devices and --backend."
        )
    return launched
