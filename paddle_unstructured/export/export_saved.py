# SPDX-License-Identifier: Apache-2.0
"""A saved model in, another one out."""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from dataclasses import replace
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import paddle

from .. import checkpoint
from ..arguments import StrPath, flag, instance, one_of, path, whole
from ..formats import pdparams
from ..formats.atomic import check_readable
from ..formats.scratch import scratch
from ..inference import warn_of_onednn
from ..saved_model import KINDS, Model, drafts, open_model, prefix_of, save_model
from .export_program import finish

_log = logging.getLogger(__name__)
TARGETS = ("paddle", "int8", "onnx")


def export_model(
    model: StrPath,
    out: StrPath,
    *,
    to: str = "paddle",
    weights: StrPath | None = None,
    masks: StrPath | None = None,
    recalibrate: StrPath | None = None,
    shrink: bool = False,
    align_channels: int = 1,
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Any:
    """Write a saved inference model for where it will run.

    Args:
        model: the saved model, as for `open_model`.
        out: Prefix of the files to write, or the .onnx file.
        to: "paddle"; "int8": weights in int8, for Paddle; "onnx".
        weights: A .pdparams file, or its prefix, whose weights replace the model's.
        masks: file that `pruner.save` has written: applied, and checked in what is written.
        recalibrate: An .npz file: input name -> [batches, ...], for `recalibrate` of `export`.
        shrink, align_channels: options, as for `export`.
        inputs: arrays by name that "int8" and "onnx" are tried on; default: random ones.
        shapes: input name -> shape of random inputs, where the model leaves sizes open.

    Returns:
        What was written. Prints as a table.

    Raises:
        ValueError: A training checkpoint (which does not say what its outputs are), or files that do not fit.
    """
    to = one_of("to", to, TARGETS)
    flag("shrink", shrink)
    whole("align_channels", align_channels, least=1)
    target = path("out", out)
    opened = open_model(path("model", model))
    if not opened.fetches:
        raise ValueError(
            f"{model} is a training checkpoint, and does not say what its outputs are; give an inference "
            "model, and the checkpoint's .pdparams as `weights`."
        )
    if weights is not None:
        file = prefix_of(path("weights", weights)) + ".pdparams"
        opened.graph.set_params(pdparams.load(file), file)
    kept = {} if masks is None else checkpoint.load(path("masks", masks))["masks"]
    if kept and not kept.keys() & opened.param_names:
        raise ValueError(
            f"{masks} has masks for {', '.join(kept)}, and the model has none of these params; give the masks that "
            "were saved with it."
        )
    _warn_of_lost(opened, kept, masks)
    batches = None if recalibrate is None else read_batches(path("recalibrate", recalibrate))
    if to != "onnx":
        warn_of_onednn(opened.program, target)
    if to == "paddle":
        return finish(opened, target, kept, recalibrate=batches, shrink=shrink, align_channels=align_channels)
    with scratch() as folder:
        draft = os.path.join(folder, "model")
        finish(opened, draft, kept, recalibrate=batches, shrink=shrink, align_channels=align_channels)
        if to == "onnx":
            from .onnx import to_onnx

            made = replace(open_model(draft), files=opened.files)  # messages name the user's file, not ours
            return to_onnx(made, target, inputs=None if inputs is None else [inputs], shapes=shapes)
        from .weight_only_int8 import quantize_weights

        made = replace(open_model(draft), files=opened.files)
        small, report = quantize_weights(made, inputs=inputs, shapes=shapes)
        save_model(small, target)
        return report


def _warn_of_lost(model: Model, masks: Mapping[str, np.ndarray], file: StrPath | None) -> None:
    """Warn of masks that zero weights: what a pruner has trained is as sparse as its masks already."""
    stored = {name: model.graph.stored(name) for name in masks.keys() & model.param_names}
    lost = {
        name: int(np.count_nonzero(array[~masks[name]]))
        for name, array in stored.items()
        if array.shape == masks[name].shape
    }
    if any(lost.values()):
        _log.warning(
            "%s: the masks zero %d weights that are not zero in the model, most of them in %s; if they are of another "
            "training than the weights, or saved later, give those that were saved with them.",
            file,
            sum(lost.values()),
            max(lost, key=lambda name: lost[name]),
        )


def save_checkpoint(model: Model, out: StrPath) -> None:
    """Write a training checkpoint again, with the weights that the model has now: `out`.json, .pdparams and .pdopt."""
    instance("model", model, Model, rule="what `open_model` gave")
    with drafts(path("out", out)) as draft:
        names = [value.name for value in model.program.global_block().all_parameters()]
        paddle.save({name: model.graph.stored(name) for name in names}, draft + KINDS["checkpoint"][1])
        for ending in (".json", ".pdopt"):
            if os.path.isfile(model.files.prefix + ending):
                shutil.copyfile(model.files.prefix + ending, draft + ending)


def read_batches(file: str) -> Iterator[Mapping[str, np.ndarray]]:
    """Feeds from an .npz file: batch k of every input is its array's k-th entry.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no .npz file, or its arrays have different numbers of batches.
    """
    check_readable(file)
    try:
        arrays = np.load(file)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it holds one array")
        with arrays:
            inputs = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} must be an .npz file of arrays, an input each, as np.savez(file, x=...) writes it: {error}"
        ) from error
    counts = {name: len(array) if array.ndim else 0 for name, array in inputs.items()}
    if len(set(counts.values())) != 1 or not all(counts.values()):
        raise ValueError(
            f"{file} must hold the same number of batches for every input, and at least one, got {counts}."
        )
    return ({name: array[k] for name, array in inputs.items()} for k in range(min(counts.values())))
