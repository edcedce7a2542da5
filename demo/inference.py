# SPDX-License-Identifier: Apache-2.0
"""Inference models on disk: what train.py leaves at its end."""

from __future__ import annotations

from pathlib import Path

import paddle
from checkpoints import MODEL, State, atomic_folder, standing
from programs import Trained

from paddle_unstructured import export as library

BEFORE_NMS = "before_nms"  # beside the folder of a detector's inference model


def export(folder: Path, net: Trained, exe: paddle.static.Executor, state: State, pruner=None) -> None:
    """Write image → answers as an inference model, also when the last sparsity has not been reached.

    Beside a detector's model a folder `before_nms` gets one that ends there, with ops that every engine has.
    """
    several = {folder: net.answers, **({folder.with_name(BEFORE_NMS): net.found} if net.found else {})}
    for where, values in several.items():
        with atomic_folder(where) as fresh:
            path = str(fresh / MODEL)
            if net.quantized:  # in float32 again, and the ranges beside it
                net.quantized.export(net.image, list(values), path, pruner, exe, unfinished=True)
            else:
                library.export(net.test, net.image, list(values), path, pruner, exe, unfinished=True)
            state.write(fresh)


def load_inference(path: Path, place: paddle.base.core.Place) -> library.Model | None:
    """Load the inference model that `path` means, into a scope of its own; None if it means something else."""
    try:
        path = standing(path)
        files = library.find_model(str(path))
    except FileNotFoundError:
        return None
    return library.open_model(str(path), place) if files.kind != "checkpoint" else None
