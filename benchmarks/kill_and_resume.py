# SPDX-License-Identifier: Apache-2.0
"""Train with kill -9 at random moments, resume each time, and compare with a run that nobody disturbed.

    python benchmarks/kill_and_resume.py [--kills 10] [--seed 0] [--folder DIR]

Both runs prune LeNet on scikit-learn's digits with GMP. Every process starts from the last whole checkpoint; the end
must be the same to the last bit: weights, masks, momentum. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paddle

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 40
FLAGS = [
    "--data",
    "digits",
    "--batch_size",
    "64",
    "--pruning_strategy",
    "gmp",
    "--ratio",
    "0.9",
    "--num_epochs",
    str(EPOCHS),
    "--model_period",
    "1",
    "--test_period",
    "5",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="default: 10")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: 0")
    parser.add_argument("--folder", type=Path, help="where the runs go; default: a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demonstrate(args.folder or Path(folder), args.kills, random.Random(args.seed))


def demonstrate(folder: Path, kills: int, moments: random.Random) -> None:
    """Run both, print what happened, and exit with an error unless the ends are the same."""
    whole, killed = folder / "whole", folder / "killed"
    finish(start(whole))
    print("kill  in epoch  last whole checkpoint  resumed after", flush=True)
    row = ""
    for kill in range(1, kills + 1):
        running = start(killed)
        seconds = wait(running, killed, min(last(killed) + moments.randint(0, 3), EPOCHS - 3))
        time.sleep(moments.random() * seconds)
        running.kill()
        log = running.communicate()[0]
        tell(row, log)
        row = f"{kill:4d}  {reached(log, last(killed)):8d}  {last(killed):21d}"
    tell(row, finish(start(killed)))
    differing = compare(whole, killed)
    if differing:
        sys.exit(f"the two runs differ in {', '.join(differing)}")
    print(f"after {kills} kills the run ended in the same bits as the one that nobody disturbed")


def start(run: Path) -> subprocess.Popen:
    """Begin a run, or go on with it where its last checkpoint ends."""
    where = ["--checkpoint", str(run)] if last(run) >= 0 else ["--model_path", str(run)]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, str(ROOT / "demo" / "train.py"), *FLAGS, *where],
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(running: subprocess.Popen) -> str:
    log = running.communicate()[0]
    if running.returncode:
        sys.exit(log)
    return log


def tell(row: str, log: str) -> None:
    """Print what became of a killed run, with what the next one said about it."""
    if row:
        said = re.search(r"^resuming .* after epoch (.*)", log, re.M)  # near the end a run is killed as it starts
        print(row, f"{said[1] if said else 'killed first':>14s}", flush=True)


def last(run: Path) -> int:
    """The epoch of the last whole checkpoint; -1 if there is none."""
    return max((int(folder.name[6:]) for folder in run.glob("epoch_*")), default=-1)


def wait(running: subprocess.Popen, run: Path, epoch: int) -> float:
    """Wait until the checkpoint after `epoch` is there; return how long an epoch takes, in seconds."""
    began, before = time.monotonic(), last(run)
    while last(run) <= epoch:
        if running.poll() is not None:
            sys.exit(f"the run ended before it could be killed: {running.communicate()[0]}")
        if last(run) == before:
            began = time.monotonic()
        time.sleep(0.005)
    return max(time.monotonic() - began, 0.2)


def reached(log: str, kept: int) -> int:
    """The epoch in which a run was killed: one after the last that it logged."""
    return max((int(epoch) for epoch in re.findall(r"^epoch (\d+) lr", log, re.M)), default=kept) + 1


def compare(first: Path, second: Path) -> list[str]:
    """Names of what differs in the last checkpoints of two runs: weights, masks, accumulators of the optimizer."""

    def variables(run: Path) -> dict[str, bytes]:
        files = [run / f"epoch_{EPOCHS - 1}" / f"model.{ending}" for ending in ("pdparams", "pdopt")]
        return {n: v.tobytes() for file in files for n, v in paddle.load(str(file), return_numpy=True).items()}

    left, right = variables(first), variables(second)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


if __name__ == "__main__":
    main()
