# SPDX-License-Identifier: Apache-2.0
"""Runs cells in processes of their own, some at a time, and writes each result as soon as it is there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Sequence

from tqdm import tqdm

from .cells import Cell
from .environment import ROOT, python_of, variables
from .plan import cost
from .worker import weights_file


@dataclass
class Results:
    """The lines of a file, one per cell."""

    path: Path
    lines: list = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.is_file():
            text = self.path.read_text()
            whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if whole != text.splitlines(keepends=True):  # a killed run may leave half a line
                fresh = self.path.with_name(f".{self.path.name}.fresh")
                fresh.write_text("".join(whole))
                fresh.replace(self.path)
            self.lines = [json.loads(line) for line in whole]

    def find(self, cell: Cell) -> dict | None:
        wanted = cell.identity
        return next((line for line in reversed(self.lines) if all(line.get(k) == v for k, v in wanted.items())), None)

    def add(self, line: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)


class Pool:
    """Works through cells, a dense net before those that start from it.

    Args:
        results: Where lines go; cells that have one are not run again.
        folder: Where the weights of dense nets are.
        dirs: Data set -> folder with its files.
        jobs: Processes at a time, of one thread each.
        paddle: Version of Paddle, for PaddleSlim's environment.
    """

    def __init__(self, results: Results, *, folder: Path, dirs: dict, jobs: int, paddle: str) -> None:
        self.results, self.folder, self.dirs, self.jobs, self.paddle = results, folder, dirs, jobs, paddle
        self.commit, self.failures = commit(), []
        self._lock, self._running, self._stopped = threading.Lock(), {}, False

    def run(self, cells: Sequence[Cell]) -> None:
        self._left = [cell for cell in cells if not self._done(cell)]
        self._interpreters = {side: python_of(side, self.paddle) for side in {cell.side for cell in self._left}}
        with tqdm(
            total=round(sum(map(cost, self._left))),
            unit="s",
            disable=None,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}",
        ) as self._bar:
            threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.jobs)]
            try:
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    time.sleep(0.2)
            finally:
                self._stopped = True
                for process in list(self._running.values()):
                    process.kill()

    def _done(self, cell: Cell) -> bool:
        found = self.results.find(cell) is not None
        return found and (cell.method != "dense" or weights_file(self.folder, cell).is_file())

    def _work(self) -> None:
        while not self._stopped:
            with self._lock:
                cell = next((c for c in self._left if self._ready(c)), None)
                if cell is None and not (self._left and self._running):
                    return
                if cell is not None:
                    self._left.remove(cell)
                    self._running[cell] = self._start(cell)
            if cell is None:
                time.sleep(0.5)
                continue
            self._follow(cell, self._running[cell])

    def _ready(self, cell: Cell) -> bool:
        return cell.start is None or weights_file(self.folder, cell.start).is_file()

    def _start(self, cell: Cell) -> subprocess.Popen:
        job = {"cell": cell.key, "folder": str(self.folder), "data_dir": self.dirs.get(cell.setting.data)}
        return subprocess.Popen(
            [self._interpreters[cell.side], "-m", "versus.worker", json.dumps(job)],
            text=True,
            env=variables(cell.side),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _follow(self, cell: Cell, process: subprocess.Popen) -> None:
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
        reader.start()
        result, seen = None, 0.0
        for line in process.stdout:
            event = json.loads(line)
            result = event.get("result", result)
            part = 1.0 if result else event["steps"] / event["of"]
            with self._lock:
                self._bar.update(cost(cell) * (part - seen))
                self._bar.set_postfix_str(
                    f"{cell.method} {cell.sparsity:g} {cell.pattern} seed {cell.seed}, {len(self._left)} left",
                    refresh=False,
                )
            seen = part
        process.wait()
        reader.join()
        with self._lock:
            del self._running[cell]
            if result is not None:
                self.results.add({**cell.key, **result, "commit": self.commit})
                self._say(cell, result)
            elif not self._stopped:
                self.failures.append((cell, "".join(errors)[-2000:]))

    def _say(self, cell: Cell, result: dict) -> None:
        if self._bar.disable:  # no terminal: a line per cell instead of a bar
            done = f"{cell.setting.name}, {cell.method} {cell.sparsity:g} {cell.pattern} seed {cell.seed}"
            print(
                f"{done}: {100 * result['accuracy']:.2f} % in {result['seconds']:.0f} s; {len(self._left)} left and "
                f"{len(self._running)} running",
                file=sys.stderr,
                flush=True,
            )


def commit() -> str:
    """The commit of the working tree, with a + if the library differs from it."""

    def git(*words: str) -> Any:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)

    found = git("rev-parse", "--short", "HEAD")
    if found.returncode:
        return "unknown"
    changed = git("status", "--porcelain", "paddle_unstructured", "benchmarks/versus", "demo").stdout.strip()
    return found.stdout.strip() + ("+" if changed else "")
