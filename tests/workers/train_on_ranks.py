# SPDX-License-Identifier: Apache-2.0
"""All that two ranks have to show, one after the other; each rank leaves FOLDER/rank_N.npz and FOLDER/rank_N.json."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
from cases import CASES, Training, momentum, normed, ratio, train

from paddle_unstructured import distributed


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def disturb(name: str, change: Callable[[np.ndarray], Any]) -> list[str]:
    """What is logged when one variable differs on rank 1 before the second mask update; all must agree after it."""
    heard = Heard()
    logging.getLogger("paddle_unstructured").addHandler(heard)
    with paddle.static.scope_guard(paddle.static.Scope()):
        training = Training(momentum, ratio)
        distributed.broadcast_state(training.main)
        training.train(2)
        if distributed.rank() == 1 and name:
            value = training.get(name)
            change(value)
            training.put(name, value)
        heard.lines.append(f"same {distributed.same_everywhere(training.main)}" if name == "same" else "")
        training.pruner.ratio = 0.7
        training.train(1)
        heard.lines.append(f"same {distributed.same_everywhere(training.main)}")
    logging.getLogger("paddle_unstructured").removeHandler(heard)
    return list(filter(None, heard.lines))


def ulp(value: np.ndarray) -> None:
    value.flat[3] = np.nextafter(value.flat[3], np.float32(9))


def swap(value: np.ndarray) -> None:
    """Exchange a 0 and a 1 of a mask: its sum stays."""
    zero, one = int(np.flatnonzero(value == 0)[0]), int(np.flatnonzero(value == 1)[0])
    value.flat[zero], value.flat[one] = 1, 0


def statistics() -> dict[str, np.ndarray]:
    """Running statistics before and after they are averaged."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        training = Training(momentum, None, net=normed)
        distributed.broadcast_state(training.main)
        training.train(3)
        names = [name for name in training.names() if "batch_norm" in name and name.endswith(("w_1", "w_2"))]
        before = {f"before {name}": training.get(name) for name in names}
        same = distributed.same_everywhere(training.main)
        distributed.average_statistics(training.main)
        return {**before, **{f"after {name}": training.get(name) for name in names}, "same": np.array(same)}


def refused(act: Callable[[], Any]) -> str:
    try:
        act()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def other_program() -> None:
    with paddle.static.scope_guard(paddle.static.Scope()):
        net = normed if distributed.rank() else (lambda x: paddle.nn.Linear(6, 3)(x))
        training = Training(momentum, None, net=net)
        distributed.broadcast_state(training.main)


def main(folder: Path) -> None:
    paddle.enable_static()
    early = refused(lambda: Training(momentum, None))
    distributed.init()
    from paddle.distributed import fleet

    rank = distributed.rank()
    arrays = {f"{case}/{name}": value for case in CASES for name, value in train(case).items()}
    arrays.update({f"seeds/{k}": v for k, v in train("ratio", seed=rank + 1).items()})
    if rank:  # rank 0 needs no other seed, and the start is rank 0's
        assert arrays["seeds/linear_0.w_0"].shape == (6, 12)
    alone = lambda optimizer, loss: optimizer.minimize(loss)  # noqa: E731
    arrays.update({f"control/{k}": v for k, v in train("lamp", minimize=alone).items()})
    arrays.update({f"norm/{k}": v for k, v in statistics().items()})
    report = {
        "rank": rank,
        "world": distributed.world_size(),
        "fleet": fleet.worker_index(),
        "early": early,
        "total": distributed.total([rank + 0.25, 1e16]).tolist(),
        "number": float(distributed.total(2)),
        "shared": distributed.share({"rank": rank, "long": "x" * 300}),
        "undisturbed": disturb("", ulp),
        "weight": disturb("linear_1.w_0", ulp),
        "optimizer": disturb("linear_0.w_0_velocity_0", ulp),
        "mask": disturb("linear_2.w_0_mask", swap),
        "other": refused(other_program) if rank else other_program_on_rank_0(),
    }
    np.savez(folder / f"rank_{rank}.npz", **arrays)
    (folder / f"rank_{rank}.json").write_text(json.dumps(report))


def other_program_on_rank_0() -> str:
    """The comparison that rank 1 fails at; rank 0 learns of it when rank 1 is gone, so it stops before that."""
    from paddle_unstructured.distributed import state

    broadcast, state._broadcast = state._broadcast, lambda graph: None
    try:
        return refused(other_program)
    finally:
        state._broadcast = broadcast


if __name__ == "__main__":
    main(Path(sys.argv[1]))
