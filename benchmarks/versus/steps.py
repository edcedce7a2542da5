# SPDX-License-Identifier: Apache-2.0
"""A worker that trains when it is told to: the cost of an iteration with and without a pruner.

python -m versus.steps SIDE NET BATCH      then one word per line: dense, ratio, gmp, gmp_update; answers in seconds
"""

from __future__ import annotations

import contextlib
import io
import sys
import time

PERIOD = 100  # iterations between GMP's updates


def main() -> None:
    side, net, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()):
        timed = trainers(side, net, batch)
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            print(timed[line.strip()](), file=answers, flush=True)


def trainers(side: str, net: str, batch: int) -> dict:
    import paddle

    from versus.nets import NETS, Trainer, pruners

    paddle.enable_static()
    layers, size = NETS[net]
    base, gmp = pruners(side)
    classes = 10 if "0.25" in net else 1000
    configs = {
        "stable_iterations": 0,
        "pruning_iterations": 40 * PERIOD,
        "tunning_iterations": 0,
        "resume_iteration": 0,
        "pruning_steps": 40,
        "initial_ratio": 0.15,
    }

    def trainer(pruner=None):
        made = Trainer(layers, (3, size, size), classes, pruner=pruner, after=side == "ours").batch(batch)
        made.run()
        made.run()
        return made

    dense, ratio = trainer(), trainer(lambda program: base(program, mode="ratio", ratio=0.75))
    gradual = trainer(lambda program: gmp(program, ratio=0.75, configs=configs))
    updates = [0]

    def update() -> float:
        updates[0] += 1
        setattr(gradual.pruner, "cur_iteration" if side == "slim" else "steps", updates[0] * PERIOD)
        return seconds(gradual.run)

    update()
    return {
        "dense": lambda: seconds(dense.run),
        "ratio": lambda: seconds(ratio.run),
        "gmp": lambda: seconds(gradual.run),
        "gmp_update": update,
    }


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
