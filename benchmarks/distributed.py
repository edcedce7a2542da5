# SPDX-License-Identifier: Apache-2.0
"""What training on two ranks costs: the table of docs/distributed.md.

    python benchmarks/distributed.py [--repeats 20]

On CPU, over gloo on this machine. MobileNetV1 (width 0.5, 32x32, 32 images per rank): a training step, averaged
gradients included; then a mask update of 4.2 M weights with Momentum, which every rank computes by itself, and what of
it is the comparison of weights, masks and velocities over the ranks. Each rank has one thread. Figures are
medians of one run; ranks of one machine share its caches and memory, so read them as ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn as nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "demo"))
from models import MobileNet  # noqa: E402

from paddle_unstructured import UnstructuredPruner, distributed
from paddle_unstructured.graph import open_graph

IMAGES, WIDTH, LAYERS = 32, 592, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="training steps (default: 20)")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        distributed.init()
        paddle.enable_static()
        found = measure(args.repeats)
        if distributed.rank() == 0:
            Path(args.rank).write_text(json.dumps(found))
        return
    one, two = (measured(ranks, args.repeats) for ranks in (1, 2))
    print("| what | 1 rank | 2 ranks | ratio |\n|---|---|---|---|")
    for what, before in one.items():
        ratio = f"{two[what] / before:.2f}" if before > 1e-4 else ""  # nothing is compared with one rank
        print(f"| {what} | {1000 * before:.1f} ms | {1000 * two[what]:.1f} ms | {ratio} |")


def measured(ranks: int, repeats: int) -> dict[str, float]:
    """Seconds by name, as rank 0 of so many has measured them."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment.update(OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "paddle.distributed.launch",
                "--host",
                "127.0.0.1",
                "--nproc_per_node",
                str(ranks),
                "--log_dir",
                folder,
                __file__,
                "--repeats",
                str(repeats),
                "--rank",
                str(result),
            ],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return json.loads(result.read_text())


def measure(repeats: int) -> dict[str, float]:
    found = {f"training step, MobileNetV1 width 0.5, {IMAGES} images per rank": training_step(repeats)}
    return {**found, **mask_update()}


def training_step(repeats: int) -> float:
    random = np.random.default_rng(distributed.rank())
    feed = {
        "image": random.standard_normal((IMAGES, 3, 32, 32), "float32"),
        "label": random.integers(0, 10, (IMAGES, 1)),
    }

    def build() -> Any:
        image = paddle.static.data("image", [None, 3, 32, 32])
        label = paddle.static.data("label", [None, 1], "int64")
        logits = MobileNet(3, 10, width=0.5, strides=MobileNet.strides_for(32))(image)
        return nn.functional.cross_entropy(logits, label)

    main, loss, executor = program(build)
    return median(lambda: executor.run(main, feed=feed, fetch_list=[loss]), repeats)


def mask_update() -> dict[str, float]:
    def build() -> Any:
        layers = [nn.Linear(WIDTH, WIDTH, bias_attr=False) for _ in range(LAYERS)]
        return nn.Sequential(*layers)(paddle.static.data("x", [None, WIDTH])).mean()

    main, *_ = program(build)
    pruner = UnstructuredPruner(main, ratio=0.1)
    distributed.broadcast_state(main)
    pruner.step()
    updates = []
    for ratio in np.linspace(0.2, 0.6, 8):
        pruner.ratio = float(ratio)
        distributed.same_everywhere(main)  # the ranks begin together
        updates.append(seconds(pruner.step))
    graph = open_graph(main)
    return {
        f"mask update, {WIDTH * WIDTH * LAYERS / 1e6:.1f} M weights": statistics.median(updates),
        "the comparison over the ranks in it": median(lambda: distributed.synchronize(graph), 8),
    }


def program(build: Callable[[], Any]) -> tuple[Any, Any, Any]:
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        loss = build()
        distributed.minimize(paddle.optimizer.Momentum(0.01, 0.9, weight_decay=1e-4), loss)
    executor = paddle.static.Executor()
    executor.run(startup)
    return main, loss, executor


def median(run: Callable[[], Any], repeats: int) -> float:
    for _ in range(3):
        run()
    return statistics.median(seconds(run) for _ in range(repeats))


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
