# SPDX-License-Identifier: Apache-2.0
"""Inputs for trying a saved model: random ones of the shapes it asks for."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

import numpy as np

from ..arguments import array, has_method
from ..graph.lengths import check_lengths
from ..saved_model import Model


def random_inputs(
    model: Model, batch: int = 2, seed: int = 0, shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """Inputs of the shapes and dtypes that the model asks for.

    Args:
        model: model whose first axes of unknown size get `batch`.
        batch: Rows.
        seed: seed of the numbers: the same seed gives the same inputs.
        shapes: input name -> its shape, where the model leaves sizes open.

    Returns:
        Name -> standard normal numbers; of integer and bool inputs 0 and 1.

    Raises:
        ValueError: An axis other than the first has no size, so shapes must be given; or one does not fit.
    """
    random = np.random.default_rng(seed)
    ops = [op for op in model.program.global_block().ops if op.name() == "pd_op.data"]
    values = {op.attrs()["name"]: op.result(0) for op in ops}
    given = shapes or {}
    return {name: _one(name, values[name], batch, random, given.get(name)) for name in model.feeds}


def dtype_of(value: Any) -> str:
    """The numpy dtype of an input's arrays."""
    dtype = str(value.dtype).split(".")[-1].lower()
    return "float32" if dtype == "bfloat16" else dtype


def _one(name: str, value: Any, batch: int, random: np.random.Generator, asked: Sequence[int] | None) -> np.ndarray:
    shape = list(value.shape)
    if asked is not None:
        if len(asked) != len(shape) or any(want not in (-1, got) for want, got in zip(shape, asked)):
            raise ValueError(f"`shapes` must fit the input {name!r} of shape {shape}, got {list(asked)}.")
        shape = list(asked)
    if any(extent < 0 for extent in shape[1:]):
        raise ValueError(
            f"`inputs` must be given for a model whose input {name!r} has shape {shape}, -1 beyond the "
            "first axis; give a dict of arrays by name."
        )
    if shape and shape[0] < 0:
        shape[0] = batch
    dtype = dtype_of(value)
    if dtype.startswith("float"):
        return random.normal(size=shape).astype(dtype)
    return random.integers(0, 2, size=shape).astype(dtype)


def check_inputs(model: Model, inputs: Any) -> None:
    """Raise ValueError unless `inputs` has an array for every input of the model, and no other."""
    if not isinstance(inputs, dict) or set(inputs) != set(model.feeds):
        given = sorted(map(str, inputs)) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(f"`inputs` must be a dict with an array for each of {sorted(model.feeds)}, got {given}.")
    for name, given in inputs.items():
        array(f"inputs[{name!r}]", given)


def batches_of(argument: str, batches: Any) -> Iterable[Any]:
    if isinstance(batches, (Mapping, str)) or not has_method(batches, "__iter__"):
        raise TypeError(
            f"`{argument}` must be a list (or another iterable) of batches, each a dict input name -> "
            f"array, got {type(batches).__name__}."
        )
    found: Iterable[Any] = batches
    return found


def cast(argument: str, name: str, given: np.ndarray, dtype: str) -> np.ndarray:
    """An array as an input takes it: whole numbers stay the same.

    Raises:
        ValueError: An input of whole numbers is given fractions, NaN, or numbers that its dtype cannot hold.
    """
    if given.dtype == dtype:
        return given
    with np.errstate(invalid="ignore"):
        found = given.astype(dtype)
    changed = found != given if found.dtype.kind in "iub" else np.zeros(1, bool)
    if changed.any():
        raise ValueError(
            f"`{argument}` must give {name} as {dtype}, which cannot hold {given[changed].flat[0]!s}, one of the "
            f"{given.dtype} numbers that were given."
        )
    return found


def as_feed(argument: str, model: Model, batch: Any, count: int) -> dict[str, np.ndarray]:
    """A batch as the Program wants it."""
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"`{argument}` must give dicts input name -> array, {{{model.feeds[0]!r}: array}} say, got "
            f"{type(batch).__name__} as batch {count}."
        )
    if set(batch) != set(model.feeds):
        raise ValueError(
            f"`{argument}` must give arrays for {', '.join(model.feeds)}, got "
            f"{', '.join(map(str, batch)) or 'none'} in batch {count}."
        )
    feed = {}
    for name, value in model.inputs.items():
        array = np.asarray(batch[name])
        wanted = list(value.shape)
        if array.ndim != len(wanted) or any(n not in (-1, found) for n, found in zip(wanted, array.shape)):
            raise ValueError(
                f"`{argument}` must give {name} the shape {wanted}, got {list(array.shape)} in batch {count}."
            )
        dtype = str(value.dtype).split(".")[-1]
        feed[name] = array if dtype == "bfloat16" else cast(argument, name, array, dtype)
    check_lengths(model.program, feed, f"batch {count} of `{argument}`")
    return feed
