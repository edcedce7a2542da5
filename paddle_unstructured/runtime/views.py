# SPDX-License-Identifier: Apache-2.0
"""Activations as Paddle's shapes see them, over layers as the runtime lays them out.

A value of the runtime is [channels, height, width] of each sample. What Paddle calls [n, tokens, 3, heads, 16] is the
same numbers in some order: a `View` says which. Axes are taken apart into *atoms*; reshape splits and merges atoms,
transpose permutes axes, and neither moves a number. Only an op that needs another physical order does
(`Reader.arranged`).

    conv [n, C, h, w]                       axes (n)(C)(h)(w)       channels C  height h  width w
    flatten(2), transpose(0, 2, 1)          axes (n)(h w)(C)        the same numbers
    reshape [n, T, 3, H, d] of T x 3Hd      axes (n)(h w)(3)(H)(d)  channels 3 H d
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, Iterable, Mapping, Sequence, Tuple, Union

import numpy as np

from .net import Layer
from .refusals import Refusal

OPEN = -1


@dataclass(frozen=True, eq=False)
class Atom:
    """A factor of an axis. Two atoms are the same only if they are one object.

    Attributes:
        extent: size; OPEN where it is known at run time only.
        root: of a part of an open atom: the whole one. It is `ratio` times as large.
    """

    extent: int
    root: Atom | None = None
    ratio: Fraction = Fraction(1)

    @property
    def is_open(self) -> bool:
        return self.extent == OPEN


_NO_BATCH = Atom(OPEN)  # of what is the same for all samples
Axis = Tuple[Atom, ...]  # outer to inner; none: extent 1


@dataclass(frozen=True)
class Extent:
    """A size that is known at run time only: ratio * the extents of open atoms. Whole numbers are plain int.

    Divisions are taken to come out even: what is split that way is checked when the model runs.
    """

    ratio: Fraction
    atoms: frozenset[Atom]

    def __mul__(self, other: Any) -> Size:
        if isinstance(other, Extent) and not self.atoms & other.atoms:
            return _size(self.ratio * other.ratio, self.atoms | other.atoms)
        return _size(self.ratio * _fraction(other), self.atoms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Size:
        if isinstance(other, Extent) and other.atoms <= self.atoms:
            return _size(self.ratio / other.ratio, self.atoms - other.atoms)
        return _size(self.ratio / _fraction(other), self.atoms)

    __truediv__ = __floordiv__

    def __mod__(self, other: Any) -> Size:
        if not isinstance(other, Extent) and (self.ratio / int(other)).denominator == 1:
            return 0  # x * 4 % 2
        raise Refusal("a size that depends on the input is computed by a remainder")

    def __rmod__(self, other: Any) -> Size:
        raise Refusal("a size that depends on the input is computed by a remainder")

    def __add__(self, other: Any) -> Size:
        if isinstance(other, Extent) and other.atoms == self.atoms:
            return _size(self.ratio + other.ratio, self.atoms)
        if not isinstance(other, Extent) and other == 0:
            return self
        raise Refusal("a size that depends on the input is computed by a sum")

    __radd__ = __add__

    def __neg__(self) -> Size:
        return Extent(-self.ratio, self.atoms)

    def __sub__(self, other: Any) -> Size:
        if isinstance(other, Extent) and other == self:
            return 0
        made: Size = self + -other
        return made

    def __rsub__(self, other: Any) -> Size:
        made: Size = -self + other
        return made

    def __int__(self) -> int:
        raise Refusal("a number is expected where the Program computes a size from its input")

    __float__ = __index__ = __int__


Size = Union[int, Extent]


def _fraction(number: Any) -> Fraction:
    if isinstance(number, Extent):
        raise Refusal("sizes that depend on the input are multiplied or divided in a way that is not known")
    return Fraction(int(number)) if int(number) == number else Fraction(float(number)).limit_denominator(1 << 16)


def _size(ratio: Fraction, atoms: frozenset[Atom]) -> Size:
    if atoms:
        return Extent(ratio, atoms)
    return int(ratio)


def size_of(axis: Axis) -> Size:
    """The product of some atoms' extents."""
    size: Size = prod(atom.extent for atom in axis if not atom.is_open)
    for atom in axis:
        if atom.is_open:
            whole = Extent(atom.ratio, frozenset([atom.root or atom]))
            size = whole if size == 1 else whole * size
    return size


