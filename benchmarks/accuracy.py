# SPDX-License-Identifier: Apache-2.0
"""Accuracy at a fixed budget, beside PaddleSlim 2.6.0: the tables of docs/benchmarks.md, "Accuracy".

    python benchmarks/accuracy.py            # everything, about three hours on two cores; goes on where it was stopped
    python benchmarks/accuracy.py --quick    # a small version on scikit-learn's digits, under five minutes
    python benchmarks/accuracy.py --blocks   # how wide blocks for int8 may be, about an hour for each seed
    python benchmarks/accuracy.py --table    # the tables of what has been run; with --blocks that one

A dense net is trained once per seed; every other run starts from its weights and has the same epochs, data order,
optimizer and learning rates. PaddleSlim runs in an environment of its own, on legacy Programs of the same Paddle.
Each run is a process of one thread and one line of benchmarks/results/accuracy.jsonl.

What is left out for time: 75 %, one-shot and PaddleSlim's ratio mode have two seeds, 2x1 at 75 % and 2:4 one; the
teacher is tried with one, at 98 % (LeNet) and 95 % (MobileNet), and ratio mode of PaddleSlim not in blocks, which it
searches in Python loops at every step. MobileNetV1 has 95 % only, on the first 15,000 images, which it sees as 14x14
from its stem on; MNIST has 98 % and four columns; blocks of outputs and 2:4 are tried on LeNet only. Sparse
int8 is tried on the same MobileNetV1, in blocks of four inputs and with six epochs: its cells need the kernels of
`paddle_unstructured.runtime`, so a C++ compiler.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import signal
import sys
from pathlib import Path

from versus.bars import bars
from versus.environment import CACHE, ROOT
from versus.plan import (
    BLOCK_ROWS,
    EXTRAS,
    INT8_ROWS,
    MNIST,
    QUICK_INT8_ROWS,
    QUICK_ROWS,
    ROWS,
    by_sparsity,
    cells,
    distinct,
)
from versus.pool import Pool, Results
from versus.tables import block_tables, int8_tables, tables


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers end too
    if args.blocks:
        rows, int8_rows = BLOCK_ROWS, {}
    elif args.quick:
        rows, int8_rows = QUICK_ROWS, QUICK_INT8_ROWS
    else:
        rows = {setting: own for setting, own in ROWS.items() if setting != MNIST or args.mnist_dir}
        int8_rows = INT8_ROWS
    results = Results(args.results)
    planned = distinct([*cells(rows, args.seeds), *cells(int8_rows, args.seeds)])
    if args.blocks:
        planned = by_sparsity(planned)
    chosen = [cell for cell in planned if cell.method in ("dense", *args.methods)]
    failures = []
    if not args.table:
        dirs = {"fashion_mnist": args.data_dir, "mnist": args.mnist_dir}
        pool = Pool(
            results, folder=args.weights, dirs=dirs, jobs=args.jobs, paddle=importlib.metadata.version("paddlepaddle")
        )
        pool.run(chosen)
        failures = pool.failures
    if args.blocks:
        print(block_tables(BLOCK_ROWS, results.lines))
    else:
        rows = QUICK_ROWS if args.quick else ROWS
        print("\n\n".join(filter(None, [tables(rows, results.lines), int8_tables(int8_rows, results.lines)])))
        if not args.quick:
            print("\n" + bars(rows, results.lines))
    for cell, error in failures:
        print(f"\nfailed: {cell}\n{error}", file=sys.stderr)
    sys.exit(bool(failures))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small version")
    parser.add_argument("--blocks", action="store_true", help="blocks of outputs x 4 inputs instead")
    parser.add_argument("--table", action="store_true", help="run nothing, print what there is")
    parser.add_argument("--seeds", type=int, help="at most so many; default: 3, 1 with --quick")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, one thread each (default: 2)")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=EXTRAS,
        default=EXTRAS,
        help="columns to run (default: all); without slim-ratio and slim-gmp, PaddleSlim is not needed",
    )
    parser.add_argument("--data_dir", help="folder of Fashion-MNIST; default: where Debian's package puts it")
    parser.add_argument("--mnist_dir", help="folder of MNIST's idx files; without it MNIST is left out")
    parser.add_argument(
        "--results",
        type=Path,
        help="default: accuracy.jsonl, accuracy_quick.jsonl or blocks.jsonl in benchmarks/results",
    )
    parser.add_argument("--weights", type=Path, default=CACHE / "accuracy", help="folder for the dense nets' weights")
    args = parser.parse_args(argv)
    if args.blocks and args.quick:
        parser.error("--blocks and --quick exclude each other")
    args.seeds = args.seeds or (1 if args.quick else 3)
    name = "accuracy_quick" if args.quick else "blocks" if args.blocks else "accuracy"
    args.results = args.results or ROOT / "benchmarks" / "results" / f"{name}.jsonl"
    return args


if __name__ == "__main__":
    main()
