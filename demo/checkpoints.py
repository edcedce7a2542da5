# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind, written so that a kill leaves the whole or nothing.

MODEL_PATH/epoch_7/   model.pdparams, model.pdopt, model.json   weights and optimizer, by paddle.static.save
                      masks.safetensors                         the pruner's own state
                      state.json                                epoch, step, best, history, flags
MODEL_PATH/inference/ model.json, model.pdiparams, state.json   the exported model
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Iterator

import numpy as np
import paddle

from paddle_unstructured.formats.atomic import sync

STATE, MASKS, MODEL = "state.json", "masks.safetensors", "model"


class BadCheckpoint(ValueError):
    """Saved files that do not fit; the message names what is missing and where."""


@dataclass
class State:
    """How far a run is. `epoch` is the last finished one, counted from 0."""

    settings: dict  # the flags
    epoch: int = -1
    step: int = 0
    best: dict | None = None  # {"epoch", "top1"}, among epochs at the target sparsity
    history: list[dict] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        (folder / STATE).write_text(json.dumps(asdict(self), indent=1, default=str))

    @classmethod
    def read(cls, folder: Path) -> State:
        try:
            return cls(**json.loads((folder / STATE).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise BadCheckpoint(f"{folder / STATE} must be the state that train.py writes, but {error}") from error


def replaced(folder: Path) -> Path:
    """The name that a folder has while another takes its place."""
    return folder.with_name(f".{folder.name}.old")


def standing(folder: Path) -> Path:
    """Where a folder is: under its name, or under the other one if a run was killed between the two."""
    old = replaced(folder)
    return old if old.is_dir() and not folder.exists() else folder


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to write into; it becomes `folder` only when all of it is on the disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = folder.with_name(f".{folder.name}.writing"), replaced(folder)
    if standing(folder) == old:
        old.rename(folder)
    for left in (fresh, old):  # from a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        for path in (*fresh.iterdir(), fresh):
            sync(path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # a full disk needs the space
        raise
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def check_whole(file: Path) -> None:
    """Raise OSError unless a Program was written to its end: Paddle does not notice that a disk is full."""
    if file.is_file() and not file.read_bytes().rstrip().endswith(b"}"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def save(folder: Path, program: paddle.static.Program, state: State, pruner=None) -> None:
    """Write everything that a resumed run needs.

    Raises:
        OSError: It cannot be written; the checkpoints that are there stay.
    """
    with atomic_folder(folder) as fresh:
        paddle.static.save(program, str(fresh / MODEL))
        check_whole(fresh / f"{MODEL}.json")
        if pruner is not None:
            pruner.save(str(fresh / MASKS))
        state.write(fresh)


def resume(folder: Path, program: paddle.static.Program, pruner=None) -> None:
    """Restore weights, optimizer and masks from `folder`.

    Raises:
        BadCheckpoint: a variable of `program` or the masks are not there.
    """
    if (pruner is not None) != (folder / MASKS).is_file():
        was, now = ("dense", "pruned") if pruner is not None else ("pruned", "dense")
        raise BadCheckpoint(
            f"`--checkpoint` {folder} is of a {was} run and this one is {now}; repeat its --pruning_strategy, "
            "or start a new run from its weights with --pretrained_model"
        )
    try:
        paddle.static.load(program, str(folder / MODEL))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise BadCheckpoint(f"`--checkpoint` {folder} does not fit this model: {error}") from error
    if pruner is not None:
        pruner.load(str(folder / MASKS))


def epochs(run: Path) -> dict[int, Path]:
    """Return the finished checkpoints of a run, by epoch."""
    names = {path.name for path in run.glob("epoch_*")} | {path.name[1:-4] for path in run.glob(".epoch_*.old")}
    numbers = sorted(int(name[6:]) for name in names if name[6:].isdigit())
    return {epoch: standing(run / f"epoch_{epoch}") for epoch in numbers}


def find_checkpoint(path: Path, last_epoch: int = -1) -> Path:
    """Return the checkpoint folder that `path` means: itself, or the one of `last_epoch` (-1: the latest) in a run."""
    path = standing(path)
    if (path / STATE).is_file():
        saved = State.read(path).epoch
        if last_epoch not in (-1, saved):
            raise BadCheckpoint(f"`--last_epoch` must be {saved} for {path}, got {last_epoch}")
        return path
    saved = epochs(path)
    if not saved:
        raise BadCheckpoint(f"{path} must hold the checkpoints of a run (epoch_N), but there is none")
    if last_epoch not in (-1, *saved):
        raise BadCheckpoint(f"{path} has no checkpoint of epoch {last_epoch}; it has {sorted(saved)}")
    return saved[max(saved) if last_epoch == -1 else last_epoch]


def find_weights(path: Path) -> Path:
    """Return the .pdparams file that `path` means; in a run, that of the best epoch or else the latest."""
    path = standing(path)
    for file in (path, Path(f"{path}.pdparams"), path / f"{MODEL}.pdparams"):
        if file.is_file():
            return file
    latest = find_checkpoint(path)
    best = State.read(latest).best
    return find_weights(epochs(path).get(best["epoch"], latest) if best else latest)


def load_weights(file: Path, wanted: dict[str, tuple[int, ...]], place: paddle.base.core.Place) -> None:
    """Set the variables `wanted` (name → shape) of the global scope from a .pdparams file.

    Raises:
        BadCheckpoint: a variable is missing or has another shape; then nothing is changed.
    """
    try:
        saved = {name: np.asarray(value) for name, value in paddle.load(str(file), return_numpy=True).items()}
    except Exception as error:  # whatever pickle meets in a file that is not ours
        raise BadCheckpoint(f"{file} must be a .pdparams file, but it cannot be read: {error}") from error
    fitting = "use the --data, --model and --width it was saved with"
    check(file, wanted, {name: value.shape for name, value in saved.items()}, fitting)
    scope = paddle.static.global_scope()
    for name in wanted:
        scope.var(name).get_tensor().set(saved[name], place)


def check(file: Path, wanted: dict[str, tuple[int, ...]], saved: dict[str, tuple[int, ...]], way_out: str) -> None:
    """Refuse saved variables that are not all that a model needs, in its shapes."""
    problems = [f"{name} is missing" for name in wanted if name not in saved]
    problems += [
        f"{name} is {list(saved[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in saved and tuple(saved[name]) != tuple(shape)
    ]
    if problems:
        raise BadCheckpoint(
            f"{file} must hold the {len(wanted)} variables of this model, but {len(problems)} do not fit: "
            f"{', '.join(problems)}; {way_out}"
        )
