# SPDX-License-Identifier: Apache-2.0
"""Two threads of one run, beside one thread, and beside two runs that do not know of each other."""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from .models import prepare
from .rivals import BYTES, FLOATS, HALVES, RIVALS
from .tables import cases, processor, silence

TURN = 0.25  # seconds


def scaling(folder: Path, args: Namespace) -> None:
    """A row for each case; two runs at once say what two cores of this machine give, if nothing has to be shared."""
    from paddle_unstructured.runtime import Session

    ending = RIVALS[(BYTES if args.int8 else HALVES if args.bf16 else FLOATS)[0]].ending
    print(f"{processor()}; medians of {args.rounds} rounds\n")
    print("| model | one thread | two runs at once | two threads | of two runs |\n|---|---|---|---|---|", flush=True)
    image = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype("float32")
    for case in cases(args.cases, args.int8, args.bf16):
        with silence():
            path = prepare(case, folder) + ending
        one, other, two = Session(path), Session(path), Session(path, threads=2)
        rounds = []
        for _ in range(args.rounds):
            before, at_once, together, after = (_runs(s, image) for s in ([one], [one, other], [two], [one]))
            alone = (before + after) / 2
            rounds.append((1e3 / alone, at_once / alone, together / alone, together / at_once))
        cells = [statistics.median(column) for column in zip(*rounds)]
        print(f"| {case} | {cells[0]:.2f} ms | " + " | ".join(f"{cell:.2f} x" for cell in cells[1:]) + " |", flush=True)


def _runs(sessions: Sequence[Any], image: np.ndarray) -> float:
    """Runs in a second, of all sessions, each of which has a thread to call it."""

    def calls(session: Any) -> int:
        count, end = 0, time.perf_counter() + TURN
        while time.perf_counter() < end:
            session.run(image)
            count += 1
        return count

    begun = time.perf_counter()
    with ThreadPoolExecutor(len(sessions)) as callers:
        count = sum(callers.map(calls, sessions))
    return count / (time.perf_counter() - begun)
