# SPDX-License-Identifier: Apache-2.0
"""Products of two activations; and softmax(q k + mask) v as one layer whose scores never leave the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..meet import aligned, constant_layer
from ..net import Layer
from ..reader import Reader
from ..views import Atom, Axis, View, axis_of, known, size_of
from . import convolution
from .common import Converter, Made, require, shape_of
from .weighed import experts, is_one_for_each, weighed

_NEVER = -1e3  # a score below any other by this much gets no weight in float32


@dataclass(frozen=True)
class Product:
    """What a `matmul` layer multiplies.

    Attributes:
        left: [..., rows, 1, depth].
        right: [..., 1, columns, depth].
        groups: atoms that both have, and that stay: one product for each.
        rows, columns, depth: atoms.
    """

    left: View
    right: View
    groups: Axis
    rows: Axis
    columns: Axis
    depth: Axis


def matmul(reader: Reader, op: Any) -> View:
    """A linear layer if one side is a weight, else a product of two activations."""
    attributes = op.attrs()
    if reader.is_constant(op, 1) and reader.constant(op, 1).ndim == 2 and not attributes.get("transpose_x"):
        return convolution.linear(reader, op)
    if reader.is_constant(op, 1) and reader.constant(op, 1).ndim == 1 and not reader.is_constant(op, 0):
        return _with_vector(reader, op)
    if reader.is_constant(op, 1) and not attributes.get("transpose_x") and not reader.is_constant(op, 0):
        weight, view = reader.constant(op, 1), reader.view(op, 0)
        weight = weight.swapaxes(-1, -2) if attributes.get("transpose_y") and weight.ndim > 1 else weight
        if weight.ndim > 2 and is_one_for_each(view, weight):
            return experts(reader, view, weight, reader.name(op, 1))
    left, right = (_operand(reader, op, i) for i in (0, 1))
    require(left.rank > 1 and right.rank > 1, f"a product of {shape_of(op)} and {shape_of(op, 1)} is not known")
    if attributes.get("transpose_x"):
        left = _swapped(left)
    if attributes.get("transpose_y"):
        right = _swapped(right)
    return multiplied(reader, left, right)


def _with_vector(reader: Reader, op: Any) -> View:
    """[..., inputs] times a weight [inputs]: a linear layer of one output, whose axis is dropped."""
    view, weight = reader.view(op, 0), reader.constant(op, 1).astype(np.float64)
    require(
        view.rank > 1 and not op.attrs().get("transpose_x"), f"a product of {shape_of(op)} and a vector is not known"
    )
    letters = "abcdefgh"[: view.rank]
    return weighed(reader, view, letters, weight, letters[-1], letters[:-1], reader.name(op, 1))


def _operand(reader: Reader, op: Any, i: int) -> View:
    return _operand_of(reader, reader.operand(op, i))


def _operand_of(reader: Reader, constant: Any) -> View:
    """An activation, or a constant as one that makes the same numbers for every sample."""
    if isinstance(constant, View):
        return constant
    require(isinstance(constant, np.ndarray) and constant.dtype != object, "a product of sizes is not known")
    axes = tuple(map(axis_of, constant.shape))
    flat = [size or 1 for size in (constant.shape[-1:] or (1,))]
    layer = constant_layer(constant, [constant.size // flat[0], 1, flat[0]])
    return View(layer, axes, tuple(atom for axis in axes[:-1] for atom in axis), (), axes[-1] if axes else ())


def _swapped(view: View) -> View:
    return view.transposed([*range(view.rank - 2), view.rank - 1, view.rank - 2])


def _renamed(view: View, i: int) -> View:
    """A view with new atoms in an axis, of the same sizes: those of the other operand may be the same ones."""
    names = {atom: (Atom(atom.extent, atom.root or atom, atom.ratio),) for atom in view.axes[i] if atom.is_open}
    names |= {atom: (Atom(atom.extent),) for atom in view.axes[i] if not atom.is_open}
    return view.split(names)


def multiplied(reader: Reader, left: View, right: View) -> View:
    """[..., rows, depth] times [..., depth, columns]."""
    rank = max(left.rank, right.rank)
    left, right = (view.with_axes([*[()] * (rank - view.rank), *view.axes]) for view in (left, right))
    right = _renamed(right, rank - 1)
    left, right = aligned(
        [
            left.with_axes([*left.axes[:-2], left.axes[-2], (), left.axes[-1]]),
            right.with_axes([*right.axes[:-2], (), right.axes[-1], right.axes[-2]]),
        ]
    )
    front = range(rank - 2)
    batched = [[atom for atom in view.flat(front) if atom is not reader.batch] for view in (left, right)]
    groups = tuple(atom for atom in batched[0] if atom in batched[1])
    rows = (*(atom for atom in batched[0] if atom not in groups), *left.axes[-3])
    columns = (*(atom for atom in batched[1] if atom not in groups), *right.axes[-2])
    product = Product(left, right, groups, rows, columns, left.axes[-1])
    axes = [*(a or b for a, b in zip(left.axes[:-3], right.axes[:-3])), left.axes[-3], right.axes[-2]]
    return _fused(reader, product, axes) or _product(reader, product, axes)


def _einsum(reader: Reader, op: Any) -> Made:
    """Two operands whose letters are each of one kind: of both and kept, of both and summed over, of one and kept."""
    sides, _, target = str(op.attrs()["equation"]).replace(" ", "").partition("->")
    names = sides.split(",")
    require(len(names) == 2 and "." not in sides and target, "only a sum of products of two values is known")
    require(all(len({*each}) == len(each) for each in (*names, target)), "a letter stands twice in one value")
    left, right = names
    parts = op.operand_source(0).get_defining_op().operands_source()
    symbols = [reader.symbol(part) for part in parts]
    weights = [i for i, one in enumerate(symbols) if isinstance(one, np.ndarray) and one.dtype != object]
    if len(weights) == 1:
        [i] = weights
        view, name = reader.view_of(parts[1 - i]), reader.name(op, 0, i)
        return weighed(reader, view, names[1 - i], np.asarray(symbols[i], np.float64), names[i], target, name)
    views = [_operand_of(reader, one) for one in symbols]
    both = [letter for letter in left if letter in right]
    groups = [letter for letter in both if letter in target]
    depth = [letter for letter in both if letter not in target]
    free = [[letter for letter in name if letter not in both] for name in names]
    require(all(letter in target for letter in (*free[0], *free[1])), "a letter of one value alone is summed over")
    sizes = {letter: size for name, view in zip(names, views) for letter, size in zip(name, view.shape)}

    def ordered(view: View, name: str, rows: list[str], columns: list[str]) -> View:
        merged = [view.flat(name.index(letter) for letter in letters) for letters in (rows, columns)]
        return view.with_axes([*(view.axes[name.index(letter)] for letter in groups), *merged])

    made = multiplied(reader, ordered(views[0], left, free[0], depth), ordered(views[1], right, depth, free[1]))
    whole = [*groups, *free[0], *free[1]]
    front = [made.shape[i] for i in range(len(groups))]
    made = reader.reshaped(made, [*front, *(sizes[letter] for letter in (*free[0], *free[1]))])
    return made.transposed([whole.index(letter) for letter in target])


# ---- one product -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Side:
    view: View
    sum: str  # "channels" or "pixels": what is summed over
    groups: Axis
    depth: Axis
    free: Axis


def _as_it_lies(view: View, groups: Axis, depth: Axis, free: Axis) -> _Side | None:
    """How an operand can be read where it lies: (groups, depth | free) or (groups, free | depth)."""
    first, rest = view.channels[: len(groups)], view.channels[len(groups) :]
    if {*first} != {*groups}:
        return None
    if {*rest} == {*depth} and {*view.pixels} == {*free}:
        return _Side(view, "channels", first, rest, view.pixels)
    if {*rest} == {*free} and {*view.pixels} == {*depth}:
        return _Side(view, "pixels", first, view.pixels, rest)
    return None


def _product(reader: Reader, product: Product, axes: list[Axis]) -> View:
    groups, depth = product.groups, product.depth
    require(not any(atom.is_open for atom in groups), "as many products as the input's size says")
    sides = [(product.left, product.rows), (product.right, product.columns)]
    found = [_as_it_lies(view, groups, depth, free) for view, free in sides]
    model = next((side for side in found if side is not None), None)
    if model is not None:
        groups, depth = model.groups, model.depth
    done = []
    for (view, free), side in zip(sides, found):
        if side is None or (side.groups, side.depth) != (groups, depth):
            side = _Side(
                reader.arranged(view, channels=(*groups, *depth), pixels=free), "channels", groups, depth, free
            )
        done.append(side)
    left, right = done
    words: dict[str, int | str] = {"groups": prod(atom.extent for atom in groups), "sum": f"{left.sum},{right.sum}"}
    layer = Layer("matmul", (left.view.layer, right.view.layer), words=words)
    planes = (right.view.height, right.view.width) if right.sum == "channels" else ((), right.free)
    made = View(layer, tuple(axes), (*groups, *left.free), *planes)
    reader.notes[layer] = replace(product, groups=groups, rows=left.free)
    return made


# ---- a whole attention -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Scores:
    """Scores before their softmax: factor * product + what is added."""

    product: Product
    factor: float
    causal: bool
    bias: tuple[Layer, ...]  # constants
    mask: Layer | None


def _scores(reader: Reader, layer: Layer) -> _Scores | None:
    """What a chain of sums and scales behind a product computes; None if it is something else."""
    factor, causal, bias, mask = 1.0, False, list[Layer](), None
    while layer not in reader.notes:
        if layer.act != "none" and layer.kind != "activation":
            return None
        scale = _scale_of(layer)
        if scale is not None:
            factor, layer = factor * scale, layer.inputs[0]
        elif layer.kind == "add" and factor == 1.0:
            a, b = layer.inputs
            layer, other = (a, b) if _leads_to_product(reader, a) else (b, a)
            if _is_causal(other):
                causal = True
            elif other.kind == "constant":
                bias.append(other)
            elif mask is None:
                mask = other.inputs[0] if other.kind == "repeat" else other
            else:
                return None
        else:
            return None
    product = reader.notes[layer]
    return _Scores(product, factor, causal, tuple(bias), mask) if isinstance(product, Product) else None


def _leads_to_product(reader: Reader, layer: Layer) -> bool:
    while layer not in reader.notes:
        if layer.kind == "add":
            return any(_leads_to_product(reader, each) for each in layer.inputs)
        if _scale_of(layer) is None:
            return False
        layer = layer.inputs[0]
    return isinstance(reader.notes[layer], Product)


def _scale_of(layer: Layer) -> float | None:
    """By what a layer multiplies every number, if it does no more."""
    if layer.kind == "activation" and layer.act.startswith("linear:"):
        scale, shift = map(float, layer.act.split(":")[1:])
        return scale if shift == 0 else None
    if layer.kind == "affine" and layer.act == "none" and not layer.bias.any() and len({*layer.weight.tolist()}) == 1:
        return float(layer.weight[0])
    return None


def _is_causal(layer: Layer) -> bool:
    """Whether a layer is very low where a key comes after the query, and 0 elsewhere."""
    if layer.kind != "triangle" or (layer.words["upper"], layer.words["diagonal"]) != (1, 1):
        return False
    kind, *ends = layer.inputs[0].act.split(":")
    return kind == "clamp" and ends[0] == ends[1] and float(ends[0]) <= _NEVER


def _fused(reader: Reader, outer: Product, axes: list[Axis]) -> View | None:
    """weights times values, where the weights are a softmax of scores; None if it is something else."""
    weights = outer.left
    soft = weights.layer
    if soft.kind != "softmax" or soft.words.get("over") not in ("width", "pixels") or soft.words.get("log"):
        return None
    scores = _scores(reader, soft.inputs[0])
    if scores is None or not _same_sizes(weights, scores.product):
        return None
    inner = scores.product
    count = len(inner.groups)
    new = dict(zip((*inner.groups, *inner.rows), weights.channels))
    if {*weights.channels[:count]} != {*outer.groups} or any(
        atom not in inner.left.channels + inner.left.pixels for atom in inner.groups
    ):
        return None
    heads = tuple(atom for atom in inner.groups if atom in inner.left.channels)
    windows = tuple(atom for atom in inner.groups if atom not in heads)
    if any(atom.is_open for atom in heads) or any(atom.is_open for atom in inner.depth):
        return None
    size, width = (prod(atom.extent for atom in axis) for axis in (inner.depth, outer.columns))
    if any(atom.is_open for atom in outer.columns):
        return None
    if any(atom.is_open for atom in windows) or (scores.mask is not None and windows):
        return None
    q = reader.arranged(inner.left, channels=(*heads, *inner.depth), pixels=(*windows, *inner.rows))
    k = reader.arranged(inner.right, channels=(*heads, *inner.depth), pixels=(*windows, *inner.columns))
    theirs = [tuple(new[atom] for atom in axis) for axis in (heads, windows)]
    v = reader.arranged(outer.right, channels=(*theirs[0], *outer.columns), pixels=(*theirs[1], *outer.depth))
    bias, causal = _bias(scores, heads, windows)
    if bias is None:
        return None
    q_layer, factor = _without_scale(q.layer, scores.factor)
    k_layer, factor = _without_scale(k.layer, factor)
    inputs, at = zip(*map(_without_slice, (q_layer, k_layer, v.layer)))
    words: dict[str, int | str] = {
        "heads": prod(atom.extent for atom in heads),
        "windows": prod(atom.extent for atom in windows),
        "size": f"{size},{size},{width}",
        "at": ",".join(map(str, at)),
        "step": f"{size},{size},{width}",
        "factor": repr(factor),
        "causal": int(causal),
    }
    if bias.size:
        words["bias"] = ",".join(map(str, bias.shape))
    if scores.mask is not None:
        words["mask"] = 1
        inputs = (*inputs, scores.mask)
    layer = Layer("attention", tuple(inputs), weight=bias.ravel(), words=words)
    height, width_atoms = (tuple(new[atom] for atom in slot) for slot in (q.height, q.width))
    return View(layer, tuple(axes), (*theirs[0], *outer.columns), height, width_atoms)


def _same_sizes(weights: View, inner: Product) -> bool:
    """Whether the softmax still has the order of the product behind it."""
    mine, theirs = weights.channels, (*inner.groups, *inner.rows)
    return len(mine) == len(theirs) and all(size_of((a,)) == size_of((b,)) for a, b in zip(mine, theirs))


def _without_scale(layer: Layer, factor: float) -> tuple[Layer, float]:
    """What a layer that only scales reads, and the factor of the scores with that scale in it."""
    scale = _scale_of(layer)
    return (layer, factor) if scale is None else (layer.inputs[0], factor * scale)


def _without_slice(layer: Layer) -> tuple[Layer, int]:
    """What a slice of channels reads, and its first channel; the kernel takes its channels from anywhere."""
    words = layer.words
    if layer.kind == "slice" and words["axis"] == "channels" and words["step"] == 1 and "count" in words:
        return layer.inputs[0], int(words["start"])
    return layer, 0


def _bias(scores: _Scores, heads: Axis, windows: Axis) -> tuple[np.ndarray | None, bool]:
    """The sum of the constants that are added, as [windows, heads, keys, queries] with 1 where it does not vary; and
    whether it only lets no query see what comes after it. Nothing, if nothing is added; None if it cannot be said."""
    inner = scores.product
    if scores.causal and (size_of(inner.rows) != size_of(inner.columns)):
        return None, False
    if not scores.bias:
        return np.zeros(0), scores.causal
    queries, keys = known(inner.rows), known(inner.columns)
    if queries is None or keys is None:
        return None, False
    extents = [atom.extent for atom in inner.groups]
    whole = np.zeros((prod(extents), queries, keys))
    for constant in scores.bias:
        channels = int(constant.words.get("channels", 1))
        if channels not in (1, whole.shape[0] * queries):
            return None, False
        planes = constant.weight.reshape(channels, -1)
        whole = whole + (planes.reshape(1, 1, -1) if channels == 1 else planes.reshape(*whole.shape[:2], -1))
    order = [inner.groups.index(atom) for atom in (*windows, *heads)]
    bias = whole.reshape(*extents, queries, keys).transpose(*order, len(extents) + 1, len(extents))
    bias = bias.reshape(prod(a.extent for a in windows), prod(a.extent for a in heads), keys, queries)
    for axis in (0, 1):
        if (bias == bias.take([0], axis)).all():
            bias = bias.take([0], axis)
    seen = np.tri(queries, keys, dtype=bool).T
    only_later = (bias[..., ~seen] <= _NEVER).all() and not bias[..., seen].any()
    if bias.shape[:2] == (1, 1) and queries == keys and only_later:
        return np.zeros(0), True
    return bias, scores.causal


def _triangle(upper: bool) -> Converter:
    def convert(reader: Reader, op: Any) -> Made:
        view, diagonal = reader.view(op, 0), int(op.attrs()["diagonal"])
        rows, columns = view.axes[-2], view.axes[-1]
        rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in (*rows, *columns))
        require(not any(atom.is_open for atom in rest), "as many triangles as the input's size says")
        view = reader.arranged(view, channels=(*rest, *rows), pixels=columns)
        words: dict[str, int | str] = {
            "groups": prod(atom.extent for atom in rest),
            "diagonal": diagonal,
            "upper": int(upper),
        }
        return view.of(Layer("triangle", (view.layer,), words=words))

    return convert


OPS: dict[str, Converter] = {
    "matmul": matmul,
    "bmm": matmul,
    "mv": matmul,
    "einsum": _einsum,
    "triu": _triangle(True),
    "tril": _triangle(False),
}
