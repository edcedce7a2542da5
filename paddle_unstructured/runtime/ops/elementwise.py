# SPDX-License-Identifier: Apache-2.0
"""Number by number: activations, scales, and arithmetic of two values that broadcast against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import numpy as np

from ..meet import meet, meet_symbols
from ..net import Layer, activate, affine
from ..reader import Reader, Symbol
from ..refusals import Refusal
from ..views import Axis, Prefix, View, known, spread_over
from .common import Converter, Made, either_order, folded_over, number, require

_HIDDEN = -1e8  # float32 does not tell such a score from the same with another added to it


def activation(word: Callable[[Reader, Any], str]) -> Converter:
    """A converter of an op that does the same to every number; `word` says it in the plan's language."""

    def convert(reader: Reader, op: Any) -> Made:
        view = reader.view(op, 0)
        return view.of(activate(view.layer, word(reader, op), alone=reader.alone(op, 0)))

    return convert


def _named(act: str, *attributes: str) -> Converter:
    """An activation whose parameters are attributes of the op."""
    return activation(lambda reader, op: ":".join([act, *(repr(float(op.attrs()[name])) for name in attributes)]))


def _attribute(op: Any, name: str) -> str:
    return repr(float(op.attrs()[name]))


def _gelu(reader: Reader, op: Any) -> str:
    return "gelu_tanh" if op.attrs().get("approximate") else "gelu"


def _round(reader: Reader, op: Any) -> str:
    require(not op.attrs().get("decimals"), "it rounds to decimals")
    return "round"


def _clip(reader: Reader, op: Any) -> str:
    return f"clamp:{number(reader, op, 1)!r}:{number(reader, op, 2)!r}"


def _scaled(reader: Reader, op: Any, view: View, scale: Any, shift: Any) -> View:
    """view * scale + shift, of numbers that broadcast against it and vary with its channels at most."""
    made = scaled(view, scale, shift, alone=reader.alone(op, 0 if reader.operand(op, 0) is view else 1))
    require(made is not None, _varies(scale, shift))
    assert made is not None
    return made


def scaled(view: View, scale: Any, shift: Any, *, alone: bool) -> View | None:
    """view * scale + shift; None if these vary with more than its channels. `alone`: nobody else reads the layer."""
    over = folded_over(view, alone=alone)
    factor, offset = (_per_channel(view, over, np.asarray(each, np.float64)) for each in (scale, shift))
    if factor is not None and offset is not None:
        return view.of(affine(view.layer, factor, offset, alone=alone))
    if np.size(scale) != 1 or np.size(shift) != 1:
        return None
    act = f"linear:{float(np.ravel(scale)[0])!r}:{float(np.ravel(shift)[0])!r}"
    return view.of(activate(view.layer, act, alone=alone))


def _per_channel(view: View, over: Axis, constant: np.ndarray) -> np.ndarray | None:
    if any(atom.is_open for atom in over):
        return None
    return spread_over(constant, view, over)


def _varies(*constants: Any) -> str:
    shape = max((list(np.shape(each)) for each in constants), key=len)
    return f"a constant of shape {shape} is not one number for each channel"


def _scale(reader: Reader, op: Any) -> Made:
    attributes, factor, view = op.attrs(), number(reader, op, 1), reader.view(op, 0)
    shift = attributes["bias"] if attributes.get("bias_after_scale", True) else attributes["bias"] * factor
    return _scaled(reader, op, view, factor, shift)


def _with_constant(reader: Reader, op: Any, kind: str) -> Made | None:
    """An op of a constant and an activation as a scale and a shift for each channel; None if it is not that."""
    first = reader.is_constant(op, 0)
    view, constant = reader.view(op, int(first)), reader.constant(op, int(not first)).astype(np.float64)
    if constant.ndim > view.rank:
        return None
    folded: dict[str, tuple[Any, Any]] = {
        "add": (1.0, constant),
        "multiply": (constant, 0.0),
        "subtract": (-1.0, constant) if first else (1.0, -constant),
    }
    if kind == "divide" and not first:
        folded["divide"] = (1.0 / constant, 0.0)
    if kind not in folded:
        return None
    over = folded_over(view, alone=reader.alone(op, int(first)))
    if constant.size > 1 and any(_per_channel(view, over, np.asarray(each)) is None for each in folded[kind]):
        return None
    return _scaled(reader, op, view, *folded[kind])


