# SPDX-License-Identifier: Apache-2.0
"""What mask updates cost: the first one as a net gets deeper, later ones in large layers, and their memory.

    python benchmarks/updates.py [--net 25x64 50x64 100x64 200x64 400x64] [--variant Global LAMP "NM(2, 4)"]
    python benchmarks/updates.py --net 24x1020 --package OLD --package . --repeats 5
    python benchmarks/updates.py --net 1x1024 --variant "Block(2, 1)"

`--net 24x1020` is 24 linear layers of 1020x1020. Each case runs in a process of its own; several packages (directories
that hold paddle_unstructured) take turns. Seconds of the wall clock and of the processor, the latter say more on a busy
machine: least and median of all updates after the first.
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

NETS = ("25x64", "50x64", "100x64", "200x64", "400x64")
VARIANTS = ("Global", "LAMP", "NM(2, 4)", "Block(2, 1)")
RISES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
COLUMNS = ("net", "", "package", "first, s", "later, s", "median", "cpu s", "median", "memory on top, MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", default=NETS, metavar="LAYERSxWIDTH")
    parser.add_argument("--variant", nargs="+", default=VARIANTS[:3], choices=VARIANTS)
    parser.add_argument("--package", action="append", help="directory; may be given several times")
    parser.add_argument("--repeats", type=int, default=1, help="processes per case")
    parser.add_argument("--case", nargs=2, metavar=("NET", "VARIANT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(*measure(*args.case))
        return
    packages = args.package or [str(Path(__file__).resolve().parent.parent)]
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for variant in args.variant:
        for net in args.net:
            runs: dict[str, list[list[float]]] = {package: [] for package in packages}
            for _ in range(args.repeats):
                for package in packages:
                    runs[package].append(in_own_process(package, net, variant))
            for package, found in runs.items():
                print(f"| {net} | {variant} | {package} | {figures(found)} |", flush=True)


def in_own_process(package: str, net: str, variant: str) -> list[float]:
    command = [sys.executable, __file__, "--case", net, variant]
    environment = {**os.environ, "PYTHONPATH": str(Path(package).resolve())}
    return [float(word) for word in subprocess.check_output(command, env=environment, text=True).split()]


def figures(runs: list[list[float]]) -> str:
    """One row of the table: median of the first updates, least and median of the later ones, most memory."""
    wall = [second for run in runs for second in run[2 : 2 + len(RISES)]]
    cpu = [second for run in runs for second in run[2 + len(RISES) :]]
    first = statistics.median(run[0] for run in runs)
    numbers = [first, min(wall), statistics.median(wall), min(cpu), statistics.median(cpu)]
    return " | ".join([*(f"{number:.3f}" for number in numbers), f"{max(run[1] for run in runs):.0f}"])


def measure(net: str, variant: str) -> list[float]:
    """Seconds of the first update, MB that later ones take at most, and wall and processor seconds of each of those."""
    import paddle

    import paddle_unstructured as pu

    parts: dict[str, dict[str, Any]] = {
        "Global": {},
        "LAMP": {"allocation": pu.LAMP()},
        "NM(2, 4)": {"pattern": pu.NM(2, 4)},
        "Block(2, 1)": {"pattern": pu.Block(2, 1)},
    }
    layers, width = (int(number) for number in net.split("x"))
    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [None, width])
        paddle.nn.Sequential(*[paddle.nn.Linear(width, width, bias_attr=False) for _ in range(layers)])(x)
    paddle.static.Executor().run(startup)
    pruner = pu.UnstructuredPruner(program, ratio=0.1, **parts[variant])
    first, _ = seconds(pruner.step)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    wall, cpu = [], []
    for ratio in RISES:
        pruner.ratio = ratio
        took = seconds(pruner.step)
        wall.append(took[0])
        cpu.append(took[1])
    return [first, (memory("VmHWM") - before) / 1e6, *wall, *cpu]


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
