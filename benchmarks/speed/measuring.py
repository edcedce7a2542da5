# SPDX-License-Identifier: Apache-2.0
"""Engines in turn, each in a process of its own: a round is a tenth of a second of each, whose best run counts."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Sequence

import numpy as np

from .rivals import RIVALS

# Seconds of a turn, and runs. The first ones find cold caches and a core that slept, and others share the processor's
# caches now and then: the best one says what an engine can do.
TURN, LEAST = 0.1, 3
SCRIPT = Path(__file__).resolve().parents[1] / "runtime.py"


def serve(name: str, model: str, threads: str, batch: str, clock: str, inputs: str = "") -> None:
    """The worker: for every line on stdin, run for a while and print the best time and the peak memory.

    Args:
        name: an engine.
        model: its file.
        threads, batch: numbers of both.
        clock: "processor" for the processor's time, else the wall's.
        inputs: an .npz of the net's inputs in order; without it, `batch` random images of 3 x 224 x 224.
    """
    now = time.process_time if clock == "processor" else time.perf_counter
    if inputs:
        with np.load(inputs) as stored:
            arrays = [stored[each] for each in stored.files]
    else:
        arrays = [np.random.default_rng(0).normal(size=(int(batch), 3, 224, 224)).astype("float32")]
    run = RIVALS[name].open(model, int(threads))
    run(*arrays)
    print("ready", flush=True)
    for _ in sys.stdin:
        times: list[float] = []
        while len(times) < LEAST or sum(times) < TURN:
            begun = now()
            run(*arrays)
            times.append(now() - begun)
        print(json.dumps([min(times), peak_memory()]), flush=True)


def peak_memory() -> float:
    """Of this process, in MB. Not getrusage's figure, which counts the parent's memory before exec."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@dataclass
class Worker:
    """An engine's process, and what it has measured."""

    process: subprocess.Popen
    seconds: list[float] = field(default_factory=list)
    megabytes: float = 0.0

    @staticmethod
    def start(
        python: str, name: str, model: str, threads: int, batch: int, clock: str, inputs: str = ""
    ) -> Worker | None:
        words = [name, model, str(threads), str(batch), clock, *([inputs] if inputs else [])]
        process = subprocess.Popen(
            [python, str(SCRIPT), "--worker", *words],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for line in process.stdout:
            if line.strip() == "ready":
                return Worker(process)
        last = (process.stderr.read().strip().splitlines() or ["?"])[-1]
        print(f"{name} does not run here: {last}", file=sys.stderr)
        return None

    def turn(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, self.megabytes = json.loads(next(line for line in self.process.stdout if line.startswith("[")))
        self.seconds.append(seconds)

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def times_slower_than(self, other: Worker, *, best: bool = False) -> float:
        """The median over the rounds of (our time / the other's); or `best` time / best time."""
        if best:
            return min(self.seconds) / min(other.seconds)
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds))


def measure(
    prefix: str, pythons: dict[str, str], threads: int, batch: int, rounds: int, *, busy: bool = False
) -> dict[str, Worker]:
    """Time each rival that `pythons` names a Python for; those that do not run are missing from the result.

    busy: by the processor's time of each process, which others on the machine disturb less.
    """
    clock = "processor" if busy else "wall"
    started = {
        name: Worker.start(python, name, prefix + RIVALS[name].ending, threads, batch, clock)
        for name, python in pythons.items()
    }
    workers = {name: worker for name, worker in started.items() if worker is not None}
    in_turns(list(workers.values()), rounds)
    return workers


def in_turns(workers: Sequence[Worker], rounds: int) -> None:
    """Rounds in which each measures alone; then all are stopped."""
    for _ in range(rounds):
        for worker in workers:
            worker.turn()
            time.sleep(0.02)  # until threads that spin have gone to sleep
    for worker in workers:
        worker.stop()
