# SPDX-License-Identifier: Apache-2.0
"""The table of speeds: a row for each model, thread count and batch; a column for each rival."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

from .measuring import Worker, measure
from .models import CASES, Case, prepare
from .rivals import BYTES, FLOATS, HALVES, RIVALS


def cases(wanted: str, int8: bool, bf16: bool) -> list[Case]:
    return [case for case in CASES if wanted in str(case) and (case.int8, case.bf16) == (int8, bf16)]


def prepare_all(folder: Path, wanted: str, int8: bool, bf16: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases(wanted, int8, bf16):
        with silence():
            prepare(case, folder)


def table(folder: Path, args: Namespace) -> None:
    """A row for each case, thread count and batch; all times beside the first column's."""
    columns = BYTES if args.int8 else HALVES if args.bf16 else FLOATS
    pythons = find_pythons(columns, args.others)
    names = list(pythons)
    if not args.no_header:
        how = "busy: best processor times" if args.busy else "medians"
        print(f"{processor()}; {how} of {args.rounds} rounds\n")
        print(f"| model | zeros | threads | batch | {' | '.join(names)} | files | peak memory |")
        print("|---|---|---|---|" + "---|" * len(names) + "---|---|", flush=True)
    for case in cases(args.cases, args.int8, args.bf16):
        with silence():
            prefix = prepare(case, folder)
        for threads in args.threads:
            for batch in args.batch:
                workers = measure(prefix, pythons, threads, batch, args.rounds, busy=args.busy)
                print(row(case, prefix, threads, batch, workers, names, best=args.busy), flush=True)


def find_pythons(columns: Sequence[str], others: list[str]) -> dict[str, str]:
    """Name of a rival -> the Python that has it; rivals that none has are left out."""
    found = {}
    for name in columns:
        rival = RIVALS[name]
        for python in [sys.executable, *others] if rival.module else [sys.executable]:
            if not rival.module or importable(python, rival.module):
                found[name] = python
                break
    return found


def importable(python: str, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def processor() -> str:
    """Its name and what it has of the instruction sets that decide; a name alone says little on rented machines."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    sets = [
        name
        for name in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16")
        if name in found.get("flags", "").split()
    ]
    name = f"{found.get('model name', 'unknown processor')}, model {found.get('model', '?')}"
    return f"{name} ({', '.join(sets) or 'none of the instruction sets'}), {os.cpu_count()} cores"


def row(
    case: Case,
    prefix: str,
    threads: int,
    batch: int,
    workers: dict[str, Worker],
    names: list[str],
    *,
    best: bool,
) -> str:
    """Our time, and how many times longer each of the others takes."""
    ours, middle = workers[names[0]], min if best else statistics.median
    ratios = [
        f"{workers[name].times_slower_than(ours, best=best):.2f} x" if name in workers else "-" for name in names[1:]
    ]
    before, after = (
        sum(Path(p + end).stat().st_size for end in (".json", ".pdiparams")) / 1e6
        for p in (prefix, prefix + RIVALS[names[0]].ending)
    )
    net, zeros = str(case).split(" ", 1)
    cells = [
        net,
        zeros,
        str(threads),
        str(batch),
        f"{1e3 * middle(ours.seconds):.2f} ms",
        *ratios,
        f"{before:.1f} -> {after:.1f} MB",
        f"{ours.megabytes:.0f} MB; ONNX Runtime {workers['ONNX Runtime'].megabytes:.0f} MB",
    ]
    return "| " + " | ".join(cells) + " |"


@contextmanager
def silence() -> Iterator[None]:
    """Converters talk on file descriptor 1; the table shall stand alone there."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
