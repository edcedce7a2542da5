"""What mask updates cost as a net gets deeper: the first one, later ones, and their memory.

    python benchmarks/updates.py [--layers 25 50 100 200 400] [--package DIRECTORY]

Linear layers of 64x64, each case in a process of its own. Seconds of the wall clock and of the processor: the latter
say more on a busy machine. `--package` measures another copy of paddle_unstructured.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LAYERS = (25, 50, 100, 200, 400)
VARIANTS = ("Global", "LAMP", "NM(2, 4)")
WIDTH = 64
RISES = (0.2, 0.3, 0.4, 0.45, 0.5)
COLUMNS = ("layers", "", "first, s", "first, cpu s", "later, s", "later, cpu s", "memory on top, MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=int, default=LAYERS)
    parser.add_argument("--package", default=str(Path(__file__).resolve().parent.parent))
    parser.add_argument("--case", nargs=2, metavar=("LAYERS", "VARIANT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(*measure(int(args.case[0]), args.case[1]))
        return
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for variant in VARIANTS:
        for layers in args.layers:
            figures = in_own_process(args.package, layers, variant)
            print(f"| {layers} | {variant} | {' | '.join(f'{figure:.3f}' for figure in figures)} |", flush=True)


def in_own_process(package: str, layers: int, variant: str) -> list[float]:
    command = [sys.executable, __file__, "--case", str(layers), variant]
    environment = {**os.environ, "PYTHONPATH": package}
    return [float(word) for word in subprocess.check_output(command, env=environment, text=True).split()]


def measure(layers: int, variant: str) -> list[float]:
    """Wall and processor seconds of the first update and the median of later ones; MB that those take at most."""
    import paddle

    import paddle_unstructured as pu

    parts: dict[str, dict[str, Any]] = {
        "Global": {},
        "LAMP": {"allocation": pu.LAMP()},
        "NM(2, 4)": {"pattern": pu.NM(2, 4)},
    }
    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [None, WIDTH])
        paddle.nn.Sequential(*[paddle.nn.Linear(WIDTH, WIDTH, bias_attr=False) for _ in range(layers)])(x)
    paddle.static.Executor().run(startup)
    pruner = pu.UnstructuredPruner(program, ratio=0.1, **parts[variant])
    first = seconds(pruner.step)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    later = []
    for ratio in RISES:
        pruner.ratio = ratio
        later.append(seconds(pruner.step))
    took = [statistics.median(clock) for clock in zip(*later)]
    return [*first, *took, (memory("VmHWM") - before) / 1e6]


def seconds(run: Any) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def memory(which: str) -> int:
    """Bytes of this process now (VmRSS) or at most (VmHWM); Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
