# SPDX-License-Identifier: Apache-2.0
"""What is known of a Program while its ops are read one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Hashable, Iterator, Sequence, Tuple, Union

import numpy as np

from ..graph.program import PirGraph
from ..graph.values import TRANSPARENT, through
from ..saved_model import Model
from .net import Layer
from .refusals import Refusal as Refusal
from .views import OPEN, Atom, Axis, Extent, Prefix, Size, View, axis_of, size_of

# An activation; a constant (sizes that depend on the input are an array of objects, `Extent` among them); or several.
Symbol = Union[View, np.ndarray, Prefix, Tuple[Any, ...]]


@dataclass(frozen=True)
class Results:
    """What an op makes, if it makes several values; None where nobody may read it."""

    symbols: tuple[Symbol | None, ...]


@dataclass
class Reader:
    """Goes through the ops of a Program; `values` knows what every value is that has been reached."""

    model: Model
    values: dict[int, Symbol] = field(default_factory=dict)
    batch: Atom = field(default_factory=lambda: Atom(OPEN))
    notes: dict[Layer, Any] = field(default_factory=dict)  # what converters of later ops want to know of a layer
    shared: dict[Hashable, Layer] = field(default_factory=dict)  # layers that several readers of a value have in common
    _moved: dict[Hashable, Layer] = field(default_factory=dict)
    _atoms: dict[Hashable, Atom] = field(default_factory=dict)
    _sized: dict[Atom, list[int]] = field(default_factory=dict)  # open size -> numbers of the values that have it

    @cached_property
    def graph(self) -> PirGraph:
        """The model's variables; to list them takes as long as there are some."""
        return self.model.graph

    # ---- values ------------------------------------------------------------------------------------------------------
    def learn(self, number: int, symbol: Symbol) -> None:
        """What a value is, by its number."""
        self.values[number] = symbol
        if isinstance(symbol, View):
            for atom in {atom.root or atom for axis in symbol.axes for atom in axis if atom.is_open}:
                self._sized.setdefault(atom, []).append(number)

    def sized(self, *sizes: Size) -> Iterator[View]:
        """Activations of which these sizes may be, in the order of the Program: they are open ones of the same axes."""
        atoms = [atom for size in sizes if isinstance(size, Extent) for atom in size.atoms]
        for number in min((self._sized.get(atom, []) for atom in atoms), key=len, default=[]):
            found = self.values[number]
            if isinstance(found, View):
                yield found

    # ---- operands ----------------------------------------------------------------------------------------------------
    def symbol(self, value: Any) -> Symbol:
        return self.values[value.id]

    def operand(self, op: Any, i: int) -> Symbol:
        return self.values[op.operand_source(i).id]

    def view(self, op: Any, i: int) -> View:
        """An operand that is an activation, in whatever order its numbers lie."""
        return self.view_of(op.operand_source(i))

    def view_of(self, value: Any) -> View:
        """A value that is an activation, in whatever order its numbers lie."""
        found = self.symbol(value)
        if not isinstance(found, View):
            raise Refusal("an activation is expected where the Program has a constant")
        return found

    def layer(self, op: Any, i: int) -> Layer:
        """An operand that is an activation [n, channels, height, width], [n, channels, pixels] or [n, channels]."""
        return self.layer_of(op.operand_source(i))

    def layer_of(self, value: Any) -> Layer:
        """A value that is an activation, as `layer` says."""
        return self.planes(self.view_of(value)).layer

    def constant(self, op: Any, i: int) -> np.ndarray:
        """An operand that no input reaches."""
        found = self.operand(op, i)
        if isinstance(found, tuple) and all(isinstance(each, np.ndarray) for each in found):
            found = np.array([each.reshape(()).item() for each in found])
        if not isinstance(found, np.ndarray) or found.dtype == object:
            raise Refusal("a weight or number is expected where the Program computes it from its input")
        return found

    def sizes(self, op: Any, i: int) -> list[Size]:
        """An operand that is a list of sizes, or one size; those may depend on the input's."""
        found = self.operand(op, i)
        parts = found if isinstance(found, tuple) else (found,)
        if not all(isinstance(each, np.ndarray) for each in parts):
            raise Refusal("sizes are expected where the Program has an activation")
        flat = [each for part in parts for each in np.ravel(part)]
        return [each if isinstance(each, Extent) else int(each) for each in flat]

    def is_constant(self, op: Any, i: int) -> bool:
        return isinstance(self.operand(op, i), np.ndarray)

    def alone(self, op: Any, i: int) -> bool:
        """Whether the op is the only reader of the operand's layer, under whatever view."""
        value = op.operand_source(i)
        found = self.symbol(value)
        while len(value.all_used_ops()) == 1:
            maker = value.get_defining_op()
            before = maker.operands_source()[:1] if maker is not None else []
            same = before and isinstance(found, View) and self.values.get(before[0].id)
            if not (isinstance(same, View) and isinstance(found, View) and same.layer is found.layer):
                return True
            value, found = before[0], same
        return False

    def name(self, op: Any, i: int, part: int | None = None) -> str:
        """The name of the parameter behind an operand, also where it is reshaped, or behind a part of one that is
        several."""
        value = op.operand_source(i)
        if part is not None:
            value = value.get_defining_op().operand_source(part)
        producer = through(value, TRANSPARENT).get_defining_op()
        return str(producer.attrs().get("parameter_name") or producer.attrs().get("name") or producer.name())

    # ---- physical order ----------------------------------------------------------------------------------------------
    def arranged(
        self,
        view: View,
        *,
        channels: Axis,
        height: Axis | None = None,
        width: Axis | None = None,
        pixels: Axis | None = None,
    ) -> View:
        """The same numbers in another physical order; one `permute` if they do not lie so already.

        Args:
            view: what is to be moved.
            channels: atoms of the layer's channels, outer to inner.
            height, width: atoms of its planes.
            pixels: instead of these, where it does not matter which of them are rows.
        """
        if pixels is not None:
            if view.channels == channels and view.pixels == pixels:
                return view
            cut = max(0, len(pixels) - 1)
            height, width = pixels[:cut], pixels[cut:]
        height, width = height or (), width or ()
        if (view.channels, view.height, view.width) == (channels, height, width):
            return view
        if view.channels == channels and view.pixels == (*height, *width) and _lie_apart(view, height, width):
            return self._in_rows(view, height, width)
        if {*channels, *height, *width} != {*view.channels, *view.pixels}:
            raise Refusal("the batch stands in an axis that the op computes over")
        key = (view.layer, view.channels, view.height, view.width, channels, height, width)
        if key not in self._moved:
            self._moved[key] = _permute(view, channels, height, width)
        return View(self._moved[key], view.axes, channels, height, width)

    def _in_rows(self, view: View, height: Axis, width: Axis) -> View:
        """The same pixels in rows of an open length, which is that of planes that are known already."""
        sizes = [size_of(height), size_of(width)]
        for other in self.sized(*sizes):
            if [size_of(other.height), size_of(other.width)] == sizes:
                layer = Layer("shaped", (view.layer, other.layer))
                return View(layer, view.axes, view.channels, height, width)
        raise Refusal("pixels are to lie in rows whose length the runtime does not know how to find")

    def repeated(self, view: View, atoms: Axis) -> View:
        """The same numbers once for each place of new atoms, which come first among its channels."""
        if any(atom.is_open for atom in atoms):
            raise Refusal("numbers are repeated as often as the input's size says")
        times = int(np.prod([atom.extent for atom in atoms]))
        words: dict[str, int | str] = {"axis": "channels", "times": times}
        key = (view.layer, "repeat", times)
        if key not in self._moved:
            self._moved[key] = Layer("repeat", (view.layer,), words=words)
        channels = (*atoms, *view.channels)
        return View(self._moved[key], view.axes, channels, view.height, view.width)

    def by_axes(
        self, view: View, channels: Sequence[int], height: Sequence[int] = (), width: Sequence[int] = ()
    ) -> View:
        """`arranged` by numbers of axes."""
        return self.arranged(view, channels=view.flat(channels), height=view.flat(height), width=view.flat(width))

    def planes(self, view: View) -> View:
        """[n, channels, height, width]; of [n, channels] and [n, channels, pixels] no matter which pixels are rows."""
        if view.rank > 4:
            raise Refusal(f"an activation of rank {view.rank} is not known here")
        if view.rank == 4:
            if view.axes[0] != (self.batch,):
                raise Refusal("the first axis is not the batch alone")
            return self.by_axes(view, [1], [2], [3])
        return self.tokens(view, [1] if view.rank > 1 else [])

    def frames(self, view: View) -> View:
        """[n, channels, height, width], where n may be samples and their frames: all channels of a frame together."""
        inside = tuple(atom for atom in view.axes[0] if atom is not self.batch)
        if view.rank != 4 or not inside or self.batch not in view.axes[0]:
            return self.planes(view)
        return self.arranged(view, channels=(*inside, *view.axes[1]), height=view.axes[2], width=view.axes[3])

    def tokens(self, view: View, channels: Sequence[int]) -> View:
        """Some axes as channels; all others but the batch, in their order, as pixels: what a linear layer works on."""
        inside = [i % view.rank for i in channels]
        rest = view.flat(i for i in range(view.rank) if i not in inside)
        pixels = tuple(atom for atom in rest if atom is not self.batch)
        if view.channels == view.flat(inside) and {*pixels} == {*view.pixels}:
            return view  # every pixel by itself: their order does not matter
        try:
            return self.arranged(view, channels=view.flat(inside), pixels=pixels)
        except Refusal:  # two open sizes in one axis: what was among the channels goes before the rows
            taken, lost = {*view.flat(inside)}, [atom for atom in view.channels if atom in pixels]
            height, width = (tuple(atom for atom in slot if atom not in taken) for slot in (view.height, view.width))
            return self.arranged(view, channels=view.flat(inside), height=(*lost, *height), width=width)

    def logical(self, view: View) -> View:
        """The numbers in the order of the axes, as they lie in a Paddle tensor."""
        axes = [tuple(atom for atom in axis if atom is not self.batch) for axis in view.axes]
        rest = tuple(atom for axis in axes for atom in axis)
        if (*view.channels, *view.pixels) == rest:
            return view
        first = tuple(atom for axis in axes[:2] for atom in axis)
        tail = tuple(atom for axis in axes[2:] for atom in axis)
        last = axes[-1] if view.rank > 2 else ()
        return self.arranged(view, channels=first, height=tail[: len(tail) - len(last)], width=last)

    # ---- results -----------------------------------------------------------------------------------------------------
    def result(self, op: Any, layer: Layer, i: int = 0) -> View:
        """A layer in the order [n, channels, height, width] under the shape that the Program gives the op's result."""
        return self.fresh(layer, list(op.result(i).shape))

    def fresh(self, layer: Layer, shape: Sequence[int]) -> View:
        """A layer in the order [n, channels, height, width] under a shape of rank 1 to 4, -1 for open sizes."""
        axes = [(self.batch,), *map(axis_of, shape[1:])]
        channels = axes[1] if len(axes) > 1 else ()
        height, width = {3: ((), axes[-1]), 4: (axes[2:] or [(), ()])}.get(len(axes), ((), ()))
        return View(layer, tuple(axes), channels, height, width)

    def grown(self, key: Hashable, extent: int = OPEN) -> Axis:
        """The axis that a rule makes of others; the same rule of the same atoms makes the same axis.

        Args:
            key: the rule and what it is applied to; atoms among it are kept alive.
            extent: size, OPEN if it is not known.
        """
        if extent == 1:
            return ()
        if key not in self._atoms:
            self._atoms[key] = Atom(extent)
        return (self._atoms[key],)

    def reshaped(self, view: View, target: Sequence[Size]) -> View:
        """As `paddle.reshape`; where splitting and merging axes is not enough, the numbers are ordered first."""
        sizes = [view.shape[i] if size == 0 else size for i, size in enumerate(target)]
        try:
            return view.reshaped(sizes)
        except Refusal:
            vector = self.arranged(self.logical(view), channels=self._sample(view))
            if not vector.channels or any(atom.is_open for atom in vector.channels):
                raise
            whole = Atom(int(np.prod([atom.extent for atom in vector.channels])))
            one = View(vector.layer, ((self.batch,), (whole,)), (whole,))
            return one.reshaped(sizes)

    def _sample(self, view: View) -> Axis:
        return tuple(atom for axis in view.axes for atom in axis if atom is not self.batch)