@dataclass(frozen=True, eq=False)
class View:
    """A layer's numbers under the axes of a Paddle tensor.

    Attributes:
        layer: what makes the numbers, [channels, height, width] of each sample.
        axes: of the tensor; every atom of the layer stands in exactly one of them, and so does the batch.
        channels, height, width: the layer's order.
    """

    layer: Layer
    axes: tuple[Axis, ...]
    channels: Axis = ()
    height: Axis = ()
    width: Axis = ()

    @property
    def rank(self) -> int:
        return len(self.axes)

    @property
    def shape(self) -> list[Size]:
        return [size_of(axis) for axis in self.axes]

    @property
    def pixels(self) -> Axis:
        return (*self.height, *self.width)

    @property
    def batch(self) -> Atom:
        """The one atom that is no part of the layer's sample."""
        inside = {*self.channels, *self.pixels}
        return next((atom for axis in self.axes for atom in axis if atom not in inside), _NO_BATCH)

    def of(self, layer: Layer) -> View:
        """Another layer with the same order, an activation of this one say."""
        return replace(self, layer=layer)

    def axis(self, i: int) -> Axis:
        return self.axes[i]

    def flat(self, axes: Iterable[int]) -> Axis:
        """The atoms of some axes, one after the other."""
        return tuple(atom for i in axes for atom in self.axes[i])

    def transposed(self, order: Sequence[int]) -> View:
        return self.with_axes(self.axes[i] for i in order).batch_first()

    def batch_first(self) -> View:
        """A batch of exactly one, whose place in an axis makes no difference, in the first axis again."""
        batch = self.batch
        if batch.extent != 1 or not self.axes or batch in self.axes[0]:
            return self
        rest = [tuple(atom for atom in axis if atom is not batch) for axis in self.axes]
        return self.with_axes([(batch, *rest[0]), *rest[1:]])

    def with_axes(self, axes: Iterable[Axis]) -> View:
        return replace(self, axes=tuple(axes))

    def split(self, parts: Mapping[Atom, Axis]) -> View:
        """The same with some atoms taken apart."""

        def apart(axis: Axis) -> Axis:
            return tuple(each for atom in axis for each in parts.get(atom, (atom,)))

        return View(
            self.layer,
            tuple(map(apart, self.axes)),
            apart(self.channels),
            apart(self.height),
            apart(self.width),
        )

    def reshaped(self, target: Sequence[Size]) -> View:
        """As `paddle.reshape` with these sizes; one of them may be -1.

        Raises:
            Refusal: An atom would have to be split where that is not known.
        """
        target = list(target)
        unknown = [i for i, size in enumerate(target) if not isinstance(size, Extent) and size == -1]
        if len(unknown) > 1:
            raise Refusal(f"a reshape to {_said(target)} leaves two sizes open")
        cut = unknown[0] if unknown else len(target)
        atoms, batch = [atom for axis in self.axes for atom in axis], self.batch
        parts: dict[Atom, Axis] = {}
        front: list[Axis] = []
        for size in target[:cut]:
            if size == 1 and atoms[:1] == [batch] and batch.extent == 1:
                front.append((atoms.pop(0),))
            else:
                front.append(_taken(atoms, size, parts, at=0))
        back = [_taken(atoms, size, parts, at=-1) for size in reversed(target[cut + 1 :])]
        middle = [tuple(atoms)] if unknown else []
        if atoms and not unknown:
            if any(atom.extent != 1 for atom in atoms):
                raise Refusal(f"a reshape of {_said(self.shape)} to {_said(target)} does not keep all numbers")
            front[-1:] = [(*front[-1], *atoms)] if front else []
        return self.split(parts).with_axes([*front, *middle, *reversed(back)])


@dataclass(frozen=True, eq=False)
class Prefix:
    """The first places of a stored array.

    Attributes:
        array: all of it.
        sizes: axis -> how many of its places there are.
        lags: (rows, columns) where a number depends on column - row alone: the array has one row then, and columns for
            -(n - 1) .. n - 1.
    """

    array: np.ndarray
    sizes: Mapping[int, Extent]
    lags: tuple[int, int] | None = None


def _said(shape: Iterable[Size]) -> str:
    return "[" + ", ".join("?" if isinstance(size, Extent) else str(size) for size in shape) + "]"


