# SPDX-License-Identifier: Apache-2.0
"""This library beside PaddleSlim 2.6.0, on this machine: the tables of docs/benchmarks.md, "Beside PaddleSlim".

    python benchmarks/versus_paddleslim.py [--quick]     # about 13 minutes; --quick: small nets, about 3

PaddleSlim gets an environment of its own (made once, in a cache folder) with the same Paddle, and legacy Programs, the
only ones it works on. Both sides run in processes of their own, in turn, one thread each; costs of an iteration are
medians of paired ratios to the same training without a pruner on the same side. Every figure is one line of
benchmarks/results/versus_paddleslim.jsonl, with the commit.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm
from versus.environment import ROOT, python_of, variables
from versus.pool import commit
from versus.steps import PERIOD

SIDES = ("slim", "ours")
PARTS = ("works", "exactness", "iterations", "updates")
SIZES = {"0.36 M": (300, 4), "4.2 M": (592, 12), "25 M": (1020, 24), "100 M": (2040, 24)}  # width, square layers


class Bench:
    """Starts workers on either side, and keeps what they say.

    Args:
        threads: Of each worker.
        path: The file that gets the lines.
    """

    def __init__(self, threads: int, path: Path) -> None:
        self.paddle, self.path, self.commit = importlib.metadata.version("paddlepaddle"), path, commit()
        self.env = {side: variables(side, threads) for side in SIDES}
        self.python = {side: python_of(side, self.paddle) for side in SIDES}
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, **line) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({**line, "paddle": self.paddle, "commit": self.commit}) + "\n")

    def run(self, side: str, module: str, *words, **env: str) -> subprocess.CompletedProcess:
        command = [self.python[side], "-m", f"versus.{module}", *map(str, words)]
        return subprocess.run(command, env={**self.env[side], **env}, capture_output=True, text=True)

    def json(self, side: str, module: str, *words) -> dict:
        """The last line that a worker prints, or what went wrong."""
        done = self.run(side, module, *words)
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    # -- what works where

    def works(self, quick: bool) -> None:
        table = [("", "PIR Programs (Paddle 3's default)", "legacy Programs (FLAGS_enable_pir_api=0)")]
        for side, name in zip(SIDES, ("PaddleSlim 2.6.0", "this library")):
            found = {}
            for flag in ("1", "0"):
                done = self.run(side, "works", side, FLAGS_enable_pir_api=flag)
                lines = (done.stdout if not done.returncode else done.stderr).strip().splitlines()
                found[flag] = lines[-1][:120] if lines else f"ended with {done.returncode}"
            self.keep(part="works", side=side, pir=found["1"], legacy=found["0"])
            table.append((name, found["1"], found["0"]))
        show(f"What works on Paddle {self.paddle}", table)

    # -- exactness

    def exactness(self, quick: bool) -> None:
        answers = {side: self.json(side, "exactness", side) for side in SIDES}
        table = [("question", "PaddleSlim 2.6.0", "this library")]
        for question in answers["ours"]:
            row = {side: answers[side].get(question, answers[side].get("error", "")) for side in SIDES}
            self.keep(part="exactness", question=question, **row)
            table.append((question, row["slim"], row["ours"]))
        show("Exactness", table)

    # -- cost of an iteration

    def iterations(self, quick: bool) -> None:
        nets = {"MobileNetV1 width 0.25": 8} if quick else {"MobileNetV1": 16, "ResNet-50": 16}
        table = [("cost of a training iteration, dense = 1", "PaddleSlim 2.6.0", "this library")]
        for net, batch in nets.items():
            found = self._iterations(net, batch, pairs=4 if quick else 10)
            for what in ("ratio mode", f"GMP, an update every {PERIOD} iterations", "GMP, an iteration with an update"):
                row = {side: found[side][what] for side in SIDES}
                self.keep(part="iterations", net=net, batch=batch, what=what, **row)
                table.append((f"{net}, batch {batch}, {what}", *(f"{row[side]:.3f}" for side in SIDES)))
            dense = {side: found[side]["dense"] for side in SIDES}
            self.keep(part="iterations", net=net, batch=batch, what="dense, seconds", **dense)
            table.append((f"{net}, batch {batch}, dense, seconds", *(f"{dense[side]:.2f}" for side in SIDES)))
        show("Cost of an iteration", table)

    def _iterations(self, net: str, batch: int, pairs: int) -> dict:
        workers = {side: self._start(side, net, batch) for side in SIDES}
        times = {side: {"dense": [], "ratio": [], "gmp": [], "gmp_update": []} for side in SIDES}
        try:
            for i in tqdm(range(pairs), desc=net, disable=None, leave=False):
                for side in SIDES[:: 1 if i % 2 else -1]:
                    for other in ("ratio", "gmp", "gmp_update"):
                        pair = ("dense", other)[:: 1 if i % 2 else -1]
                        pair_times = {word: ask(workers[side], word) for word in pair}
                        times[side]["dense"].append(pair_times["dense"])
                        times[side][other].append(pair_times[other] / pair_times["dense"])
        finally:
            for worker in workers.values():
                worker.stdin.close()
                worker.wait()
        return {side: summary(of) for side, of in times.items()}

    def _start(self, side: str, net: str, batch: int) -> subprocess.Popen:
        worker = subprocess.Popen(
            [self.python[side], "-m", "versus.steps", side, net, str(batch)],
            env=self.env[side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while worker.stdout.readline().strip() != "ready":  # the others wait; nothing runs at the same time
            if worker.poll() is not None:
                raise RuntimeError(f"the worker of {side} ended with {worker.returncode} before it was ready")
        return worker

    # -- one update

    def updates(self, quick: bool) -> None:
        table = [("one mask update", "PaddleSlim 2.6.0", "this library", "ratio", "memory on top, PaddleSlim", "ours")]
        for size, (m, n), rounds in updates_plan(quick):
            width, layers = SIZES[size]
            found = {side: [] for side in SIDES}
            for i in tqdm(range(rounds), desc=f"{size} [{m},{n}]", disable=None, leave=False):
                for side in SIDES[:: 1 if i % 2 else -1]:
                    times = 1 if side == "slim" and (m, n) != (1, 1) else 3  # its Python loops take minutes
                    found[side].append(self.json(side, "updates", side, width, layers, m, n, times))
            faults = {side: next((run["error"] for run in runs if "error" in run), "") for side, runs in found.items()}
            if any(faults.values()):
                self.keep(part="updates", size=size, block=[m, n], errors=faults)
                table.append((f"{size}, [{m},{n}]", *(faults[side] or "ran" for side in SIDES), "", "", ""))
                continue
            took = {side: statistics.median(run["seconds"] for run in runs) for side, runs in found.items()}
            memory = {side: statistics.median(run["memory"] for run in runs) for side, runs in found.items()}
            ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(found["slim"], found["ours"]))
            self.keep(part="updates", size=size, block=[m, n], seconds=took, memory=memory, ratio=ratio)
            table.append(
                (
                    f"{size} weights, [{m},{n}]",
                    *(f"{took[side]:.2f} s" for side in SIDES),
                    f"{ratio:.0f}x",
                    *(f"{memory[side]:.1f} x the weights" for side in SIDES),
                )
            )
        show("One mask update, and its peak memory", table)


def updates_plan(quick: bool) -> list[tuple]:
    """(size, block, rounds)"""
    if quick:
        return [("0.36 M", (1, 1), 2), ("0.36 M", (2, 1), 1)]
    return [("4.2 M", (1, 1), 5), ("25 M", (1, 1), 3), ("100 M", (1, 1), 2), ("4.2 M", (2, 1), 1)]


def ask(worker: subprocess.Popen, word: str) -> float:
    worker.stdin.write(word + "\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def summary(times: dict) -> dict:
    idle, update = statistics.median(times["gmp"]), statistics.median(times["gmp_update"])
    return {
        "ratio mode": statistics.median(times["ratio"]),
        "GMP, an iteration with an update": update,
        f"GMP, an update every {PERIOD} iterations": ((PERIOD - 1) * idle + update) / PERIOD,
        "dense": statistics.median(times["dense"]),
    }


def show(title: str, table: list[tuple]) -> None:
    print(f"\n### {title}\n")
    for i, fields in enumerate(table):
        print("| " + " | ".join(str(field).replace("|", "/") for field in fields) + " |")
        if i == 0:
            print("|" + " --- |" * len(fields))
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small nets and sizes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which tables (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="of each worker (default: 1)")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/versus_paddleslim[_quick].jsonl")
    args = parser.parse_args(argv)
    default = ROOT / "benchmarks" / "results" / f"versus_paddleslim{'_quick' if args.quick else ''}.jsonl"
    bench = Bench(args.threads, args.results or default)
    for part in args.parts:
        getattr(bench, part)(args.quick)


if __name__ == "__main__":
    main()