def _lie_apart(view: View, height: Axis, width: Axis) -> bool:
    """Whether open sizes of one slot are to be rows and columns."""
    opens = [{atom for atom in slot if atom.is_open} for slot in (height, width)]
    return any(all(each & {*slot} for each in opens) for slot in (view.height, view.width))


def _permute(view: View, channels: Axis, height: Axis, width: Axis) -> Layer:
    """Factors of the source's channels, height and width, and where they go; see csrc/README.md."""
    if channels == (*view.channels, *view.pixels):
        return Layer("flatten", (view.layer,))
    target, numbers = (channels, height, width), dict[Atom, int]()
    places = {atom: (slot, i) for slot, axis in enumerate(target) for i, atom in enumerate(axis)}
    words: dict[str, int | str] = {}
    inside = set[Atom]()  # open atoms that stay behind the one before them: both are one factor
    for name, axis in zip(("channels", "height", "width"), (view.channels, view.height, view.width)):
        factors = list[Atom]()
        for before, atom in zip((None, *axis), axis):
            if before is not None and before.is_open and atom.is_open and places[atom] == _behind(places[before]):
                inside.add(atom)
            else:
                factors.append(atom)
        if sum(atom.is_open for atom in factors) > 1:
            raise Refusal("two sizes that depend on the input lie in one axis, and are to be moved apart")
        if factors:
            words[name] = ",".join(str(atom.extent) for atom in factors)
        for atom in factors:
            numbers[atom] = len(numbers)
    for name, axis in zip(("to_channels", "to_height", "to_width"), target):
        if axis:
            words[name] = ",".join(str(numbers[atom]) for atom in axis if atom not in inside)
    return Layer("permute", (view.layer,), words=words)


def _behind(place: tuple[int, int]) -> tuple[int, int]:
    return place[0], place[1] + 1
