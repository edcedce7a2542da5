# SPDX-License-Identifier: Apache-2.0
"""Where a weight stands on its way to the op that it is the weight of: which stored axis is where, and what was cut."""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple, Sequence

from .op_facts import kind_of, numbers_of

LOSES_ZEROS = "its zeros are no zeros where it is used: {}"


class WeightPath(NamedTuple):
    """Where a weight stands on its way to its op.

    Attributes:
        axes: Which stored axis each axis of the value is; -1 for one that is not a stored axis.
        seams: For each stored axis, the greatest common divisor of the places at which it was cut or joined; 0: none.
        through, broken, normed: As in `Role`.
        folded: Shape and axes before a reshape that merged them; the one that takes them apart brings them back.
    """

    axes: tuple[int, ...]
    seams: tuple[int, ...]
    through: str = ""
    broken: str = ""
    normed: tuple[int, ...] = ()
    folded: tuple[list[int], tuple[int, ...]] | None = None

    def moved(self, op: Any, kind: str) -> WeightPath:
        """Behind a cast, a transpose or another shape."""
        axes, before, after = (
            axes_after(op, kind, self.axes),
            list(op.operand_source(0).shape),
            list(op.result(0).shape),
        )
        if kind == "transpose":
            return self._replace(axes=axes, folded=None)
        if axes != (-1,) * len(after) or not self.axes:
            return self._replace(axes=axes)
        folded = self.folded or (before, self.axes)
        if after == folded[0]:
            return self._replace(axes=folded[1], folded=None)
        same = next((i for i, (a, b) in enumerate(zip(before, after)) if a != b), 0)
        return self._replace(axes=(*self.axes[:same], *axes[same:]), folded=folded)

    def by(self, op: Any, axes: Sequence[int] | None = None, broken: str = "") -> WeightPath:
        """Behind an op that is more than a change of shape."""
        why = broken and f"its zeros are no zeros where it is used: {op.name()} {broken}"
        kept = self if axes is None else self._replace(axes=tuple(axes), folded=None)
        return kept._replace(through=self.through or op.name(), broken=self.broken or why)

    def rounded(self, loses_zeros: str) -> WeightPath:
        """Behind a rounding of its own, the whole of it."""
        why = loses_zeros and LOSES_ZEROS.format(loses_zeros)
        return self._replace(broken=self.broken or why)

    def cut(self, axis: int, *places: int) -> WeightPath:
        """An axis of the value begins or ends at these places of another one."""
        seams, stored = list(self.seams), self.axes[axis]
        if stored >= 0:
            seams[stored] = gcd(seams[stored], *places)
        return self._replace(seams=tuple(seams), folded=None)


def axes_after(op: Any, name: str, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Which stored axis each axis of the op's result is; -1 for one that is not a stored axis."""
    if name == "transpose":
        return tuple(axes[i] for i in op.attrs()["perm"])
    before, after = list(op.operand_source(0).shape), list(op.result(0).shape)
    if before == after:
        return axes
    result = [-1] * len(after)
    kept = [i for i, extent in enumerate(before) if extent != 1]
    real = [i for i, extent in enumerate(after) if extent != 1]
    if [before[i] for i in kept] != [after[i] for i in real]:
        return (-1,) * len(after)
    for old, new in zip(kept, real):
        result[new] = axes[old]
    # Axes of one element: keep those that stayed in place, so that a conv1d's [out, 1, k] is still understood.
    for i, extent in enumerate(before):
        if extent == 1 and i < len(after) and after[i] == 1 and result[i] == -1:
            result[i] = axes[i]
    return tuple(result)


def sliced(op: Any, path: WeightPath, extents: Sequence[int]) -> WeightPath:
    attrs = op.attrs()
    starts = numbers_of(op.operand_source(1))
    strides = numbers_of(op.operand_source(3)) if kind_of(op) == "strided_slice" else [1] * len(attrs["axes"])
    for i, axis in enumerate(attrs["axes"]):
        after = op.result(0).shape[axis] if not attrs.get("decrease_axis") else None
        if starts is None or strides is None or strides[i] != 1 or after is None:
            path = path.cut(axis, 1)
        elif after != extents[axis]:
            start = max(starts[i] + extents[axis] if starts[i] < 0 else starts[i], 0)
            path = path.cut(axis, start, start + after)
    gone = set(attrs.get("decrease_axis") or ())
    return path.by(op, [axis for i, axis in enumerate(path.axes) if i not in gone])


def stored_axes(axes: tuple[int, ...], output: int, contracted: int) -> tuple[int | None, int | None]:
    found = tuple(axes[i] if 0 <= i < len(axes) and axes[i] >= 0 else None for i in (output, contracted))
    return found  # type: ignore[return-value]
