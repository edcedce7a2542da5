# SPDX-License-Identifier: Apache-2.0
"""Values of a Program that no number of an input reaches, computed on the host: weights, shapes, axes, folded scalars.

Sizes that depend on the input's are `Extent`s in arrays of objects, and go through the same functions.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .net import Layer
from .prefix import LONGEST
from .refusals import Refusal
from .views import Extent, Prefix, View

Lookup = Callable[[int], Any]  # operand number -> its value: an array, or several of them


def _full(op: Any, of: Lookup) -> np.ndarray:
    attributes = op.attrs()
    return np.full(attributes["shape"], attributes["value"])


def _numbers(values: Any) -> tuple[int, ...]:
    flat = values if isinstance(values, tuple) else (values,)
    return tuple(int(each) for value in flat for each in np.ravel(value))


def _broadcast(sizes: Any) -> tuple[int, ...]:
    """Sizes with 1 for those that are open: what is the same everywhere may broadcast."""
    return tuple(1 if isinstance(each, Extent) else int(each) for each in _sizes(sizes))


def _full_of_sizes(op: Any, of: Lookup) -> np.ndarray | Prefix:
    sizes, value = _sizes(of(1)), np.ravel(of(0))[0]
    if len(sizes) > 1 and all(isinstance(each, Extent) for each in sizes[-2:]) and _becomes_triangle(op):
        lags = len(sizes) - 2, len(sizes) - 1
        shape = (*_broadcast(of(1))[:-2], 1, 2 * LONGEST - 1)
        return Prefix(np.full(shape, value), {lags[0]: sizes[-2], lags[1]: sizes[-1]}, lags)
    return np.full(_broadcast(of(1)), value)


def _becomes_triangle(op: Any) -> bool:
    """Whether the places of a constant will differ."""
    for after in op.result(0).all_used_ops():
        kind = after.name().split(".")[-1].rstrip("_")
        if kind in ("triu", "tril") or (kind == "cast" and _becomes_triangle(after)):
            return True
    return False


def _cast(op: Any, of: Lookup) -> np.ndarray:
    given = of(0)
    if given.dtype == object:
        return np.asarray(given)
    name = str(op.attrs().get("dtype", op.result(0).dtype)).split(".")[-1].lower()
    return np.asarray(given.astype({"bfloat16": "float32"}.get(name, name)))


def _slice(op: Any, of: Lookup) -> np.ndarray | Prefix:
    attributes, value = op.attrs(), of(0)
    gone, open_ends = attributes.get("decrease_axis", []), {}
    for axis, start, end in zip(attributes["axes"], _numbers(of(1)), _sizes(of(2))):
        if isinstance(end, Extent) and start == 0 and value.dtype != object:
            open_ends[axis % value.ndim] = end
        else:
            value = value[(slice(None),) * (axis % value.ndim) + (slice(start, int(end)),)]
    if open_ends and not gone:
        return Prefix(value, open_ends)
    return np.asarray(np.squeeze(value, tuple(gone)) if gone else value)


def _sizes(values: Any) -> list[Any]:
    flat = values if isinstance(values, tuple) else (values,)
    return [each for value in flat for each in np.ravel(value)]


def _strided_slice(op: Any, of: Lookup) -> np.ndarray:
    value: np.ndarray = of(0)
    for axis, *ends in zip(op.attrs()["axes"], *(_numbers(of(i)) for i in (1, 2, 3))):
        value = value[(slice(None),) * (axis % value.ndim) + (slice(*ends),)]
    return np.asarray(value)


def _scale(op: Any, of: Lookup) -> np.ndarray:
    attributes, factor = op.attrs(), np.ravel(of(1))[0]
    if np.issubdtype(of(0).dtype, np.floating):
        factor = of(0).dtype.type(factor)  # numbers at an edge are rounded as Paddle does
    if attributes.get("bias_after_scale", True):
        made = of(0) * factor + attributes["bias"]
    else:
        made = (of(0) + attributes["bias"]) * factor
    return _like(made, of(0))


def _like(made: Any, given: np.ndarray) -> np.ndarray:
    made = np.asarray(made)
    whole = made.dtype != object and given.dtype != object and np.issubdtype(given.dtype, np.integer)
    return np.asarray(made.astype(given.dtype)) if whole else made


def _both(function: Callable[[Any, Any], Any]) -> Callable[[Any, Lookup], np.ndarray]:
    return lambda op, of: np.asarray(function(of(0), of(1)))


def _axes(op: Any) -> tuple[int, ...] | None:
    axes = op.attrs().get("axis", op.attrs().get("axes"))
    return tuple(np.ravel(axes)) if axes is not None and len(np.ravel(axes)) else None


def _product(op: Any, of: Lookup) -> np.ndarray:
    attributes = op.attrs()
    whole = attributes.get("reduce_all") or len(op.operands_source()) < 2 or not _numbers(of(1))
    return np.asarray(
        np.prod(of(0), axis=None if whole else _numbers(of(1)), keepdims=attributes.get("keep_dim", False))
    )


def _reshaped(op: Any, of: Lookup) -> np.ndarray:
    given = of(0)
    target = [given.shape[i] if size == 0 else size for i, size in enumerate(_broadcast(of(1)))]
    if -1 not in target and int(np.prod(target)) != given.size:
        raise Refusal("a constant is reshaped to sizes that depend on the input")
    return np.asarray(given.reshape(target))


def _tiled(op: Any, of: Lookup) -> np.ndarray:
    """A constant again and again; an axis of 1 that gets the input's size stays 1, which broadcasts."""
    given, times = np.asarray(of(0)), _sizes(of(1))
    own = (1,) * (len(times) - given.ndim) + given.shape
    behind = own[len(own) - len(times) :]
    if any(isinstance(each, Extent) and extent != 1 for each, extent in zip(times, behind)):
        raise Refusal("a constant is repeated as often as the input's size says")
    return np.tile(given, [1 if isinstance(each, Extent) else int(each) for each in times])


