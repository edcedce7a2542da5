# SPDX-License-Identifier: Apache-2.0
"""What pruning costs during training: the table of docs/benchmarks.md, "What pruning costs".

    python benchmarks/overhead.py [--repeats 12]
    python benchmarks/overhead.py --dygraph    # an nn.Layer: the step, step() when nothing is due, an update of 25 M

MobileNetV1 (width 1.0, 32x32, batch 64) on this machine's CPU: a training step with masks beside one without, in turn;
`step()` when nothing is due; one mask update at several sizes, each in a process of its own for its peak memory.
Figures are medians of one run; read them as ratios.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import time
import timeit
from pathlib import Path

import numpy as np
import paddle
import paddle.nn as nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))
from models import MobileNet  # noqa: E402

from paddle_unstructured import ERK, LAMP, NM, Block, Filter, Global, Uniform, UnstructuredPruner

RISES = (0.2, 0.3, 0.4, 0.45, 0.5)
LAYERS = {  # million weights -> width of square linear layers, and how many
    "4.2": (592, 12),
    "25": (1020, 24),
    "100": (2040, 24),
}
VARIANTS = {
    "Element, Global": {},
    "Element, Global(floor=0)": {"allocation": Global(floor=0.0)},
    "Element, LAMP": {"allocation": LAMP()},
    "Element, Uniform": {"allocation": Uniform()},
    "Element, ERK": {"allocation": ERK()},
    "Block(2, 1), Global": {"pattern": Block(2, 1)},
    "Block(2, 4), Global": {"pattern": Block(2, 4)},
    "NM(2, 4), Global": {"pattern": NM(2, 4)},
    "Filter, Global": {"pattern": Filter()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12, help="pairs of training steps (default: 12)")
    parser.add_argument("--dygraph", action="store_true", help="measure an nn.Layer and its watched optimizer")
    parser.add_argument("--update", nargs=2, metavar=("MILLIONS", "VARIANT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.dygraph:
        print("| what, of an nn.Layer | measured |\n|---|---|")
        for what, figure in mask_share() + layer_step(args.repeats) + layer_update():
            print(f"| {what} | {figure} |", flush=True)
        return
    paddle.enable_static()
    if args.update:
        print(*measure_update(*args.update))
        return
    print("| what | measured |\n|---|---|")
    for what, figure in training_step(args.repeats):
        print(f"| {what} | {figure} |", flush=True)
    for size in LAYERS:
        base = None
        for variant in VARIANTS if size == "25" else ["Element, Global"]:
            took, millions, memory = update_in_own_process(size, variant)
            base = base or took
            print(
                f"| one mask update, {millions:.1f} M weights, {variant} "
                f"| {took:.2f} s = {took / base:.1f} x the first, {1000 * took / millions:.0f} ms per million; "
                f"{memory:.1f} x the weights' memory on top |",
                flush=True,
            )
    print(f"| one mask update, Block(2, 1) on one 1024x1024 1x1 convolution | {1000 * block_update():.1f} ms |")


def training_step(repeats: int) -> list[tuple[str, str]]:
    dense, pruned = trainer(), trainer()
    pruner = UnstructuredPruner(pruned.program, mode="ratio", ratio=0.75, scope=pruned.scope)
    return compared(dense, pruned, pruner, repeats)


def layer_step(repeats: int) -> list[tuple[str, str]]:
    dense, pruned = layer_trainer(), layer_trainer()
    pruner = UnstructuredPruner(pruned.model, ratio=0.75, optimizer=pruned.optimizer)
    return compared(dense, pruned, pruner, repeats)


def mask_share() -> list[tuple[str, str]]:
    """What is done after a watched step, beside the whole step, in processor time, in which others do not show."""
    run = layer_trainer()
    run()
    step = statistics.median(processor_seconds(run) for _ in range(3))
    UnstructuredPruner(run.model, ratio=0.75, optimizer=run.optimizer).step()

    def masks() -> None:
        for after in run.optimizer.step.after:
            after(run.optimizer)

    took = statistics.median(processor_seconds(masks) for _ in range(20))
    return [("masks after `optimizer.step()`, share of the training step's processor time", f"{took / step:.4f}")]


def layer_update() -> list[tuple[str, str]]:
    """One update of 25 M weights, beside that of a static Program in a process of its own."""
    width, layers = LAYERS["25"]
    model = nn.Sequential(*[nn.Linear(width, width, bias_attr=False) for _ in range(layers)])
    took = statistics.median(rises(UnstructuredPruner(model, ratio=0.1)))
    static = update_in_own_process("25", "Element, Global")[0]
    return [("one mask update, 25 M weights", f"{took:.2f} s = {took / static:.2f} x a static Program's")]


def compared(dense, pruned, pruner: UnstructuredPruner, repeats: int) -> list[tuple[str, str]]:
    """Training steps in turn, and the pruner's step when nothing is due."""
    for run in (dense, pruned):
        run()
    pruner.step()
    ratios = []
    for i in range(repeats):
        pair = {run: seconds(run) for run in ((dense, pruned) if i % 2 else (pruned, dense))}
        ratios.append(pair[pruned] / pair[dense])
    idle = min(timeit.repeat(pruner.step, number=1000, repeat=5)) / 1000
    return [
        (
            "training step with masks / without, MobileNetV1 width 1.0, batch 64",
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        ),
        ("`step()` when nothing is due", f"{1e6 * idle:.1f} us"),
    ]