def _taken(atoms: list[Atom], size: Size, parts: dict[Atom, Axis], *, at: int) -> Axis:
    """Take atoms whose extents make `size` from the front (at=0) or the back (at=-1) of a list; splits the last one."""
    taken: list[Atom] = []
    left: Size = size
    while left != 1:
        if not atoms:
            raise Refusal("a reshape to sizes that depend on the input in a way that is not known")
        atom = atoms.pop(at)
        whole = size_of((atom,))
        rest = _divided(left, whole)
        if rest is None:
            outer_inner = _apart(atom, left, front=at == 0)
            parts_of(parts, atom, outer_inner)
            mine, other = outer_inner if at == 0 else outer_inner[::-1]
            atoms.insert(0 if at == 0 else len(atoms), other)
            atom, rest = mine, 1
        taken.append(atom)
        left = rest
    return tuple(taken if at == 0 else reversed(taken))


def parts_of(parts: dict[Atom, Axis], atom: Atom, new: Axis) -> None:
    """Note that an atom, perhaps itself a part of another, is taken apart."""
    for known, pieces in parts.items():
        if atom in pieces:
            parts[known] = tuple(each for piece in pieces for each in (new if piece is atom else (piece,)))
            return
    parts[atom] = new


def _divided(left: Size, whole: Size) -> Size | None:
    """left / whole, if that comes out even and is at least 1."""
    if isinstance(left, Extent) and isinstance(whole, Extent):
        if whole.atoms <= left.atoms and (left.ratio / whole.ratio).denominator == 1:
            return left // whole
        if len(left.atoms) == len(whole.atoms) == 1 and left.ratio == whole.ratio and not _related(left, whole):
            return 1  # sizes of different names that the Program takes to be equal
        return None
    if isinstance(left, Extent):
        if isinstance(whole, int) and (left.ratio / whole).denominator == 1:
            return left // whole
        return None
    if isinstance(whole, Extent):
        return None
    return left // whole if left % whole == 0 else None


def _related(a: Extent, b: Extent) -> bool:
    return bool(a.atoms & b.atoms)


def _apart(atom: Atom, size: Size, *, front: bool) -> tuple[Atom, Atom]:
    """An atom as (outer, inner); the outer one, or the inner one, has the given size."""
    rest = _divided(size_of((atom,)), size)
    if rest is None and isinstance(size, Extent) and atom.is_open:
        ratio = size.ratio / atom.ratio
        if size.atoms == frozenset([atom.root or atom]) and ratio.numerator == 1:
            rest = ratio.denominator
    if rest is None and not isinstance(size, Extent) and atom.is_open:
        rest = size_of((atom,)) // size
    if rest is None:
        raise Refusal(f"a reshape cannot split an axis of {_said([size_of((atom,))])} into parts of {_said([size])}")
    mine, other = part(atom, size), part(atom, rest)
    return (mine, other) if front else (other, mine)


def part(of: Atom, size: Size) -> Atom:
    """A part of an atom, of this size."""
    if not isinstance(size, Extent):
        return Atom(size)
    return Atom(OPEN, next(iter(size.atoms)), size.ratio)


def axis_of(extent: int) -> Axis:
    """A new axis; `extent` as Paddle gives it, -1 for open."""
    return () if extent == 1 else (Atom(extent),)


def known(axis: Axis) -> int | None:
    """The extent of an axis, if it does not depend on the input."""
    size = size_of(axis)
    return None if isinstance(size, Extent) else size


def spread_over(constant: np.ndarray, view: View, over: Axis) -> np.ndarray | None:
    """A constant that broadcasts against a view as a flat array over some of its atoms; None if it varies elsewhere.

    Args:
        constant: numbers, of the view's rank or less.
        view: what it meets.
        over: atoms of known extents; the result has one number for each of their places, in that order.
    """
    constant = np.asarray(constant)
    full = constant.reshape((1,) * (view.rank - constant.ndim) + constant.shape)
    if full.ndim > view.rank:
        return None
    letters: list[Atom] = []
    shape: list[int] = []
    extents: tuple[int, ...] = full.shape
    for extent, axis in zip(extents, view.axes):
        if extent == 1:
            continue
        if any(atom not in over for atom in axis) or size_of(axis) != extent:
            return None
        letters += axis
        shape += [atom.extent for atom in axis]
    full = full.reshape(shape)
    order = [atom for atom in over if atom in letters]
    full = full.transpose([letters.index(atom) for atom in order]) if order else full.reshape(())
    full = full.reshape([atom.extent if atom in letters else 1 for atom in over])
    return np.broadcast_to(full, [atom.extent for atom in over]).reshape(prod(atom.extent for atom in over))