def _reduced(function: Callable[..., Any]) -> Callable[[Any, Lookup], np.ndarray]:
    def make(op: Any, of: Lookup) -> np.ndarray:
        given = _numbers(of(1)) if len(op.operands_source()) > 1 else _axes(op)
        keep = bool(op.attrs().get("keepdim", op.attrs().get("keep_dim", False)))
        return np.asarray(function(of(0), axis=given or None, keepdims=keep))

    return make


def _norm(op: Any, of: Lookup) -> np.ndarray:
    attributes = op.attrs()
    if attributes["porder"] != 2.0 or attributes["asvector"]:
        raise Refusal("a norm of this order is not known")
    return np.asarray(np.sqrt(np.sum(np.square(of(0)), axis=attributes["axis"], keepdims=attributes["keepdim"])))


def _softmax(given: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(given - given.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def _matmul(op: Any, of: Lookup) -> np.ndarray:
    sides = [np.swapaxes(of(i), -1, -2) if op.attrs()[f"transpose_{name}"] else of(i) for i, name in enumerate("xy")]
    return np.asarray(np.matmul(*sides))


def _addmm(op: Any, of: Lookup) -> np.ndarray:
    return np.asarray(op.attrs()["beta"] * of(0) + op.attrs()["alpha"] * np.matmul(of(1), of(2)))


def _arange(op: Any, of: Lookup) -> np.ndarray | Prefix:
    start, end, step = (np.ravel(of(i))[0] for i in range(3))
    if isinstance(end, Extent) and (start, step) == (0, 1):
        return Prefix(np.arange(LONGEST), {0: end})
    if any(isinstance(each, Extent) for each in (start, end, step)):
        raise Refusal("a range of numbers ends at a size that depends on the input")
    name = str(op.result(0).dtype).split(".")[-1].lower()
    return np.asarray(np.arange(start, end, step).astype(name))


def _divide(a: Any, b: Any) -> Any:
    whole = all(each.dtype != object and np.issubdtype(each.dtype, np.integer) for each in (a, b))
    return a // b if whole else a / b


def _meshgrid(op: Any, of: Lookup) -> Any:
    return tuple(np.meshgrid(*of(0), indexing="ij"))


def _spectral_norm(op: Any, of: Lookup) -> np.ndarray:
    """A weight divided by its largest singular value, as so many steps of power iteration find it."""
    attributes, u, v = op.attrs(), np.ravel(of(1)), np.ravel(of(2))
    weight = np.moveaxis(of(0), attributes["dim"], 0)
    matrix = weight.reshape(len(weight), -1)
    for _ in range(attributes["power_iters"]):
        v = matrix.T @ u
        v = v / (np.linalg.norm(v) + attributes["eps"])
        u = matrix @ v
        u = u / (np.linalg.norm(u) + attributes["eps"])
    return np.asarray(of(0) / (u @ matrix @ v))


_MAKERS: dict[str, Callable[[Any, Lookup], Any]] = {
    "full": _full,
    "full_int_array": lambda op, of: np.array(op.attrs()["value"]),
    "assign_value": lambda op, of: _values(op),
    "full_with_tensor": _full_of_sizes,
    "reshape": _reshaped,
    "squeeze": lambda op, of: np.squeeze(of(0), _numbers(of(1)) or None),
    "unsqueeze": lambda op, of: np.expand_dims(of(0), _numbers(of(1))),
    "flatten": lambda op, of: of(0).reshape([*op.result(0).shape]),
    "transpose": lambda op, of: of(0).transpose(op.attrs()["perm"]),
    "multiply": _both(lambda a, b: a * b),
    "divide": _both(_divide),
    "floor_divide": _both(lambda a, b: a // b),
    "remainder": _both(lambda a, b: a % b),
    "elementwise_pow": _both(lambda a, b: a**b),
    "add": _both(lambda a, b: a + b),
    "subtract": _both(lambda a, b: a - b),
    "maximum": _both(np.maximum),
    "minimum": _both(np.minimum),
    "less_than": _both(lambda a, b: a < b),
    "less_equal": _both(lambda a, b: a <= b),
    "greater_than": _both(lambda a, b: a > b),
    "greater_equal": _both(lambda a, b: a >= b),
    "equal": _both(lambda a, b: a == b),
    "not_equal": _both(lambda a, b: a != b),
    "logical_and": _both(np.logical_and),
    "logical_or": _both(np.logical_or),
    "logical_not": lambda op, of: np.logical_not(of(0)),
    "where": lambda op, of: np.where(of(0), of(1), of(2)),
    "cast": _cast,
    "slice": _slice,
    "strided_slice": _strided_slice,
    "scale": _scale,
    "prod": _product,
    "arange": _arange,
    "stack": lambda op, of: np.stack(of(0), op.attrs()["axis"]),
    "concat": lambda op, of: np.concatenate([np.atleast_1d(each) for each in of(0)], int(np.ravel(of(1))[0])),
    "gather_nd": lambda op, of: of(0)[tuple(np.moveaxis(np.asarray(of(1), np.int64), -1, 0))],
    "take_along_axis": lambda op, of: np.take_along_axis(of(0), np.asarray(of(1), np.int64), op.attrs()["axis"]),
    "einsum": lambda op, of: np.einsum(op.attrs()["equation"], *of(0)),
    "roll": lambda op, of: np.roll(of(0), _numbers(of(1)), _axes(op)),
    "log1p": lambda op, of: np.log1p(of(0)),
    "index_select": lambda op, of: np.take(of(0), np.asarray(of(1), np.int64), axis=op.attrs()["axis"]),
    "gather": lambda op, of: np.take(of(0), np.asarray(of(1), np.int64), axis=int(np.ravel(of(2))[0])),
    "expand": lambda op, of: np.broadcast_to(of(0), _expanded(of(0), of(1))),
    "tile": _tiled,
    "full_like": lambda op, of: np.full(np.shape(of(0)), np.ravel(of(1))[0]),
    "assign": lambda op, of: of(0),
    "assign_out": lambda op, of: of(0),
    "share_data": lambda op, of: of(0),
    "shape": lambda op, of: np.array(np.shape(of(0)), np.int64),
    "shape64": lambda op, of: np.array(np.shape(of(0)), np.int64),
    "numel": lambda op, of: np.array(np.size(of(0)), np.int64),
    "split": lambda op, of: tuple(np.split(of(0), np.cumsum(_numbers(of(1)))[:-1], int(np.ravel(of(2))[0]))),
    "split_with_num": lambda op, of: tuple(np.split(of(0), op.attrs()["num"], int(np.ravel(of(1))[0]))),
    "unbind": lambda op, of: tuple(np.moveaxis(of(0), op.attrs()["axis"], 0)),
    "meshgrid": _meshgrid,
    "sqrt": lambda op, of: np.sqrt(of(0)),
    "exp": lambda op, of: np.exp(of(0)),
    "floor": lambda op, of: of(0) if of(0).dtype == object else np.floor(of(0)),
    "ceil": lambda op, of: of(0) if of(0).dtype == object else np.ceil(of(0)),
    "round": lambda op, of: np.round(of(0), op.attrs().get("decimals", 0)),
    "trunc": lambda op, of: np.trunc(of(0)),
    "sign": lambda op, of: np.sign(of(0)),
    "abs": lambda op, of: np.abs(of(0)),
    "sin": lambda op, of: np.sin(of(0)),
    "cos": lambda op, of: np.cos(of(0)),
    "relu": lambda op, of: np.maximum(of(0), 0),
    "sigmoid": lambda op, of: 1 / (1 + np.exp(-of(0))),
    "tanh": lambda op, of: np.tanh(of(0)),
    "softplus": lambda op, of: np.logaddexp(0, of(0) * op.attrs()["beta"]) / op.attrs()["beta"],
    "log": lambda op, of: np.log(of(0)),
    "square": lambda op, of: np.square(of(0)),
    "rsqrt": lambda op, of: 1 / np.sqrt(of(0)),
    "reciprocal": lambda op, of: 1 / of(0),
    "pow": lambda op, of: of(0) ** (op.attrs()["y"] if "y" in op.attrs() else np.ravel(of(1))[0]),
    "clip": lambda op, of: np.clip(of(0), np.ravel(of(1))[0], np.ravel(of(2))[0]),
    "matmul": _matmul,
    "bmm": lambda op, of: np.matmul(of(0), of(1)),
    "mv": lambda op, of: np.matmul(of(0), of(1)),
    "addmm": _addmm,
    "baddbmm": _addmm,
    "softmax": lambda op, of: _softmax(of(0), op.attrs()["axis"]),
    "sum": _reduced(np.sum),
    "mean": _reduced(np.mean),
    "max": _reduced(np.max),
    "min": _reduced(np.min),
    "any": _reduced(np.any),
    "all": _reduced(np.all),
    "p_norm": _norm,
    "spectral_norm": _spectral_norm,
    "eye": lambda op, of: np.eye(int(np.ravel(of(0))[0]), int(np.ravel(of(1))[0])),
    "repeat_interleave": lambda op, of: np.repeat(of(0), op.attrs()["repeats"], op.attrs()["axis"]),
    "tril": lambda op, of: np.tril(of(0), op.attrs()["diagonal"]),
    "triu": lambda op, of: np.triu(of(0), op.attrs()["diagonal"]),
    "flip": lambda op, of: np.flip(of(0), op.attrs()["axis"]),
}


def _expanded(given: np.ndarray, sizes: Any) -> list[int]:
    """The shape of an expanded constant; an axis that gets the input's size stays 1, which broadcasts."""
    flat = [each for size in (sizes if isinstance(sizes, tuple) else (sizes,)) for each in np.ravel(size)]
    target = [-1 if isinstance(each, Extent) else int(each) for each in flat]
    own = [1] * (len(target) - given.ndim) + list(given.shape)
    return [had if wanted == -1 else wanted for had, wanted in zip(own, target)]


def _values(op: Any) -> np.ndarray:
    attributes = op.attrs()
    name = str(attributes["dtype"]).split(".")[-1].lower()
    return np.asarray(np.array(attributes["values"]).astype(name).reshape(attributes["shape"]))


def _maker(kind: str) -> Callable[[Any, Lookup], Any] | None:
    return _MAKERS.get(kind) or _MAKERS.get(kind.removesuffix("_"))


def is_constant_maker(kind: str) -> bool:
    """Whether an op of this kind can be computed here, if all its operands are constants."""
    return _maker(kind) is not None


def make_constant(op: Any, kind: str, operands: Lookup) -> np.ndarray | Prefix | tuple[np.ndarray, ...]:
    """Its result: an array, the first places of one, or several arrays where the op makes several."""
    maker = _maker(kind)
    assert maker is not None
    with np.errstate(all="ignore"):
        made = maker(op, operands)
    if isinstance(made, Prefix):
        return made
    if isinstance(made, tuple):
        return tuple(np.asarray(each) for each in made)
    return _as_declared(op, np.asarray(made))


def _as_declared(op: Any, made: np.ndarray) -> np.ndarray:
    """Numbers in the dtype that the Program gives them."""
    name = str(op.result(0).dtype).split(".")[-1].lower()
    declared = name.startswith(("float", "int", "bool", "uint"))
    return made if made.dtype == object or not declared or name == "float16" else np.asarray(made.astype(name))


def shape_of(view: View) -> np.ndarray:
    """What `paddle.shape` makes of an activation."""
    sizes = view.shape
    return np.array(sizes, object if any(isinstance(size, Extent) for size in sizes) else np.int64)


def count_of(view: View) -> np.ndarray:
    """How many numbers an activation has."""
    total: Any = 1
    for size in view.shape:
        total = total * size
    return np.array(total, object if isinstance(total, Extent) else np.int64)


def full_like(view: View, value: np.ndarray) -> np.ndarray:
    """A constant of an activation's shape; where a size is open, 1, which broadcasts."""
    return np.full([1 if isinstance(size, Extent) else size for size in view.shape], np.ravel(value)[0])


def filled(view: View, value: np.ndarray) -> View:
    """An activation of another one's shape with the same number everywhere."""
    number = repr(float(np.ravel(value)[0]))
    return view.of(Layer("activation", (view.layer,), act=f"clamp:{number}:{number}"))
