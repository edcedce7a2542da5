# SPDX-License-Identifier: Apache-2.0
"""How two activations that meet in one op come to lie alike: equal axes get equal atoms and one physical order."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from .net import Layer
from .prefix import against
from .reader import Reader, Symbol
from .refusals import Refusal
from .views import Atom, Axis, Prefix, View, axis_of, known, part, parts_of, size_of, spread_over


def meet(reader: Reader, op: Any) -> tuple[Layer, Layer, View, str]:
    """The two operands of an op that broadcasts; see `meet_symbols`."""
    return meet_symbols(reader, reader.operand(op, 0), reader.operand(op, 1))


def meet_symbols(reader: Reader, *given: Symbol) -> tuple[Layer, Layer, View, str]:
    """Two values, one of them an activation at least, in one physical order; and the view of what they make together.

    The last one says what is repeated: nothing; "pixels", where one is a number for each channel of the other; "axes".

    Where one of them has an extent of 1, its channels, height or width are 1 in the layer too: the kernel repeats it.
    """
    found = list(given)
    for i in (0, 1):
        one, other = found[i], found[1 - i]
        if isinstance(one, Prefix) and isinstance(other, View):
            found[i] = against(reader, one, other)
    rank = max(
        each.rank if isinstance(each, View) else np.ndim(each) for each in found if isinstance(each, (View, np.ndarray))
    )
    if isinstance(found[0], View) and isinstance(found[1], View):
        return meet_views(reader, *(_raised(each, rank) for each in found if isinstance(each, View)))
    first = isinstance(found[0], View)
    view, constant = (found[0], found[1]) if first else (found[1], found[0])
    if not isinstance(view, View) or not isinstance(constant, np.ndarray) or constant.dtype == object:
        raise Refusal("an activation meets what is none")
    view = _raised(view, rank)
    full = constant.reshape((1,) * (view.rank - constant.ndim) + constant.shape)
    extents: tuple[int, ...] = full.shape
    if any(extent > 1 and known(axis) == 1 for extent, axis in zip(extents, view.axes)):
        wide = with_own_axes(full)
        return meet_views(reader, *((view, wide) if first else (wide, view)))
    whole = _constant(view, constant)
    return (view.layer, whole, view, "axes") if first else (whole, view.layer, view, "axes")


def with_own_axes(constant: np.ndarray) -> View:
    """A constant as a view of its own: where it is 1, it is repeated by what it meets."""
    axes = tuple(map(axis_of, constant.shape))
    return View(constant_layer(constant, [constant.size, 1, 1]), axes, tuple(atom for axis in axes for atom in axis))


def meet_views(reader: Reader, a: View, b: View) -> tuple[Layer, Layer, View, str]:
    """As `meet`, of two activations of one rank."""
    a, b = aligned([a, b])
    try:
        like = _order(reader, a, b)
        one, other = _slotted(reader, a, like), _slotted(reader, b, like)
    except (
        Refusal
    ):  # numbers would be repeated for each place of an open size, which a slot of its own repeats for free
        like = _order(reader, a, b, apart=True)
        one, other = _slotted(reader, a, like), _slotted(reader, b, like)
    return one.layer, other.layer, like, _repeats(one, other)


def _repeats(one: View, other: View) -> str:
    if (one.channels, one.height, one.width) == (other.channels, other.height, other.width):
        return ""
    return "pixels" if one.channels == other.channels and not (one.pixels and other.pixels) else "axes"


def _raised(view: View, rank: int) -> View:
    if view.rank < rank and view.batch in view.axes[0]:
        raise Refusal(f"an activation of rank {view.rank} meets one of rank {rank}")
    return view.with_axes([*[()] * (rank - view.rank), *view.axes])


def with_numbers(kind: str, view: View, constant: np.ndarray) -> View:
    """A view and a constant that broadcasts against it, in an op of two."""
    return view.of(Layer(kind, (view.layer, _constant(view, constant)), words={"repeats": "axes"}))


def _constant(view: View, constant: np.ndarray) -> Layer:
    """A layer that makes a constant, with an extent of 1 wherever the constant does not vary."""
    full = np.asarray(constant).reshape((1,) * (view.rank - np.ndim(constant)) + np.shape(constant))
    extents: tuple[int, ...] = full.shape
    varying = {atom for extent, axis in zip(extents, view.axes) if extent > 1 for atom in axis}
    slots = [slot if varying & {*slot} else () for slot in (view.channels, view.height, view.width)]
    over = tuple(atom for slot in slots for atom in slot)
    if any(atom.is_open for atom in over):
        raise Refusal(f"a constant of shape {list(np.shape(constant))} meets sizes that are open")
    flat = spread_over(full, view, over)
    if flat is None:
        raise Refusal(f"a constant of shape {list(np.shape(constant))} does not fit the activation that it meets")
    return constant_layer(flat, [int(np.prod([atom.extent for atom in slot])) for slot in slots])


def constant_layer(numbers: np.ndarray, shape: Sequence[int]) -> Layer:
    """A layer that makes the same numbers [channels, height, width] for every sample."""
    words: dict[str, int | str] = dict(zip(("channels", "height", "width"), map(int, shape)))
    return Layer("constant", weight=np.asarray(numbers, np.float64).ravel(), words=words)


def aligned(views: Sequence[View], *, but: int | None = None) -> list[View]:
    """The same views of one rank; axes of equal extents have the same atoms. An extent of 1 broadcasts.

    Args:
        views: activations of one rank.
        but: axis that is left as it is.
    """
    views = [_with_own_names(view, views[:k]) for k, view in enumerate(views)]
    for i in range(views[0].rank):
        views = views if i == but else _aligned_axis(list(views), i)
    return list(views)


def _with_own_names(view: View, others: Sequence[View]) -> View:
    """The same with new atoms for those that another view has in another axis: a value meets itself, transposed."""
    elsewhere = {
        atom: (part(atom, size_of((atom,))),)
        for i, axis in enumerate(view.axes)
        for atom in axis
        if atom is not view.batch and any(_stands_elsewhere((atom,), other, i) for other in others)
    }
    return view.split(elsewhere) if elsewhere else view


def _aligned_axis(views: list[View], i: int) -> list[View]:
    named = [k for k, view in enumerate(views) if view.axes[i]]
    if not named:
        return views
    model = next(
        (k for k in named if not any(_stands_elsewhere(views[k].axes[i], view, i) for view in views)), named[0]
    )
    for k, view in enumerate(views):
        if k != model and view.axes[i] and view.axes[i] != views[model].axes[i]:
            ours, theirs, names = _matched(views[model].axes[i], view.axes[i])
            views = [each.split(ours) if each is not view else each for each in views]
            views[k] = view.split(theirs).split(names)
    return views


def _stands_elsewhere(axis: Axis, view: View, i: int) -> bool:
    """Whether a view has atoms of `axis`, its names for axis i, in another axis: queries and keys of one sequence."""
    return any(atom in axis for k, other in enumerate(view.axes) if k != i for atom in other)


def _matched(model: Axis, other: Axis) -> tuple[dict[Atom, Axis], dict[Atom, Axis], dict[Atom, Axis]]:
    """How to take apart the atoms of both, and the model's name for each part of the other."""
    ours, theirs, names = dict[Atom, Axis](), dict[Atom, Axis](), dict[Atom, Axis]()
    left, right = list(model), list(other)
    while left and right:
        a, b = left.pop(0), right.pop(0)
        if a is not b and b.is_open and left and not right:  # one size that is the product of several
            names[b] = (a, *left)
            return ours, theirs, names
        if a is not b and a.is_open and right and not left:
            parts_of(ours, a, (b, *right))
            return ours, theirs, names
        if a.is_open or b.is_open:
            if a.is_open != b.is_open and (len(left) or len(right)):
                raise Refusal("an axis whose size depends on the input meets another one")
        elif a.extent != b.extent:
            large, small = max(a.extent, b.extent), min(a.extent, b.extent)
            if large % small:
                raise Refusal(f"axes of {size_of(model)} and {size_of(other)} numbers meet that are divided otherwise")
            outer, inner = Atom(small), Atom(large // small)
            parts_of(ours if a.extent == large else theirs, a if a.extent == large else b, (outer, inner))
            if a.extent == large:
                a = outer
                left.insert(0, inner)
            else:
                b = outer
                right.insert(0, inner)
        if a is not b:
            names[b] = (a,)
    if left or right:
        raise Refusal("axes meet whose sizes differ, or depend on the input in different ways")
    return ours, theirs, names


def _order(reader: Reader, a: View, b: View, *, apart: bool = False) -> View:
    """The physical order of what two views make together; its layer does not count. `apart`: each axis is a slot."""
    axes = tuple(one or other for one, other in zip(a.axes, b.axes))
    every = {atom for axis in axes for atom in axis if atom is not reader.batch}
    for view in () if apart else (a, b):
        if {*view.channels, *view.pixels} == every:
            return View(view.layer, axes, view.channels, view.height, view.width)
    whole = View(a.layer, axes)
    rest = [tuple(atom for atom in axis if atom is not reader.batch) for axis in axes]
    if len(rest) > 4:
        raise Refusal("two activations of more than four axes meet, each of which repeats the other")
    rest = [*rest[1:], (), (), ()] if not rest[0] else rest
    return View(whole.layer, axes, rest[0], rest[1], rest[2])


def _slotted(reader: Reader, view: View, like: View) -> View:
    """A view in another's order: each of channels, height and width is all there or 1."""
    mine = {*view.channels, *view.pixels}
    slots = []
    repeats: dict[Atom, None] = {}
    for slot in (like.channels, like.height, like.width):
        here = [atom for atom in slot if atom in mine]
        if here and len(here) < len(slot):
            repeats.update(dict.fromkeys(atom for atom in slot if atom not in mine))
            here = list(slot)
        slots.append(tuple(here))
    if repeats:
        view = reader.repeated(view, tuple(repeats))
    return reader.arranged(view, channels=slots[0], height=slots[1], width=slots[2])
