# SPDX-License-Identifier: Apache-2.0
"""Ops of a saved Program as an ONNX model, for what `Session` leaves to ONNX Runtime; nothing here knows Paddle.

Each op of the tables becomes one node or a few; an op that is not in them is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Sequence

import numpy as np

from ..formats.pdiparams import DTYPES
from ..formats.pir_json import attribute

OPSET = 17
_WORDS = {f"0.t_{dtype.word}": dtype.numpy for dtype in DTYPES.values()}
Op = Dict[str, Any]
Converter = Callable[["Builder", Op], object]  # appends nodes


@dataclass
class Builder:
    """Nodes of one ONNX model, while it is made.

    Attributes:
        types: value of the Program -> its type, as the file holds it.
        known: value -> its numbers, where no input reaches it.
    """

    types: Mapping[int, Any]
    known: dict[int, np.ndarray] = field(default_factory=dict)
    lists: dict[int, list[str]] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def names(self, op: Op) -> list[str]:
        """Those of what an op reads."""
        return [self.name(one["%"]) for one in op["I"]]

    def name(self, value: int) -> str:
        if value in self.known and f"v{value}" not in self.constants:
            self.constants[f"v{value}"] = self.known[value]
        return f"v{value}"

    def constant(self, numbers: Any, dtype: str = "int64") -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(numbers, dtype)
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str] | int = 1, **words: Any) -> list[str]:
        """Append a node; `outputs` are names, or how many."""
        from onnx import helper

        if isinstance(outputs, int):
            outputs = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), **words))
        return list(outputs)

    def rank(self, value: int) -> int:
        return len(self.types[value]["D"][1])

    def dtype(self, value: int) -> str:
        return _WORDS[self.types[value]["D"][0]["#"]]

    def numbers(self, op: Op, i: int) -> list[int] | None:
        """An operand that is a list of whole numbers; None if it depends on inputs."""
        found = self.known.get(op["I"][i]["%"])
        return None if found is None else [int(x) for x in found.ravel()]


def word(op: Op, name: str, default: Any = None) -> Any:
    """An attribute of an op, as Python has it."""
    found = attribute(op["A"], name)
    if found is None:
        return default
    if isinstance(found, list):
        return [one["D"] if isinstance(one, dict) else one for one in found]
    return found


def _out(op: Op) -> list[str]:
    return [f"v{one['%']}" for one in op["O"]]


def _number(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


_SAME = {  # one node of the same inputs
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "sign": "Sign",
    "logical_not": "Not",
    "reciprocal": "Reciprocal",
    "softsign": "Softsign",
    "isnan_v2": "IsNaN",
    "isnan": "IsNaN",
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "elementwise_pow": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "equal": "Equal",
    "less_than": "Less",
    "less_equal": "LessOrEqual",
    "greater_than": "Greater",
    "greater_equal": "GreaterOrEqual",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
    "where": "Where",
    "atan": "Atan",
    "asin": "Asin",
    "acos": "Acos",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tan": "Tan",
    "bmm": "MatMul",
    "assign": "Identity",
    "share_data": "Identity",
    "hardswish": "HardSwish",
}
_REDUCED = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd", "sum": "ReduceSum"}


def _matmul(b: Builder, op: Op) -> None:
    inputs = b.names(op)
    for i, side in enumerate(("transpose_x", "transpose_y")):
        if word(op, side):
            rank = b.rank(op["I"][i]["%"])
            order = [*range(rank - 2), rank - 1, rank - 2]
            inputs[i] = b.node("Transpose", [inputs[i]], perm=order)[0]
    b.node("MatMul", inputs, _out(op))


def _reduced(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        axes = b.numbers(op, 1) if len(op["I"]) > 1 else word(op, "axis", [])
        words: dict[str, Any] = {"keepdims": int(bool(word(op, "keepdim", False)))}
        inputs = b.names(op)[:1]
        if kind == "ReduceSum":
            inputs += [b.constant(axes)] if axes else []
        elif axes:
            words["axes"] = axes
        b.node(kind, inputs, _out(op), **words)

    return convert


def _truth(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        whole = b.node("Cast", b.names(op)[:1], to=_number("int32"))
        axes = word(op, "axis", [])
        words: dict[str, Any] = {"axes": axes} if axes else {}
        found = b.node(kind, whole, keepdims=int(bool(word(op, "keepdim", False))), **words)
        b.node("Cast", found, _out(op), to=_number("bool"))

    return convert


def _scale(b: Builder, op: Op) -> None:
    x, factor = b.names(op)
    dtype = b.dtype(op["I"][0]["%"])
    factor, shift = b.node("Cast", [factor], to=_number(dtype))[0], b.constant(word(op, "bias", 0.0), dtype)
    if word(op, "bias_after_scale", True):
        b.node("Add", [b.node("Mul", [x, factor])[0], shift], _out(op))
    else:
        b.node("Mul", [b.node("Add", [x, shift])[0], factor], _out(op))


def _cast_operands(kind: str, count: int) -> Converter:
    """Operands behind the first become lists of int64."""

    def convert(b: Builder, op: Op) -> None:
        inputs = b.names(op)[:count]
        rest = [b.node("Cast", [name], to=_number("int64"))[0] for name in inputs[1:]]
        b.node(kind, [inputs[0], *rest], _out(op))

    return convert


def _transpose(b: Builder, op: Op) -> None:
    b.node("Transpose", b.names(op), _out(op), perm=word(op, "perm"))


def _axes_known(b: Builder, op: Op, i: int) -> list[int]:
    found = b.numbers(op, i)
    if found is None:
        raise ValueError("its axes depend on the input")
    return found


def _squeeze(kind: str) -> Converter:
    return lambda b, op: b.node(kind, [b.names(op)[0], b.constant(_axes_known(b, op, 1))], _out(op))


def _flatten(b: Builder, op: Op) -> None:
    rank = b.rank(op["I"][0]["%"])
    first, last = word(op, "start_axis") % rank, word(op, "stop_axis") % rank
    shape = b.node("Shape", b.names(op)[:1])[0]
    ends = [
        b.node("Slice", [shape, b.constant([low]), b.constant([high])])[0]
        for low, high in ((0, first), (last + 1, rank))
    ]
    target = b.node("Concat", [ends[0], b.constant([-1]), ends[1]], axis=0)
    b.node("Reshape", [b.names(op)[0], *target], _out(op))


def _concat(b: Builder, op: Op) -> None:
    parts = b.lists[op["I"][0]["%"]]
    axis = _axes_known(b, op, 1)[0]
    b.node("Concat", parts, _out(op), axis=axis)


def _stack(b: Builder, op: Op) -> None:
    axis = word(op, "axis")
    parts = [b.node("Unsqueeze", [part, b.constant([axis])])[0] for part in b.lists[op["I"][0]["%"]]]
    b.node("Concat", parts, _out(op), axis=axis)


def _split(b: Builder, op: Op) -> None:
    value = op["O"][0]["%"]
    count = len(b.types[value]["D"])
    axis = _axes_known(b, op, len(op["I"]) - 1)[0]
    sizes = b.numbers(op, 1) if len(op["I"]) == 3 else None
    inputs = [b.names(op)[0], *([b.constant(sizes)] if sizes and min(sizes) >= 0 else [])]
    if sizes and min(sizes) < 0:
        raise ValueError("one of its sizes is -1")
    b.lists[value] = b.node("Split", inputs, count, axis=axis)


def _slice(b: Builder, op: Op) -> None:
    axes, x = word(op, "axes"), b.names(op)[0]
    bounds = [b.node("Cast", [name], to=_number("int64"))[0] for name in b.names(op)[1:3]]
    dropped = word(op, "decrease_axis", [])
    made = b.node("Slice", [x, *bounds, b.constant(axes)], 1 if dropped else _out(op))
    if dropped:
        b.node("Squeeze", [*made, b.constant(dropped)], _out(op))


def _topk(b: Builder, op: Op) -> None:
    count = b.node("Reshape", [b.node("Cast", [b.names(op)[1]], to=_number("int64"))[0], b.constant([1])])
    words = {"axis": word(op, "axis", -1), "largest": int(word(op, "largest", True)), "sorted": 1}
    b.node("TopK", [b.names(op)[0], *count], _out(op), **words)


def _argsort(b: Builder, op: Op) -> None:
    rank, axis = b.rank(op["I"][0]["%"]), word(op, "axis", -1)
    shape = b.node("Shape", b.names(op)[:1])[0]
    count = b.node("Slice", [shape, b.constant([axis % rank]), b.constant([axis % rank + 1])])
    words = {"axis": axis, "largest": int(word(op, "descending", False)), "sorted": 1}
    b.node("TopK", [b.names(op)[0], *count], _out(op), **words)


def _arg(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        x, axis, keep = b.names(op)[0], _axes_known(b, op, 1)[0], int(bool(word(op, "keepdims")))
        if word(op, "flatten"):
            x, axis, keep = b.node("Reshape", [x, b.constant([-1])])[0], 0, 0
            if word(op, "keepdims"):
                raise ValueError("it looks through all axes at once, and keeps them")
        made = b.node(kind, [x], axis=axis, keepdims=keep)
        b.node("Cast", made, _out(op), to=_number(word(op, "dtype", "int64")))

    return convert


def _cumsum(b: Builder, op: Op) -> None:
    x, axis = b.names(op)[0], _axes_known(b, op, 1)[0]
    if word(op, "flatten"):
        x, axis = b.node("Reshape", [x, b.constant([-1])])[0], 0
    words = {"exclusive": int(bool(word(op, "exclusive"))), "reverse": int(bool(word(op, "reverse")))}
    b.node("CumSum", [x, b.constant(axis)], _out(op), **words)


def _gather(b: Builder, op: Op) -> None:
    x, index = b.names(op)[:2]
    axis = _axes_known(b, op, 2)[0] if len(op["I"]) > 2 else word(op, "axis", 0)
    b.node("Gather", [x, index], _out(op), axis=axis)


def _softmax(kind: str) -> Converter:
    return lambda b, op: b.node(kind, b.names(op), _out(op), axis=word(op, "axis", -1))


def _clip(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["I"][0]["%"])
    x, *ends = b.names(op)
    scalars = [b.node("Cast", b.node("Reshape", [end, b.constant([], "int64")]), to=_number(dtype))[0] for end in ends]
    b.node("Clip", [x, *scalars], _out(op))


def _full_like(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    value = b.node("Cast", [b.names(op)[1]], to=_number(dtype))[0]
    b.node("Expand", [value, *b.node("Shape", b.names(op)[:1])], _out(op))


def _shape(b: Builder, op: Op) -> None:
    b.node("Cast", b.node("Shape", b.names(op)), _out(op), to=_number(b.dtype(op["O"][0]["%"])))


def _nonzero(b: Builder, op: Op) -> None:
    b.node("Transpose", b.node("NonZero", b.names(op)), _out(op), perm=[1, 0])


def _padding(op: Op) -> dict[str, Any]:
    """That of a window."""
    algorithm, pads = word(op, "padding_algorithm", "EXPLICIT"), word(op, "paddings")
    if algorithm != "EXPLICIT":
        return {"auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[algorithm]}
    pads = [pads[0], pads[0], pads[1], pads[1]] if len(pads) == 2 else pads
    return {"pads": [pads[0], pads[2], pads[1], pads[3]]}


def _conv(b: Builder, op: Op) -> None:
    if word(op, "data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        raise ValueError("only NCHW is known")
    steps = {"strides": word(op, "strides"), "dilations": word(op, "dilations")}
    b.node("Conv", b.names(op), _out(op), **_padding(op), **steps, group=word(op, "groups", 1))


def _batch_norm(b: Builder, op: Op) -> None:
    x, mean, variance, scale, shift = b.names(op)[:5]
    b.node("BatchNormalization", [x, scale, shift, mean, variance], _out(op)[:1], epsilon=word(op, "epsilon"))


def _then(*kinds: str) -> Converter:
    """Nodes one behind the other."""

    def convert(b: Builder, op: Op) -> None:
        found = b.names(op)
        for i, kind in enumerate(kinds):
            found = b.node(kind, found, _out(op) if i == len(kinds) - 1 else 1)

    return convert


def _expand(b: Builder, op: Op) -> None:
    """Sizes of -1, which stay what they are, are 1 in ONNX."""
    x, shape = b.names(op)[:2]
    whole = b.node("Cast", [shape], to=_number("int64"))[0]
    kept = b.node("Equal", [whole, b.constant([-1])])[0]
    b.node("Expand", [x, *b.node("Where", [kept, b.constant([1]), whole])], _out(op))


def _sizes(b: Builder, op: Op, i: int) -> str:
    """An operand that is a list of sizes, or such a list of values, as one list of int64."""
    value = op["I"][i]["%"]
    parts = b.lists.get(value, [b.name(value)])
    flat = [b.node("Reshape", [b.node("Cast", [p], to=_number("int64"))[0], b.constant([-1])])[0] for p in parts]
    return flat[0] if len(flat) == 1 else b.node("Concat", flat, axis=0)[0]


def _full_with_tensor(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    value = b.node("Cast", b.node("Reshape", [b.names(op)[0], b.constant([1])]), to=_number(dtype))[0]
    b.node("Expand", [value, _sizes(b, op, 1)], _out(op))


def _arange(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    scalars = [b.node("Reshape", [name, b.constant([], "int64")])[0] for name in b.names(op)[:3]]
    b.node("Range", [b.node("Cast", [each], to=_number(dtype))[0] for each in scalars], _out(op))


def _floor_divide(b: Builder, op: Op) -> None:
    """Paddle rounds to minus infinity, ONNX whole numbers to 0: so it is done in float64."""
    a, c = (b.node("Cast", [name], to=_number("float64"))[0] for name in b.names(op))
    made = b.node("Floor", b.node("Div", [a, c]))
    b.node("Cast", made, _out(op), to=_number(b.dtype(op["O"][0]["%"])))


def _remainder(b: Builder, op: Op) -> None:
    """The sign of the divisor, as Paddle has it: a - floor(a / b) * b."""
    a, c = (b.node("Cast", [name], to=_number("float64"))[0] for name in b.names(op))
    whole = b.node("Mul", [b.node("Floor", b.node("Div", [a, c]))[0], c])
    b.node("Cast", b.node("Sub", [a, *whole]), _out(op), to=_number(b.dtype(op["O"][0]["%"])))


def _meshgrid(b: Builder, op: Op) -> None:
    parts = b.lists[op["I"][0]["%"]]
    flat = [b.node("Reshape", [part, b.constant([-1])])[0] for part in parts]
    shape = b.node("Concat", [b.node("Shape", [each])[0] for each in flat], axis=0)[0]
    made = []
    for i, each in enumerate(flat):
        own = b.constant([-1 if k == i else 1 for k in range(len(flat))])
        made += b.node("Expand", [b.node("Reshape", [each, own])[0], shape])
    b.lists[op["O"][0]["%"]] = made


def _along_axis(b: Builder, op: Op) -> None:
    """Indices broadcast against what they choose from, but for the axis."""
    x, index = b.names(op)[:2]
    rank, axis = b.rank(op["I"][0]["%"]), word(op, "axis", 0)
    i = axis % rank
    own, theirs = (b.node("Shape", [name])[0] for name in (x, index))
    cuts = ((0, i, own), (i, i + 1, theirs), (i + 1, rank, own))
    parts = [b.node("Slice", [s, b.constant([low]), b.constant([high])])[0] for low, high, s in cuts if low < high]
    shape = b.node("Concat", parts, axis=0)[0]
    b.node("GatherElements", [x, *b.node("Expand", [index, shape])], _out(op), axis=axis)


def _one_hot(b: Builder, op: Op) -> None:
    depth = b.node("Cast", [b.names(op)[1]], to=_number("int64"))[0]
    dtype = b.dtype(op["O"][0]["%"])
    b.node("OneHot", [b.names(op)[0], depth, b.constant([0, 1], dtype)], _out(op), axis=-1)


def _pool(b: Builder, op: Op) -> None:
    if word(op, "data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        raise ValueError("only NCHW is known")
    size, average = _axes_known(b, op, 1), word(op, "pooling_type") == "avg"
    if word(op, "global_pooling") or (word(op, "adaptive") and size == [1, 1]):
        b.node("GlobalAveragePool" if average else "GlobalMaxPool", b.names(op)[:1], _out(op))
        return
    if word(op, "adaptive"):
        raise ValueError("an adaptive pool to another size than 1 is not known")
    words = {"kernel_shape": size, "strides": word(op, "strides"), "ceil_mode": int(bool(word(op, "ceil_mode")))}
    if average:
        words["count_include_pad"] = int(not word(op, "exclusive", True))
    b.node("AveragePool" if average else "MaxPool", b.names(op)[:1], _out(op), **_padding(op), **words)


def _unbind(b: Builder, op: Op) -> None:
    value, axis = op["O"][0]["%"], word(op, "axis", 0)
    parts = b.node("Split", b.names(op)[:1], len(b.types[value]["D"]), axis=axis)
    b.lists[value] = [b.node("Squeeze", [part, b.constant([axis])])[0] for part in parts]


def _roll(b: Builder, op: Op) -> None:
    x, axes, shifts = b.names(op)[0], word(op, "axis", []), b.numbers(op, 1)
    if not axes or shifts is None:
        raise ValueError("all axes are rolled as one, or as far as the input says")
    for axis, shift in zip(axes, shifts):
        ends = [b.constant([-shift]), b.constant([np.iinfo(np.int64).max]), b.constant([0])]
        parts = [b.node("Slice", [x, low, high, b.constant([axis])])[0] for low, high in (ends[:2], (ends[2], ends[0]))]
        x = b.node("Concat", parts, axis=axis)[0]
    b.node("Identity", [x], _out(op))


def _flip(b: Builder, op: Op) -> None:
    axes = word(op, "axis")
    least = np.iinfo(np.int64).min + 1
    ends = ([-1] * len(axes), [least] * len(axes), axes, [-1] * len(axes))
    b.node("Slice", [b.names(op)[0], *map(b.constant, ends)], _out(op))


def _activation(kind: str, **names: str) -> Converter:
    """An activation whose parameters are attributes under other names."""
    return lambda b, op: b.node(kind, b.names(op)[:1], _out(op), **{to: word(op, name) for to, name in names.items()})


def _softplus(b: Builder, op: Op) -> None:
    if word(op, "beta", 1.0) != 1:
        raise ValueError("only that of beta 1 is known")
    b.node("Softplus", b.names(op)[:1], _out(op))


def _silu(b: Builder, op: Op) -> None:
    x = b.names(op)[0]
    b.node("Mul", [x, *b.node("Sigmoid", [x])], _out(op))


def _gelu(b: Builder, op: Op) -> None:
    if word(op, "approximate"):
        raise ValueError("only the exact one is known")
    x, half, one, root = b.names(op)[0], *(b.constant(n, b.dtype(op["I"][0]["%"])) for n in (0.5, 1.0, 2**-0.5))
    inner = b.node("Add", [b.node("Erf", b.node("Mul", [x, root]))[0], one])
    b.node("Mul", [b.node("Mul", [x, half])[0], *inner], _out(op))


def _layer_norm(b: Builder, op: Op) -> None:
    names = [b.name(one["%"]) for one in op["I"] if one["%"] in b.types or one["%"] in b.known]
    if len(names) < 2:
        raise ValueError("one without a scale is not known")
    words = {"axis": word(op, "begin_norm_axis"), "epsilon": word(op, "epsilon")}
    b.node("LayerNormalization", names, _out(op)[:1], **words)


def _embedding(b: Builder, op: Op) -> None:
    rows, table = b.names(op)[:2]
    b.node("Gather", [table, rows], _out(op), axis=0)


def _pow(b: Builder, op: Op) -> None:
    names, dtype = b.names(op), b.dtype(op["I"][0]["%"])
    power = b.node("Cast", names[1:2], to=_number(dtype))[0] if len(names) > 1 else b.constant(word(op, "y"), dtype)
    b.node("Pow", [names[0], power], _out(op))


def _numel(b: Builder, op: Op) -> None:
    b.node("Cast", b.node("Size", b.names(op)), _out(op), to=_number(b.dtype(op["O"][0]["%"])))


def _einsum(b: Builder, op: Op) -> None:
    b.node("Einsum", b.lists[op["I"][0]["%"]], _out(op)[:1], equation=word(op, "equation").replace(" ", ""))


def _triangle(upper: int) -> Converter:
    return lambda b, op: b.node("Trilu", [*b.names(op), b.constant(word(op, "diagonal", 0))], _out(op), upper=upper)


def _expand_as(b: Builder, op: Op) -> None:
    x, *like = b.names(op)
    shape = b.node("Shape", like[:1])[0] if like else b.constant(word(op, "target_shape"))
    b.node("Expand", [x, shape], _out(op))


def _nms(b: Builder, op: Op) -> None:
    """Places of the boxes that are kept, which come the best first."""
    boxes = b.node("Unsqueeze", [b.names(op)[0], b.constant([0])])[0]
    count = b.node("Gather", [*b.node("Shape", b.names(op)[:1]), b.constant(0)], axis=0)[0]
    places = b.node("Range", [b.constant(0), count, b.constant(1)])[0]
    scores = b.node("Neg", b.node("Cast", [places], to=_number("float32")))  # they are in order already
    scores = b.node("Unsqueeze", [*scores, b.constant([0, 1])])
    limit = b.constant([word(op, "threshold")], "float32")
    kept = b.node("NonMaxSuppression", [boxes, *scores, b.node("Reshape", [count, b.constant([1])])[0], limit])
    b.node("Gather", [*kept, b.constant(2)], _out(op), axis=1)


CONVERTERS: dict[str, Converter] = {
    "embedding": _embedding,
    "pow": _pow,
    "numel": _numel,
    "einsum": _einsum,
    "triu": _triangle(1),
    "tril": _triangle(0),
    "expand_as": _expand_as,
    "nms": _nms,
    "full_with_tensor": _full_with_tensor,
    "arange": _arange,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "meshgrid": _meshgrid,
    "take_along_axis": _along_axis,
    "one_hot": _one_hot,
    "pool2d": _pool,
    "unbind": _unbind,
    "roll": _roll,
    "flip": _flip,
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "layer_norm": _layer_norm,
    "leaky_relu": _activation("LeakyRelu", alpha="negative_slope"),
    "hardsigmoid": _activation("HardSigmoid", alpha="slope", beta="offset"),
    "elu": _activation("Elu", alpha="alpha"),
    "relu6": lambda b, op: b.node(
        "Clip", [*b.names(op)[:1], *(b.constant(n, "float32") for n in (0.0, 6.0))], _out(op)
    ),
    "softplus": _softplus,
    **{name: _then(kind) for name, kind in _SAME.items()},
    **{name: _reduced(kind) for name, kind in _REDUCED.items()},
    "rsqrt": _then("Sqrt", "Reciprocal"),
    "not_equal": _then("Equal", "Not"),
    "nonzero": _nonzero,
    "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"),
    "scale": _scale,
    "clip": _clip,
    "shape": _shape,
    "square": lambda b, op: b.node("Mul", [*b.names(op), *b.names(op)], _out(op)),
    "shape64": _shape,
    "cast": lambda b, op: b.node("Cast", b.names(op), _out(op), to=_number(word(op, "dtype"))),
    "matmul": _matmul,
    "reshape": _cast_operands("Reshape", 2),
    "expand": _expand,
    "tile": _cast_operands("Tile", 2),
    "transpose": _transpose,
    "squeeze": _squeeze("Squeeze"),
    "unsqueeze": _squeeze("Unsqueeze"),
    "flatten": _flatten,
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "split_with_num": _split,
    "slice": _slice,
    "topk": _topk,
    "argsort": _argsort,
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
    "gather": _gather,
    "index_select": _gather,
    "gather_nd": _cast_operands("GatherND", 2),
    "full_like": _full_like,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "batch_norm": _batch_norm,
}


def constant_of(op: Op) -> np.ndarray | None:
    """What an op makes that depends on nothing; None of any other."""
    kind = op["#"].split(".")[-1].rstrip("_")
    if kind == "assign_value":
        return np.asarray(np.array(word(op, "values"), word(op, "dtype")).reshape(word(op, "shape")))
    if kind == "full":
        return np.full(word(op, "shape"), word(op, "value"), word(op, "dtype"))
    if kind == "full_int_array":
        return np.array(word(op, "value"), word(op, "dtype", "int64"))
    return None


def to_onnx_model(
    ops: Sequence[Op],
    types: Mapping[int, Any],
    known: Mapping[int, np.ndarray],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> bytes:
    """An ONNX model of some ops, whose inputs and outputs are named v and the number of the value.

    Args:
        ops: ops, each behind those that it reads from.
        types: value -> its type, as the file holds it.
        known: value -> its numbers: parameters and constants.
        inputs: values that come from without.
        outputs: values that are returned.

    Raises:
        ValueError: An op is not in the tables; names it.
        ImportError: The package onnx is not there.
    """
    from onnx import helper, numpy_helper

    b = Builder(types, dict(known))
    for op in ops:
        kind = op["#"].split(".", 1)[-1].rstrip("_")
        if op["#"] == "0.combine":
            b.lists[op["O"][0]["%"]] = b.names(op)
        elif op["#"] == "0.split":
            for one, name in zip(op["O"], b.lists[op["I"][0]["%"]]):
                b.node("Identity", [name], [f"v{one['%']}"])
        elif kind not in CONVERTERS or not op["#"].startswith("1."):
            raise ValueError(f"Session cannot run {kind}, for which it has no ONNX node; use create_predictor.")
        else:
            try:
                CONVERTERS[kind](b, op)
            except ValueError as error:
                raise ValueError(f"Session cannot run {kind}: {error}; use create_predictor.") from None
    for value in outputs:
        b.name(value)

    def described(value: int) -> Any:
        dims = types[value]["D"][1]
        shape = [f"d{value}_{i}" if extent < 0 else extent for i, extent in enumerate(dims)]
        return helper.make_tensor_value_info(f"v{value}", _number(b.dtype(value)), shape)

    free = [helper.make_tensor_value_info(f"v{value}", _number(b.dtype(value)), None) for value in outputs]
    tensors = [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in b.constants.items()]
    graph = helper.make_graph(b.nodes, "rest", [described(value) for value in inputs], free, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())
