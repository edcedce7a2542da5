# SPDX-License-Identifier: Apache-2.0
"""Where in a layer an axis of a tensor lies, for the ops that work along one axis."""

from __future__ import annotations

from typing import Sequence

from .reader import Reader
from .refusals import Refusal
from .views import Atom, Axis, View, known

SLOTS = ("channels", "height", "width")


def slot_of(view: View, axis: Axis) -> tuple[str, Axis] | None:
    """The slot whose outermost atoms are this axis, and the atoms behind them in it; None if there is none."""
    for name in SLOTS:
        slot: Axis = getattr(view, name)
        if axis and slot[: len(axis)] == axis:
            return name, slot[len(axis) :]
    if axis and view.pixels[: len(axis)] == axis:
        return "pixels", view.pixels[len(axis) :]
    return None


def led(reader: Reader, view: View, i: int) -> tuple[View, str, Axis]:
    """A view in which axis i is outermost in a slot; the slot, and what lies behind the axis in it.

    An axis that is not outermost anywhere comes to the front of the channels, or of the rows if it has pixels in it.
    """
    axis = tuple(atom for atom in view.axes[i] if atom is not reader.batch)
    if not axis:
        return view, "channels", view.channels
    found = slot_of(view, axis)
    if found is None and view.rank == 4 and i > 1 and view.axes[0] == (reader.batch,):
        view = reader.planes(view)
        found = slot_of(view, axis)
    if found is None:
        inside = {*axis}

        def others(slot: Axis) -> Axis:
            return tuple(atom for atom in slot if atom not in inside)

        if inside <= {*view.channels}:
            view = reader.arranged(view, channels=(*axis, *others(view.channels)), height=view.height, width=view.width)
        else:
            view = reader.arranged(
                view, channels=others(view.channels), height=(*axis, *others(view.height)), width=others(view.width)
            )
        found = slot_of(view, axis)
    if found is None:
        raise Refusal("an axis of the batch is cut or joined")
    return view, *found


def inner_extent(axis: Axis) -> int:
    """The known extent of atoms."""
    extent = known(axis)
    if extent is None:
        raise Refusal("an axis is cut whose parts depend on the size of the input")
    return extent


def replaced(view: View, i: int, old: Axis, new: Axis, slot: str) -> View:
    """A view whose axis i has other atoms, at the front of a slot."""
    axes = [new if k == i else axis for k, axis in enumerate(view.axes)]
    if slot == "pixels":
        return View(view.layer, tuple(axes), view.channels, (), (*new, *view.pixels[len(old) :]))
    slots = {name: getattr(view, name) for name in SLOTS}
    slots[slot] = (*new, *slots[slot][len(old) :])
    return View(view.layer, tuple(axes), **slots)


def only(axis: Sequence[Atom], some: Sequence[Atom]) -> bool:
    """Whether both have the same atoms."""
    return {*axis} == {*some}
