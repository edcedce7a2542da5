# SPDX-License-Identifier: Apache-2.0
"""What two ranks that train an nn.Layer have to show; each leaves FOLDER/rank_N.npz and FOLDER/rank_N.json."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import numpy as np
import paddle
from layer_cases import CASES, Training
from train_on_ranks import Heard, refused

import paddle_unstructured as pu
from paddle_unstructured import distributed


def disturbed(what: str) -> list[str]:
    """What is logged when one number differs on rank 1 before the second mask update; all must agree after it."""
    heard = Heard()
    logging.getLogger("paddle_unstructured").addHandler(heard)
    training = Training("lamp", paddle.DataParallel)
    training.train(2)
    changed = {
        "weight": training.model[2].weight,
        "optimizer": training.optimizer._accumulators["velocity"][training.model[0].weight.name],
    }

    def disturb() -> None:
        if distributed.rank() == 1 and what in changed:
            changed[what].set_value(changed[what].numpy() * np.float32(1.001))

    training.pruner.ratio = 0.7
    training.train(1, disturb)
    heard.lines.append(f"same {distributed.same_everywhere(training.model)}")
    logging.getLogger("paddle_unstructured").removeHandler(heard)
    return [line for line in heard.lines if "pruned" not in line]


def main(folder: Path, how: str) -> None:
    early = refused(lambda: pu.UnstructuredPruner(paddle.nn.Linear(4, 4), ratio=0.5))
    wrap = paddle.DataParallel
    if how == "ours":
        distributed.init()
    elif how == "fleet":
        paddle.distributed.fleet.init(is_collective=True)
        wrap = paddle.distributed.fleet.distributed_model
    else:
        paddle.distributed.init_parallel_env()
    arrays = {}
    for case in CASES if how != "fleet" else ["lamp"]:
        training = Training(case, wrap, seed=1 + paddle.distributed.get_rank())  # DataParallel gives all rank 0's
        distributed.broadcast_state(training.wrapped, pruner=training.pruner)
        training.train()
        arrays.update({f"{case}/{name}": value for name, value in training.everything().items()})
    report = {
        "world": distributed.world_size(),
        "early": early,
        "names": list(training.pruner.masks),
        **{what: disturbed(what) for what in ("weight", "optimizer", "nothing") if how != "fleet"},
    }
    norm = paddle.nn.BatchNorm1D(3)
    norm._mean.set_value(np.full(3, distributed.rank(), "float32"))
    distributed.average_statistics(norm)
    report["mean"] = norm._mean.tolist()
    rank = distributed.rank()
    np.savez(folder / f"rank_{rank}.npz", **arrays)
    (folder / f"rank_{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
