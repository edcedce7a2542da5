# SPDX-License-Identifier: Apache-2.0
"""A pruner's state in one file: masks as bits, and how far it has come. safetensors, so reading runs no code."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy

from . import arguments
from .arguments import StrPath
from .formats.atomic import replace_file
from .formats.checked import damaged, read_header
from .graph.base import Param

FORMAT, VERSION = "paddle_unstructured.pruner", 2
_ADVICE = "use an older checkpoint"
_EXTRA, _LACKING = "not pruned here", "not there"  # masks without a param, params without a mask
_GATHERED = "gathered:"  # begins the names of tensors that are no masks


def save(path: StrPath, state: Mapping[str, Any], about: Mapping[str, str]) -> None:
    """Write a state atomically: `path` holds the old file or the new one, never a part of it.

    Args:
        path: The file.
        state: what `UnstructuredPruner.state_dict()` gave.
        about: entries that whoever opens the file finds in its header.
    """
    file = arguments.path("path", path)
    masks, gathered = state["masks"], state["gathered"]
    tensors = {name: np.packbits(mask.reshape(-1), bitorder="little") for name, mask in masks.items()}
    tensors.update((_GATHERED + name, array) for one in gathered for name, array in one.get("sums", {}).items())
    header = {
        **about,
        "format": FORMAT,
        "version": str(VERSION),
        "progress": json.dumps({key: value for key, value in state.items() if key not in ("masks", "gathered")}),
        "shapes": json.dumps({name: list(mask.shape) for name, mask in masks.items()}),
        "sparsity": json.dumps({name: float((~mask).mean()) for name, mask in masks.items()}),
        "gathered": json.dumps([{**one, "sums": list(one["sums"])} if one else {} for one in gathered]),
    }
    header["sha256"] = _digest(tensors, header)
    replace_file(file, safetensors.numpy.save(tensors, metadata=header))


def load(path: StrPath) -> dict[str, Any]:
    """Read a state.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a state, damaged, or written by a newer version.
    """
    path = arguments.path("path", path)
    header = read_header(
        path, what="the state of a pruner", writer="pruner.save", format=FORMAT, version=VERSION, advice=_ADVICE
    )
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if header.pop("sha256", None) != _digest(tensors, header):
        raise damaged(path, _ADVICE)
    try:
        return _state(header, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not the whole state of a pruner ({error!r}); use an older checkpoint.") from error


def _state(header: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A state from the parts of a file; KeyError, TypeError or ValueError where they do not fit together."""
    masks = {name: _unpacked(tensors[name], shape) for name, shape in json.loads(header["shapes"]).items()}
    gathered = [
        {**one, "sums": {name: tensors[_GATHERED + name] for name in one["sums"]}} if one else {}
        for one in json.loads(header.get("gathered", "[]"))
    ]  # version 1 had none
    return {**json.loads(header["progress"]), "masks": masks, "gathered": gathered}


def _unpacked(bits: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    count = math.prod(arguments.whole("shape", extent) for extent in shape)
    if bits.dtype != np.uint8 or bits.shape != (-(-count // 8),):
        raise ValueError(f"{bits.size} bytes are no mask of shape {shape}")
    return np.unpackbits(bits, count=count, bitorder="little").astype(bool).reshape(shape)


def progress_of(state: Mapping[str, Any]) -> tuple[int, float, int, float]:
    """steps, applied, updates and threshold of a state; ValueError if one is missing or makes no sense."""
    if not isinstance(state, Mapping):
        raise arguments.wrong_kind("state", "the state of a pruner", state, "take it from state_dict()")
    try:
        return (
            arguments.whole("steps", state["steps"]),
            arguments.fraction("applied", state["applied"]),
            arguments.whole("updates", state["updates"]),
            arguments.number("threshold", state["threshold"]),
        )
    except KeyError as error:
        raise ValueError(f"the state is not one of a pruner: it has no {error}; take it from state_dict().") from error
    except ValueError as error:
        raise ValueError(f"the state is not one of a pruner: {error} Take it from state_dict().") from error


def masks_of(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The masks of a state, as bool; ValueError if there are none, or others than zeros and ones."""
    if not isinstance(state.get("masks"), Mapping):
        raise ValueError("the state is not one of a pruner: it has no masks; take it from state_dict().")
    masks = {name: np.asarray(mask) for name, mask in state["masks"].items()}
    for name, mask in masks.items():
        if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
            raise ValueError(f"the mask of {name} must be zeros and ones; take it from state_dict().")
    return {name: mask != 0 for name, mask in masks.items()}


def misfits(state: Mapping[str, Any], masks: Mapping[str, np.ndarray], params: Sequence[Param]) -> dict[str, str]:
    """Why a mask of the state, or of these params, cannot be loaded; by name of the param."""
    present = {param.name: param for param in params}
    dtypes = state.get("dtypes", {})
    found = {}
    for name in sorted(present.keys() | masks.keys()):
        if name not in present:
            found[name] = _EXTRA
        elif name not in masks:
            found[name] = _LACKING
        elif masks[name].shape != present[name].shape:
            found[name] = f"{list(masks[name].shape)} there, {list(present[name].shape)} here"
        elif dtypes.get(name, present[name].dtype) != present[name].dtype:
            found[name] = f"{dtypes[name]} there, {present[name].dtype} here"
    return found


def check_fit(state: Mapping[str, Any], masks: Mapping[str, np.ndarray], params: Sequence[Param]) -> None:
    """Raise ValueError unless the state is of just these params: same names, shapes and dtypes."""
    found = misfits(state, masks, params)
    lacking = [name for name, why in found.items() if why == _LACKING]
    extra = [name for name, why in found.items() if why == _EXTRA]
    differing = [f"{name} {why}" for name, why in found.items() if why not in (_LACKING, _EXTRA)]
    faults = (
        ([f"has no mask for {', '.join(lacking)}"] if lacking else [])
        + ([f"has masks for {', '.join(extra)}, which are not pruned here"] if extra else [])
        + ([f"differs in shape or dtype: {'; '.join(differing)}"] if differing else [])
    )
    if faults:
        raise ValueError(f"the state belongs to another model or another selection: it {'; it '.join(faults)}.")


def _digest(tensors: Mapping[str, np.ndarray], header: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps({k: v for k, v in header.items() if k != "sha256"}, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0" + tensors[name].tobytes())
    return digest.hexdigest()