def trainer():
    """A function that runs one training step, with its program and scope as attributes."""
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        image = paddle.static.data("image", [None, 3, 32, 32])
        label = paddle.static.data("label", [None, 1], "int64")
        logits = MobileNet(3, 10, strides=MobileNet.strides_for(32))(image)
        loss = nn.functional.cross_entropy(logits, label)
        paddle.optimizer.Momentum(0.01, 0.9, weight_decay=1e-4).minimize(loss)
    executor = paddle.static.Executor()
    executor.run(startup, scope=scope)
    random = np.random.default_rng(0)
    feed = {"image": random.standard_normal((64, 3, 32, 32), "float32"), "label": random.integers(0, 10, (64, 1))}

    def run() -> None:
        executor.run(main, feed=feed, fetch_list=[loss], scope=scope)

    run.program, run.scope = main, scope
    return run


def layer_trainer():
    """A function that runs one training step of an nn.Layer, with its model and optimizer as attributes."""
    model = MobileNet(3, 10, strides=MobileNet.strides_for(32))
    optimizer = paddle.optimizer.Momentum(0.01, 0.9, parameters=model.parameters(), weight_decay=1e-4)
    random = np.random.default_rng(0)
    image = paddle.to_tensor(random.standard_normal((64, 3, 32, 32), "float32"))
    label = paddle.to_tensor(random.integers(0, 10, (64, 1)))

    def run() -> None:
        nn.functional.cross_entropy(model(image), label).backward()
        optimizer.step()
        optimizer.clear_grad()

    run.model, run.optimizer = model, optimizer
    return run


def update_in_own_process(size: str, variant: str) -> tuple[float, ...]:
    output = subprocess.run(
        [sys.executable, __file__, "--update", size, variant], capture_output=True, text=True, check=True
    ).stdout
    return tuple(map(float, output.split()))


def measure_update(size: str, variant: str) -> tuple[float, float, float]:
    """Median seconds of an update; million weights; the memory it takes on top, over that of the weights."""
    width, layers = LAYERS[size]
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [None, width])
        nn.Sequential(*[nn.Linear(width, width, bias_attr=False) for _ in range(layers)])(x)
    paddle.static.Executor().run(startup)
    pruner = UnstructuredPruner(main, ratio=0.1, **VARIANTS[variant])
    pruner.step()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    times = rises(pruner)
    weights = width * width * layers
    return statistics.median(times), weights / 1e6, (memory("VmHWM") - before) / (4 * weights)


def memory(which: str) -> int:
    """Bytes of this process now (VmRSS) or at most (VmHWM); Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return 1024 * int(line.split()[1])


def block_update() -> float:
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup):
        nn.Conv2D(1024, 1024, 1, bias_attr=False)(paddle.static.data("x", [1, 1024, 4, 4]))
    paddle.static.Executor().run(startup, scope=scope)
    return statistics.median(rises(UnstructuredPruner(main, mode="ratio", ratio=0.1, sparse_block=[2, 1], scope=scope)))


def rises(pruner: UnstructuredPruner) -> list[float]:
    """Seconds of each update while the sparsity rises; the first one, which builds the Program, is not counted."""
    pruner.step()
    times = []
    for ratio in RISES:
        pruner.ratio = ratio
        times.append(seconds(pruner.step))
    return times


def processor_seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
