# SPDX-License-Identifier: Apache-2.0
"""What of the nets that people prune the runtime takes, how exactly, and how fast.

    python benchmarks/coverage.py --small                    # small nets, not timed: minutes
    python benchmarks/coverage.py [--only YOLO] [--folder DIR]
    python benchmarks/coverage.py --time [--rounds 12]       # also beside Paddle, ONNX Runtime and OpenVINO

The nets are in architectures/: random weights, 75 % of their 1x4 blocks zero, batch norms settled, sizes open. A row
says whether a net runs whole, in parts or not at all, what share of its multiply-adds is ours, how far the outputs are
from those of Paddle's plain kernels (two samples; of classes, the share that differ), the same for int8 as a cosine,
and why it is not whole. `--time`: one thread, one sample, all engines in turn on one net; ours also with 90 % of single
weights zero in float32. Results are appended to results/coverage.jsonl unless --small.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo"), str(ROOT / "benchmarks")]
HEADER = ("net", "float32", "ours", "difference", "int8", "cosine", "why it is not whole")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small nets and inputs")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    parser.add_argument("--folder", type=Path, help="where nets are kept for the next time (default: nowhere)")
    parser.add_argument("--time", action="store_true", help="time all engines, too")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each comparison (default: 12)")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="whose time, with --time")
    parser.add_argument("--child", nargs="+", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = args.folder or Path(temporary)
        args.folder.mkdir(parents=True, exist_ok=True)
        return tell(args)


def tell(args: argparse.Namespace) -> int:
    """The table as it grows; 1 if a net failed."""
    from architectures import architectures
    from covered.finding import Finding
    from speed.tables import processor

    from paddle_unstructured.reporting.table import aligned

    names = [one.name for one in architectures() if args.only in one.name]
    found: list[Finding] = []
    timed: dict[str, dict[str, float]] = {}
    print(processor(), flush=True)
    for line in results(names, args):
        milliseconds = line.pop("milliseconds", None)
        found.append(Finding(**line))
        print("  ".join(found[-1].row()), flush=True)
        if milliseconds:
            timed[found[-1].name] = milliseconds
            print("  " + ", ".join(f"{column} {ms:.2f}" for column, ms in milliseconds.items()), flush=True)
        if not args.small:
            with open(ROOT / "benchmarks" / "results" / "coverage.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"processor": processor(), **line, "milliseconds": milliseconds}) + "\n")
    print(f"\n{aligned(HEADER, [one.row() for one in found], numbers=(2, 3, 5))}\n")
    whole = sum(one.state == "whole" for one in found)
    mostly = sum(one.covered >= 0.95 for one in found)
    print(f"{whole} of {len(found)} whole; {mostly} with at least 95 % of their multiply-adds ours")
    return int(any(one.state in ("failed", "crashed") for one in found))


def results(names: Sequence[str], args: argparse.Namespace) -> Iterator[dict]:
    """One dict for each net, from a process that is started anew if a net ends it."""
    left = list(names)
    while left:
        command = [sys.executable, __file__, "--folder", str(args.folder), "--rounds", str(args.rounds)]
        command += ["--clock", args.clock] + ["--small"] * args.small + ["--time"] * args.time + ["--child", *left]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("RESULT "):
                    left.pop(0)
                    yield json.loads(line[len("RESULT ") :])
        if left:
            yield {"name": left.pop(0), "state": "crashed", "why": f"the process ended with {process.returncode}"}


def child(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from architectures import architectures
    from covered import timing
    from covered.finding import look

    known = {one.name: one for one in architectures()}
    for name in args.child:
        found = asdict(look(known[name], args.folder, small=args.small))
        if args.time:
            prefix = timing.prepare(known[name], args.folder, small=args.small)
            columns = timing.columns(whole=found["state"] == "whole")
            found["milliseconds"] = timing.measure(prefix, columns, rounds=args.rounds, clock=args.clock)
        print("RESULT " + json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