def _changes_nothing(reader: Reader, op: Any, i: int) -> bool:
    """Whether operand i is zero everywhere and no larger than the other one: how `where` broadcasts."""
    constant, other = reader.constant(op, i), reader.operand(op, 1 - i)
    if not isinstance(other, View) or constant.any() or constant.ndim > other.rank:
        return False
    extents = (1,) * (other.rank - constant.ndim) + constant.shape
    return all(extent == 1 or known(axis) == extent for extent, axis in zip(extents, other.axes))


def _add_n(reader: Reader, op: Any) -> Made:
    parts = reader.operand(op, 0)
    if not isinstance(parts, tuple) or not all(isinstance(part, View) for part in parts):
        raise Refusal("a list of activations is expected")
    total: View = parts[0]
    for part in parts[1:]:
        total = pair(reader, "add", total, part)
    return total


def _tanh_shrink(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    return pair(reader, "subtract", view, view.of(Layer("activation", (view.layer,), act="tanh")))


def _binary(kind: str) -> Converter:
    def convert(reader: Reader, op: Any) -> Made:
        constants = [i for i in (0, 1) if reader.is_constant(op, i)]
        if constants:
            if kind == "add" and _changes_nothing(reader, op, constants[0]):
                return reader.view(op, 1 - constants[0])
            made = _with_constant(reader, op, kind)
            if made is not None:
                return made
        a, b, like, repeats = meet(reader, op)
        plain = repeats == "" or (repeats == "pixels" and kind == "multiply")
        return like.of(Layer(kind, (a, b), words={} if plain else {"repeats": repeats}))

    return convert


def _swapped(kind: str) -> Converter:
    """A comparison as the one of its operands the other way round."""

    def convert(reader: Reader, op: Any) -> Made:
        a, b, like, repeats = meet(reader, op)
        return like.of(Layer(kind, (b, a), words={"repeats": repeats} if repeats else {}))

    return convert


def pair(reader: Reader, kind: str, a: Symbol, b: Symbol) -> View:
    """A function of two values that broadcast."""
    one, other, like, repeats = meet_symbols(reader, a, b)
    return like.of(Layer(kind, (one, other), words={"repeats": repeats} if repeats else {}))


def _where(reader: Reader, op: Any) -> Made:
    return _chosen(reader, *(reader.operand(op, i) for i in range(3)))


def _masked_fill(reader: Reader, op: Any) -> Made:
    return _chosen(reader, *(reader.operand(op, i) for i in (1, 2, 0)))


def _chosen(reader: Reader, condition: Symbol, yes: Symbol, no: Symbol) -> View:
    """condition ? yes : no, as the sum of what one keeps and the other drops, 0 elsewhere.

    What replaces scores that must not count is added to them instead: an attention then takes it in.
    """
    for one, other, inverse in ((yes, no, False), (no, yes, True)):
        low = _one_number(other)
        if isinstance(one, View) and low is not None and low <= _HIDDEN and isinstance(condition, (np.ndarray, Prefix)):
            shown = condition.array if isinstance(condition, Prefix) else condition
            added = np.where((shown == 0) if inverse else (shown != 0), 0.0, low)
            return pair(reader, "add", one, replace(condition, array=added) if isinstance(condition, Prefix) else added)
    parts = [_part(reader, kind, condition, each) for kind, each in (("keep", yes), ("drop", no))]
    if any(isinstance(part, View) for part in parts):
        return pair(reader, "add", parts[0], parts[1])
    raise Refusal("a choice between constants by a constant")


def _part(reader: Reader, kind: str, condition: Symbol, each: Symbol) -> Symbol:
    number = _one_number(each)
    if number is not None and isinstance(each, np.ndarray):
        each = np.full((1,) * each.ndim, number)
    if isinstance(condition, np.ndarray) and isinstance(each, np.ndarray):
        return np.where(condition != 0, each if kind == "keep" else 0.0, 0.0 if kind == "keep" else each)
    return pair(reader, kind, condition, each)


def _one_number(symbol: Symbol) -> float | None:
    """The number of a constant that is the same everywhere."""
    if not isinstance(symbol, np.ndarray) or symbol.dtype == object or not symbol.size:
        return None
    first = float(symbol.ravel()[0])
    return first if (symbol == first).all() else None


def _pow(reader: Reader, op: Any) -> Made:
    view, exponent = reader.view(op, 0), float(op.attrs()["y"]) if "y" in op.attrs() else number(reader, op, 1)
    return view.of(activate(view.layer, f"pow:{exponent!r}", alone=reader.alone(op, 0)))


def _elementwise_pow(reader: Reader, op: Any) -> Made:
    require(reader.is_constant(op, 1) and reader.constant(op, 1).size == 1, "only a power by one constant is known")
    return _pow(reader, op)


def _dropout(reader: Reader, op: Any) -> Made:
    attributes, view = op.attrs(), reader.view(op, 0)
    require(attributes["is_test"], "it is in training mode")
    if attributes["mode"] == "upscale_in_train":
        return view
    return _scaled(reader, op, view, 1.0 - number(reader, op, 2), 0.0)


def _prelu(reader: Reader, op: Any) -> Made:
    attributes, view, slope = op.attrs(), reader.view(op, 0), reader.constant(op, 1).astype(np.float64).ravel()
    require(attributes["mode"] in ("all", "channel"), f"the mode {attributes['mode']} is not known")
    if len(slope) == 1:
        return view.of(activate(view.layer, f"leaky_relu:{float(slope[0])!r}", alone=reader.alone(op, 0)))
    view = reader.tokens(view, [1])
    return view.of(Layer("prelu", (view.layer,), weight=slope, words={"out": len(slope)}))


def _cast(reader: Reader, op: Any) -> Made:
    view, name = reader.view(op, 0), _dtype(op.result(0))
    if name == "bool":
        made: View = truth(reader, op, 0)
        return made
    whole = "int" in name and "float" in _dtype(op.operand_source(0))
    return view.of(activate(view.layer, "trunc", alone=False)) if whole else view


def _dtype(value: Any) -> str:
    return str(value.dtype).split(".")[-1].lower()


def truth(reader: Reader, op: Any, i: int) -> Any:
    """An operand as 1 and 0: whether it is not 0."""
    found = reader.operand(op, i)
    if _dtype(op.operand_source(i)) == "bool":
        return found
    if isinstance(found, np.ndarray):
        return found != 0
    view = reader.view(op, i)
    return pair(reader, "not_equal", view, np.zeros([1] * view.rank))


def _logical(kind: str) -> Converter:
    """A function of truths, which any numbers may stand for."""

    def convert(reader: Reader, op: Any) -> Made:
        sides = [truth(reader, op, i) for i in (0, 1)]
        constants = [i for i in (0, 1) if isinstance(sides[i], np.ndarray)]
        if kind == "maximum" and constants and not sides[constants[0]].any():
            sides[constants[0]] = np.zeros([1] * np.ndim(sides[constants[0]]))
        return pair(reader, kind, sides[0], sides[1])

    return convert


def _not(reader: Reader, op: Any) -> Made:
    view: View = truth(reader, op, 0)
    return view.of(activate(view.layer, "linear:-1.0:1.0", alone=False))


def _bitwise(convert: Converter) -> Converter:
    """A function of bits as one of truths."""

    def converted(reader: Reader, op: Any) -> Made:
        require(_dtype(op.operand_source(0)) == "bool", "bits of whole numbers are not known")
        return convert(reader, op)

    return converted


def _remainder(reader: Reader, op: Any) -> Made:
    """a - floor(a / b) * b."""
    whole = pair(reader, "multiply", _floored(reader, op), _side(reader, op, 1))
    return pair(reader, "subtract", _side(reader, op, 0), whole)


def _floored(reader: Reader, op: Any) -> View:
    require("int" in _dtype(op.result(0)), "a division of real numbers that is rounded")
    made = pair(reader, "divide", _side(reader, op, 0), _side(reader, op, 1))  # no product: 49 * (1 / 49) is below 1
    return made.of(Layer("activation", (made.layer,), act="floor"))


def _side(reader: Reader, op: Any, i: int) -> Symbol:
    found = reader.operand(op, i)
    return found.astype(np.float64) if isinstance(found, np.ndarray) and found.dtype != object else found


def _one_hot(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    return pair(reader, "equal", view.with_axes([*view.axes, ()]), np.arange(int(number(reader, op, 1))))


def _same(reader: Reader, op: Any) -> Made:
    return reader.view(op, 0)


OPS: dict[str, Converter] = {
    "scale": _scale,
    "full_batch_size_like": lambda reader, op: np.full([1] * len(op.attrs()["shape"]), op.attrs()["value"]),
    **{kind: _binary(kind) for kind in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    "fmax": _binary("maximum"),
    "fmin": _binary("minimum"),
    "relu": _named("relu"),
    "relu6": _named("relu6"),
    "hardswish": _named("hard_swish"),
    "hardsigmoid": _named("hard_sigmoid", "slope", "offset"),
    "sigmoid": _named("sigmoid"),
    "silu": _named("swish"),
    "swish": _named("swish"),
    "leaky_relu": _named("leaky_relu", "negative_slope"),
    "tanh": _named("tanh"),
    "gelu": activation(_gelu),
    "clip": activation(_clip),
    "hardtanh": _named("clamp", "t_min", "t_max"),
    "equal": _binary("equal"),
    "not_equal": _binary("not_equal"),
    "less_than": _binary("less"),
    "less_equal": _binary("less_equal"),
    "greater_than": _swapped("less"),
    "greater_equal": _swapped("less_equal"),
    "logical_and": _logical("multiply"),
    "logical_or": _logical("maximum"),
    "logical_xor": _logical("not_equal"),
    "logical_not": _not,
    "floor_divide": _floored,
    "remainder": _remainder,
    "where": _where,
    "masked_fill": _masked_fill,
    "elu": activation(lambda reader, op: f"elu:{_attribute(op, 'alpha')}:1.0"),
    "celu": activation(lambda reader, op: f"elu:{_attribute(op, 'alpha')}:{_attribute(op, 'alpha')}"),
    "selu": _named("selu", "scale", "alpha"),
    "mish": _named("mish"),
    "softplus": _named("softplus", "beta", "threshold"),
    "softsign": _named("softsign"),
    "logsigmoid": _named("log_sigmoid"),
    "hardshrink": _named("hard_shrink", "threshold"),
    "hard_shrink": _named("hard_shrink", "threshold"),
    "softshrink": _named("soft_shrink", "threshold"),
    "thresholded_relu": _named("thresholded", "threshold", "value"),
    **{kind: _named(kind) for kind in ("exp", "log", "sqrt", "rsqrt", "square", "abs", "reciprocal", "sin", "cos")},
    **{kind: _named(kind) for kind in ("floor", "ceil", "trunc", "sign")},
    "round": activation(_round),
    "tanh_shrink": _tanh_shrink,
    "bitwise_and": _bitwise(_logical("multiply")),
    "bitwise_or": _bitwise(_logical("maximum")),
    "bitwise_xor": _bitwise(_logical("not_equal")),
    "bitwise_not": _bitwise(_not),
    "add_n": _add_n,
    "pow": _pow,
    "elementwise_pow": _elementwise_pow,
    "prelu": either_order(_prelu),
    "dropout": _dropout,
    "cast": _cast,
    "one_hot": _one_hot,
    "assign": _same,
    "share_data": _same,
}
# An op that ends with "_" does its work in place, which makes no difference here.
OPS.update({f"{kind}_": convert for kind, convert in list(OPS.items())})
