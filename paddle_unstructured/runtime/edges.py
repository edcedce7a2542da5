# SPDX-License-Identifier: Apache-2.0
"""Where a plan meets Paddle's tensors: the views of what comes in, and the axes of what goes out."""

from __future__ import annotations

from typing import Any, Iterable

from .border import DTYPES, Input
from .net import Output, input_layer
from .reader import Reader
from .refusals import Refusal
from .views import OPEN, Atom, Axis, View, axis_of, known


def batch_of(values: Iterable[Any]) -> Atom:
    """The samples of some inputs: open if they are in one of them."""
    extents = [shape[0] for value in values if (shape := list(value.shape))]
    return Atom(OPEN if OPEN in extents or not extents else extents[0])


def border(reader: Reader, value: Any, name: str) -> View:
    """A value of the Program that comes from without: an input of the model, or what an op makes that is not ours.

    Raises:
        Refusal: No plan takes it.
    """
    shape, dtype = list(value.shape), str(value.dtype).split(".")[-1].lower()
    if dtype not in DTYPES or not 1 <= len(shape) <= 6 or 0 in shape:
        raise Refusal(f"an input must be of {', '.join(DTYPES)} and 1 to 6 axes, got {shape} of {value.dtype}")
    letters = _letters(shape, dtype)
    is_shared = shape[0] == 1 and reader.batch.is_open  # all samples read the same
    if shape[0] != reader.batch.extent and not is_shared:
        raise Refusal(f"an input's first axis must be the samples, as in the model's other inputs, got {shape}")
    image = len(shape) == 4 and dtype == "float32"  # which may have another size than the Program says
    dims = (OPEN, shape[1], OPEN, OPEN) if image else (OPEN, *shape[1:])
    if is_shared:
        letters, dims = "1" + letters[1:], (1, *dims[1:])
    named = tuple("1" if extent == 1 and letter != "n" else letter for extent, letter in zip(dims, letters))
    layer = input_layer(Input(name, dtype, named, dims))
    axes = [() if is_shared else (reader.batch,), *map(axis_of, shape[1:])]

    def slot(letter: str) -> Axis:
        return tuple(atom for one, axis in zip(letters, axes) if one == letter for atom in axis)

    return View(layer, tuple(axes), slot("c"), slot("h"), slot("w"))


def _letters(shape: list[int], dtype: str) -> str:
    """What each axis becomes: samples, channels, rows, columns."""
    if len(shape) == 2:
        return "nw" if dtype != "float32" or shape[1] == OPEN else "nc"
    if len(shape) == 3:  # [n, tokens, channels] or [n, channels, pixels]: channels are of known extent
        return "nwc" if shape[1] == OPEN and shape[2] != OPEN else "ncw"
    if len(shape) == 5 and shape[2] == OPEN:  # slices lie as channels do: a convolution may move along them
        return "ncchw"
    return {1: "n", 4: "nchw", 5: "nchhw", 6: "ncchhw"}[len(shape)]


def output(reader: Reader, value: Any) -> Output:
    """What is to be returned under a value of the Program.

    Raises:
        Refusal: No plan returns it.
    """
    view, dtype = reader.view_of(value), str(value.dtype).split(".")[-1].lower()
    if dtype not in DTYPES:
        raise Refusal(f"an output must be of {', '.join(DTYPES)}, got {value.dtype}")
    if not any(reader.batch in axis for axis in view.axes):
        raise Refusal("an output is the same for all samples")
    named = _whole_slots(reader, view)
    if named is None:
        view = reader.logical(view)
        named = _products(reader, view)
    return Output(view.layer, dims=named, dtype=dtype)


def _slots(view: View) -> dict[str, Axis]:
    return {"c": view.channels, "h": view.height, "w": view.width}


def _whole_slots(reader: Reader, view: View) -> tuple[str, ...] | None:
    """Axes that are the layer's own, in whatever order; an axis of 1 stands for one of the layer's that is 1, too."""
    named, slots = [], _slots(view)
    if (reader.batch,) not in view.axes or view.rank > 4:
        return None
    for axis in view.axes:
        if axis == (reader.batch,):
            named.append("n")
            continue
        letter = next((name for name, slot in slots.items() if slot == axis), None)
        if letter is None:
            return None
        named.append(letter)
        del slots[letter]
    return tuple(named) if not any(slots.values()) else None


def _products(reader: Reader, view: View) -> tuple[str, ...]:
    """Axes in the layer's order as products of its sizes and of numbers; one may be what is left."""
    named = [_product(reader, view, axis) for axis in view.axes]
    if named.count("-1") > 1:
        raise Refusal("an output has two axes whose sizes depend on the input in ways that are not known")
    return tuple(named)


def _product(reader: Reader, view: View, axis: Axis) -> str:
    if reader.batch in axis:
        at = axis.index(reader.batch)
        around = [_product(reader, view, part) for part in (axis[:at], axis[at + 1 :])]
        if "-1" in around:
            raise Refusal("an output has an axis of the samples and of a size that is not known")
        before, after = ([] if word == "1" else [word] for word in around)
        return "*".join([*before, "n", *after])
    extent = known(axis)
    if extent is not None:
        return str(extent)
    slots = {name: slot for name, slot in _slots(view).items() if slot}
    named, rest = list[str](), axis
    for name, slot in slots.items():
        if rest[: len(slot)] == slot:
            named, rest = [*named, name], rest[len(slot) :]
    if rest:
        return "-1"
    return "*".join(named)
