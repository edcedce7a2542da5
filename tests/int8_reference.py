# SPDX-License-Identifier: Apache-2.0
"""The plan language in slow, obvious numpy: what every int8 kernel must equal to the bit.

    outputs = run(plan, arrays, x)        # as Engine(plan, arrays).run(x)
    made = values(plan, arrays, x)        # value 0, 1, 2, ...: float32 arrays, or Bytes

Lines for bytes are exact: sums are integers, and `fma` rounds once. Lines for floats are computed in float64, rounded
at the end of each; kernels sum in another order and differ from them in the last bits. Needs numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf
from typing import Any, Callable, Sequence, Union

import numpy as np


@dataclass(frozen=True)
class Bytes:
    """real = scale * (q - zero); q is uint8 [n, channels, height, width]."""

    q: np.ndarray
    scale: np.float32
    zero: int

    @property
    def centered(self) -> np.ndarray:
        return self.q.astype(np.int64) - self.zero


Value = Union[np.ndarray, Bytes]
Line = dict  # word -> text, with "kind"


# ---- arithmetic ------------------------------------------------------------------------------------------------------
def fma(a: Any, b: Any, c: Any) -> np.ndarray:
    """a*b + c of float32, rounded once.

    The product of two float32 is exact in float64. The sum is rounded to odd in float64 (an inexact sum ends in a one
    bit), after which rounding to float32 is as if the exact sum had been rounded. Source: Boldo and Melquiond,
    "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008.
    """
    a, b, c = (np.asarray(number, np.float32).astype(np.float64) for number in (a, b, c))
    product = np.asarray(a * b)
    total = np.asarray(product + c)
    with np.errstate(invalid="ignore"):
        part = total - product
        error = (product - (total - part)) + (c - part)  # exactly: Knuth's two-sum
    bits = total.view(np.int64)
    inexact = np.isfinite(total) & np.isfinite(error) & (error != 0) & (bits % 2 == 0)
    step = np.where((error > 0) == (total > 0), 1, -1)
    with np.errstate(over="ignore"):
        return np.where(inexact, bits + step, bits).view(np.float64).astype(np.float32)


def saturated(real: np.ndarray, low: int = 0, high: int = 255) -> np.ndarray:
    return np.clip(np.rint(real), low, high).astype(np.uint8)


def bounds(act: str) -> tuple[float, float]:
    """Of an activation that the lines for bytes know."""
    name, *numbers = act.split(":")
    if name == "clamp":
        low, high = (float(np.float32(number)) for number in numbers)
        return low, high
    return {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}[name]


def byte_bounds(act: str, scale: np.float32, zero: int) -> tuple[int, int]:
    low, high = (np.clip(np.rint(bound / float(scale)) + zero, 0, 255) for bound in bounds(act))
    return int(low), int(high)


def activated(act: str, x: np.ndarray) -> np.ndarray:
    """Any activation, in the precision of x."""
    name, *numbers = act.split(":")
    first = [float(np.float32(number)) for number in numbers]
    if name in ("none", "relu", "relu6", "clamp"):
        return np.clip(x, *bounds(act))
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-x))
    return {
        "hard_sigmoid": lambda: np.clip(first[0] * x + first[1], 0, 1),
        "sigmoid": lambda: sigmoid,
        "hard_swish": lambda: x * np.clip(x + 3, 0, 6) / 6,
        "swish": lambda: x * sigmoid,
        "tanh": lambda: np.tanh(x),
        "leaky_relu": lambda: np.where(x < 0, first[0] * x, x),
        "gelu": lambda: 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2))),
    }[name]()


# ---- windows ---------------------------------------------------------------------------------------------------------
def numbers(line: Line, word: str) -> list[int]:
    return [int(part) for part in line[word].split(",")]


def padding(line: Line, size: int, axis: int) -> list[int]:
    """Before and behind; with `same`, what makes ceil(size / stride) outputs, the odd one behind."""
    if line.get("same") != "1":
        return numbers(line, "pad")[2 * axis : 2 * axis + 2]
    kernel, stride = numbers(line, "kernel")[axis], numbers(line, "stride")[axis]
    both = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return [both // 2, both - both // 2]


def output_size(line: Line, size: int, axis: int) -> int:
    pad = padding(line, size, axis)
    if line.get("same") == "1":
        return -(-size // numbers(line, "stride")[axis])
    span = size + sum(pad) - (numbers(line, "kernel")[axis] - 1) * numbers(line, "dilation")[axis] - 1
    stride = numbers(line, "stride")[axis]
    return (-(-span // stride) if line.get("ceil") == "1" else span // stride) + 1


def taps(line: Line, x: np.ndarray, beyond: float) -> np.ndarray:
    """[kernel rows, kernel columns, n, channels, height, width]: what lies under each tap; `beyond` outside."""
    (rows, columns), (down, across), (high, wide) = (numbers(line, w) for w in ("kernel", "dilation", "stride"))
    top, left = (padding(line, size, axis)[0] for axis, size in enumerate(x.shape[2:]))
    out = [output_size(line, size, axis) for axis, size in enumerate(x.shape[2:])]
    found = np.full((rows, columns, *x.shape[:2], *out), beyond, x.dtype)
    for i, j, y, z in np.ndindex(rows, columns, *out):
        at, on = y * high - top + i * down, z * wide - left + j * across
        if 0 <= at < x.shape[2] and 0 <= on < x.shape[3]:
            found[i, j, :, :, y, z] = x[:, :, at, on]
    return found


def counted(line: Line, height: int, width: int) -> np.ndarray:
    """[output height, output width]: the pixels that a mean divides by, as Paddle counts them."""
    sides = []
    for axis, size in enumerate((height, width)):
        kernel, stride, (before, _) = *(numbers(line, w) for w in ("kernel", "stride")), padding(line, size, axis)
        first = np.arange(output_size(line, size, axis)) * stride[axis] - before
        if line["exclusive"] == "1":
            sides.append(np.minimum(first + kernel[axis], size) - np.maximum(first, 0))
        else:
            sides.append(np.minimum(first + kernel[axis], size + before) - first)
    return sides[0][:, None] * sides[1][None, :]


# ---- lines for bytes -------------------------------------------------------------------------------------------------
def scale_of(line: Line) -> tuple[np.float32, int]:
    return np.float32(float(line["scale"])), int(line["zero"])


def quantize(line: Line, arrays: list, x: np.ndarray) -> Bytes:
    scale, zero = scale_of(line)
    real = fma(x, np.float32(1 / float(scale)), zero)
    return Bytes(saturated(np.where(np.isnan(x), np.float32(zero), real)), scale, zero)


def dequantize(line: Line, arrays: list, x: Bytes) -> np.ndarray:
    return x.centered.astype(np.float32) * x.scale


def byte_matrix(line: Line, arrays: list) -> np.ndarray:
    """Weights as [out, kernel rows, kernel columns, channels rounded up to 4]; leaves scale and bias in `arrays`."""
    out, (rows, columns), groups = int(line["out"]), numbers(line, "kernel"), -(-int(line["in"]) // 4)
    if line["weights"] == "dense":
        return arrays.pop(0).astype(np.int64).reshape(out, rows, columns, groups * 4)
    values, places, counts = arrays.pop(0).astype(np.int64), arrays.pop(0), arrays.pop(0)
    block = int(line["block"])
    values = values.reshape(-1, block, 4)
    matrix = np.zeros((len(counts) * block, rows * columns * groups, 4), np.int64)
    at = 0
    for row, count in enumerate(counts.ravel().tolist()):  # int16, perhaps
        for entry in range(at, at + count):
            matrix[row * block : (row + 1) * block, places[entry]] = values[entry]
        at += count
    return matrix[:out].reshape(out, rows, columns, groups * 4)


def finished(
    line: Line, total: np.ndarray, sums: np.ndarray, arrays: list, x: Bytes, added: Bytes | None = None
) -> Value:
    """From the sums of products [n, out, height, width] to the line's value; sums: of each output's weights."""
    weight_scale, bias = (array.ravel().astype(np.float64) for array in arrays)
    step = float(x.scale) * weight_scale
    bias32 = np.clip(np.rint(bias / step), -(2.0**31), 2.0**31 - 1).astype(np.int64) - x.zero * sums
    total = total + bias32[:, None, None]
    assert abs(total).max() < 2**31, "the plan is not valid: a sum leaves int32"
    real = total.astype(np.int32).astype(np.float32)
    if line.get("to") == "float":
        low, high = (np.float32(bound) for bound in bounds(line["act"]))
        return np.minimum(np.maximum(real * step.astype(np.float32)[:, None, None], low), high)
    scale, zero = scale_of(line)
    swishes = line["act"] == "hard_swish"  # of a real number, which is rounded behind it
    unit, start = (1.0, np.float32(0)) if swishes else (float(scale), np.float32(zero))
    if added is not None:
        by = np.float32(float(added.scale) / unit)
        start = fma(added.q.astype(np.float32), by, np.float32(float(start) - added.zero * float(by)))
    made = fma(real, (step / unit).astype(np.float32)[:, None, None], start)
    if swishes:
        return Bytes(saturated(hard_swished(made, scale, zero)), scale, zero)
    return Bytes(saturated(made, *byte_bounds(line["act"], scale, zero)), scale, zero)


def hard_swished(x: np.ndarray, scale: np.float32, zero: int) -> np.ndarray:
    """x * min(max(x, -3) + 3, 6) / 6 in steps of a scale, as float32 that are still to be rounded."""
    x = np.maximum(x, np.float32(-3))
    gate = np.minimum(x + np.float32(3), np.float32(6))
    with np.errstate(over="ignore"):
        return fma(x * gate, np.float32(1 / (6 * float(scale))), zero)


def int8_conv(line: Line, arrays: list, x: Bytes, added: Bytes | None = None) -> Value:
    weight = byte_matrix(line, arrays)[:, :, :, : x.q.shape[1]]  # what is beyond the channels is zero
    under = taps(line, x.q.astype(np.float64), x.zero)
    total = np.einsum("oijc,ijnchw->nohw", weight.astype(np.float64), under, optimize=True)  # whole numbers: exact
    return finished(line, total.astype(np.int64), weight.sum((1, 2, 3)), arrays, x, added)


def int8_depthwise(line: Line, arrays: list, x: Bytes) -> Value:
    weight = arrays.pop(0).astype(np.int64).reshape(x.q.shape[1], *numbers(line, "kernel"))
    total = np.einsum("cij,ijnchw->nchw", weight, taps(line, x.q.astype(np.int64), x.zero))
    return finished(line, total, weight.sum((1, 2)), arrays, x)


def broadcast(line: Line, a: Bytes, b: Bytes) -> tuple[Bytes, Bytes]:
    """With the word `repeats` one channel, row or column meets all of the other's."""
    if "repeats" not in line:
        return a, b
    shape = np.broadcast_shapes(a.q.shape, b.q.shape)
    one, other = (Bytes(np.broadcast_to(side.q, shape), side.scale, side.zero) for side in (a, b))
    return one, other


def added(sign: int) -> Callable[..., Bytes]:
    def line_of(line: Line, arrays: list, a: Bytes, b: Bytes) -> Bytes:
        a, b = broadcast(line, a, b)
        scale, zero = scale_of(line)
        by_a, by_b = np.float32(float(a.scale) / float(scale)), np.float32(sign * float(b.scale) / float(scale))
        offset = np.float32(zero - a.zero * float(by_a) - b.zero * float(by_b))
        real = fma(a.q.astype(np.float32), by_a, fma(b.q.astype(np.float32), by_b, offset))
        return Bytes(saturated(real, *byte_bounds(line["act"], scale, zero)), scale, zero)

    return line_of


def int8_multiply(line: Line, arrays: list, a: Bytes, b: Bytes) -> Bytes:
    a, b = broadcast(line, a, b)
    scale, zero = scale_of(line)
    factor = np.float32(float(a.scale) * float(b.scale) / float(scale))
    real = fma((a.centered * b.centered).astype(np.float32), factor, zero)
    return Bytes(saturated(real, *byte_bounds(line["act"], scale, zero)), scale, zero)


def int8_lookup(line: Line, arrays: list, x: Bytes) -> Bytes:
    return Bytes(arrays[0].astype(np.uint8).ravel()[x.q], *scale_of(line))


def int8_pool(line: Line, arrays: list, x: Bytes) -> Bytes:
    if line["type"] == "max":
        return Bytes(taps(line, x.q, 0).max((0, 1)), x.scale, x.zero)
    scale, zero = scale_of(line)
    factor = np.float32(float(x.scale) / (counted(line, *x.q.shape[2:]) * float(scale)))
    return Bytes(saturated(fma(taps(line, x.centered, 0).sum((0, 1)).astype(np.float32), factor, zero)), scale, zero)


def int8_global_pool(line: Line, arrays: list, x: Bytes) -> Bytes:
    scale, zero = scale_of(line)
    factor = np.float32(float(x.scale) / (x.q[0, 0].size * float(scale)))
    total = x.centered.sum((2, 3), keepdims=True)
    return Bytes(saturated(fma(np.float32(total), factor, zero)), scale, zero)


def averaged(line: Line, x: Bytes, total: np.ndarray, count: Any) -> np.ndarray:
    """Bytes of sums of centered numbers, divided by how many there are."""
    scale, zero = scale_of(line)
    factor = np.float32(float(x.scale) / (np.float64(count) * float(scale)))
    return saturated(fma(np.float32(total), factor, zero))


def int8_reduce(line: Line, arrays: list, x: Bytes) -> Bytes:
    axes = tuple({"channels": 1, "height": 2, "width": 3}[name] for name in line["over"].split(","))
    if line["type"] in ("max", "min"):
        return Bytes(getattr(x.q, line["type"])(axes, keepdims=True), x.scale, x.zero)
    count = np.prod([x.q.shape[axis] for axis in axes]) if line["type"] == "mean" else 1
    return Bytes(averaged(line, x, x.centered.sum(axes, keepdims=True), count), *scale_of(line))


def int8_adaptive_pool(line: Line, arrays: list, x: Bytes) -> Bytes:
    (high, wide), (height, width) = numbers(line, "size"), x.q.shape[2:]
    made = np.zeros((*x.q.shape[:2], high, wide), np.uint8)
    for y, z in np.ndindex(high, wide):
        rows = slice(y * height // high, -(-(y + 1) * height // high))
        columns = slice(z * width // wide, -(-(z + 1) * width // wide))
        if line["type"] == "max":
            made[:, :, y, z] = x.q[:, :, rows, columns].max((2, 3))
        else:
            part = x.centered[:, :, rows, columns]
            made[:, :, y, z] = averaged(line, x, part.sum((2, 3)), part[0, 0].size)
    return Bytes(made, *((x.scale, x.zero) if line["type"] == "max" else scale_of(line)))


def int8_concat(line: Line, arrays: list, *parts: Bytes) -> Bytes:
    assert {(part.scale, part.zero) for part in parts} == {(parts[0].scale, parts[0].zero)}, "scales differ"
    return moving(joined)(line, arrays, *parts)


def int8_flatten(line: Line, arrays: list, x: Bytes) -> Bytes:
    return Bytes(x.q.reshape(len(x.q), -1, 1, 1), x.scale, x.zero)


def permute(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    """A sample taken apart into factors, which are put together in another order."""
    given = [numbers(line, word) if word in line else [] for word in ("channels", "height", "width")]
    to = [numbers(line, f"to_{word}") if f"to_{word}" in line else [] for word in ("channels", "height", "width")]
    factors = []
    for each, size in zip(given, x.shape[1:]):
        known = int(np.prod([extent for extent in each if extent > 0]))
        factors += [extent if extent > 0 else size // known for extent in each]
    order = [0, *(1 + i for each in to for i in each)]
    sizes = [int(np.prod([factors[i] for i in each])) for each in to]
    return x.reshape(len(x), *factors).transpose(order).reshape(len(x), *sizes)


def sliced(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    if line["axis"] == "pixels":
        x = x.reshape(*x.shape[:2], 1, -1)
    axis = {"channels": 1, "height": 2, "width": 3, "pixels": 3}[line["axis"]]
    start, step = int(line["start"]), int(line["step"])
    if "count" in line:
        places = [start + i * step for i in range(int(line["count"]))]
    else:
        places = list(range(x.shape[axis]))[start : int(line["stop"]) : step]
    return np.take(x, places, axis)


def joined(line: Line, arrays: list, *parts: np.ndarray) -> np.ndarray:
    axis = {"channels": 1, "height": 2, "width": 3, "pixels": 3}[line.get("axis", "channels")]
    if line.get("axis") == "pixels":
        parts = tuple(part.reshape(*part.shape[:2], 1, -1) for part in parts)
    return np.concatenate(parts, axis)


def repeat(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    return np.concatenate([x] * int(line["times"]), 1)


def nearest(line: Line, arrays: list, x: np.ndarray, *other: np.ndarray) -> np.ndarray:
    assert line["mode"] == "nearest"
    for axis in (0, 1):
        size = x.shape[2 + axis]
        if "scale" in line:
            step = np.float32(line["scale"].split(",")[axis])
            made, ratio = int(np.float32(size) * step), np.float32(1) / step
        else:
            made = numbers(line, "size")[axis] if "size" in line else other[0].shape[2 + axis]
            ratio = np.float32(size) / np.float32(made)
        half = np.float32(0)
        if line["align_corners"] == "1":
            ratio, half = np.float32(size - 1) / np.float32(max(1, made - 1)), np.float32(0.5)
        places = (ratio * np.arange(made, dtype=np.float32) + half).astype(int)
        x = np.take(x, np.clip(places, 0, size - 1), 2 + axis)
    return x


BLEND = 2048  # weights between two rows, or two columns, add up to it


def between(line: Line, size: int, axis: int, other: Sequence[Bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Of each row or column of a linearly resized plane the two places [2, made], and their whole weights."""
    if "by" in line:
        scale = np.float32(line["by"].split(",")[axis])
        made, step = int(np.float32(size) * scale), np.float32(1) / scale
    else:
        made = numbers(line, "size")[axis] if "size" in line else other[0].q.shape[2 + axis]
        step = np.float32(size) / np.float32(made)
    if line["align_corners"] == "1":
        step = np.float32(size - 1) / np.float32(max(1, made - 1))
    at = np.arange(made, dtype=np.float32)
    half = line["half_pixel"] == "1" and line["align_corners"] != "1"
    step = step if made > 1 else np.float32(0)
    inside = np.maximum(step * (at + np.float32(0.5)) - np.float32(0.5) if half else step * at, np.float32(0))
    first = inside.astype(np.int64)
    second = np.rint((inside - first.astype(np.float32)) * np.float32(BLEND)).astype(np.int64)
    return np.clip([first, first + 1], 0, size - 1), np.stack([BLEND - second, second])


def int8_resize(line: Line, arrays: list, x: Bytes, *other: Bytes) -> Bytes:
    if line["mode"] == "nearest":
        return moving(nearest)(line, arrays, x, *other)
    total = x.centered
    for axis in (0, 1):
        places, weights = between(line, x.q.shape[2 + axis], axis, other)
        weights = weights[:, :, None] if axis == 0 else weights[:, None, :]
        total = sum(np.take(total, places[tap], 2 + axis) * weights[tap] for tap in (0, 1))
    scale, zero = scale_of(line)
    factor = np.float32(float(x.scale) / float(scale) / BLEND**2)
    return Bytes(saturated(fma(total.astype(np.int32).astype(np.float32), factor, zero)), scale, zero)


def padded(line: Line, arrays: list, x: np.ndarray, value: Any = None) -> np.ndarray:
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[line["mode"]]
    pads = [(0, 0), *zip(numbers(line, "before"), numbers(line, "after"))]
    for axis, (before, after) in enumerate(pads):
        x = np.take(x, range(max(0, -before), x.shape[axis] - max(0, -after)), axis)
    pads = [(max(0, before), max(0, after)) for before, after in pads]
    value = float(line.get("value", 0)) if value is None else value
    return np.pad(x, pads, mode, **({"constant_values": value} if mode == "constant" else {}))


def moving(function: Callable[..., np.ndarray]) -> Callable[..., Bytes]:
    """The same on bytes, which keep their meaning."""
    return lambda line, arrays, *parts: Bytes(
        function(line, arrays, *[part.q for part in parts]), parts[0].scale, parts[0].zero
    )


def int8_pad(line: Line, arrays: list, x: Bytes) -> Bytes:
    byte = saturated(np.rint(float(line.get("value", 0)) / float(x.scale)) + x.zero)
    return Bytes(padded(line, arrays, x.q, byte), x.scale, x.zero)


# ---- lines for floats ------------------------------------------------------------------------------------------------
def conv(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    out, inputs, (rows, columns) = int(line["out"]), int(line["in"]), numbers(line, "kernel")
    if line["weights"] == "sparse":
        values, places, counts, bias = arrays
        block, matrix, at = int(line["block"]), np.zeros((len(counts) * int(line["block"]), inputs * rows * columns)), 0
        for row, count in enumerate(counts.ravel().tolist()):
            matrix[row * block : (row + 1) * block, places[at : at + count]] = values.reshape(-1, block)[
                at : at + count
            ].T
            at += count
    else:
        matrix, bias = arrays
    weight = matrix[:out].reshape(out, inputs, rows, columns).astype(np.float64)
    return np.einsum("ocij,ijnchw->nohw", weight, taps(line, x, 0), optimize=True) + bias.reshape(-1, 1, 1)


def depthwise(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    weight = arrays[0].reshape(x.shape[1], *numbers(line, "kernel")).astype(np.float64)
    return np.einsum("cij,ijnchw->nchw", weight, taps(line, x, 0)) + arrays[1].reshape(-1, 1, 1)


def pool(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    if line["type"] == "max":
        return taps(line, x, -np.inf).max((0, 1))
    return taps(line, x, 0).sum((0, 1)) / counted(line, *x.shape[2:])


def softmax(line: Line, arrays: list, x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


FLOATS: dict[str, Callable[..., np.ndarray]] = {
    "conv": conv,
    "depthwise": depthwise,
    "pool": pool,
    "softmax": softmax,
    "affine": lambda line, arrays, x: x * arrays[0].reshape(-1, 1, 1) + arrays[1].reshape(-1, 1, 1),
    "add": lambda line, arrays, a, b: a + b,
    "multiply": lambda line, arrays, a, b: a * b,
    "activation": lambda line, arrays, x: x,
    "global_pool": lambda line, arrays, x: x.mean((2, 3), keepdims=True),
    "concat": joined,
    "permute": permute,
    "slice": sliced,
    "repeat": repeat,
    "resize": nearest,
    "pad": padded,
    "flatten": lambda line, arrays, x: x.reshape(len(x), -1, 1, 1),
}
BYTES: dict[str, Callable[..., Value]] = {
    "quantize": quantize,
    "dequantize": dequantize,
    "int8.conv": int8_conv,
    "int8.depthwise": int8_depthwise,
    "int8.add": added(1),
    "int8.subtract": added(-1),
    "int8.multiply": int8_multiply,
    "int8.lookup": int8_lookup,
    "int8.pool": int8_pool,
    "int8.global_pool": int8_global_pool,
    "int8.adaptive_pool": int8_adaptive_pool,
    "int8.reduce": int8_reduce,
    "int8.concat": int8_concat,
    "int8.flatten": int8_flatten,
    "int8.permute": moving(permute),
    "int8.slice": moving(sliced),
    "int8.repeat": moving(repeat),
    "int8.resize": int8_resize,
    "int8.pad": int8_pad,
}


# ---- the interpreter -------------------------------------------------------------------------------------------------
def parsed(plan: str) -> list[Line]:
    lines = [line.split() for line in plan.split("\n")[1:]]  # without the first line
    return [{"kind": kind, **dict(word.split("=", 1) for word in words)} for kind, *words in lines]


def values(plan: str, arrays: Sequence[np.ndarray], x: np.ndarray) -> list[Value]:
    """Every value of a plan, in order, for [n, channels, height, width] or [n, channels]."""
    made: list[Value] = [np.asarray(x, np.float32).reshape(*x.shape[:2], *(x.shape[2:] or (1, 1)))]
    for line in parsed(plan):
        kind = line["kind"]
        if kind in ("contents", "parameters", "input", "output"):
            continue
        inputs = [made[i] for i in numbers(line, "from")]
        kept = [arrays[i] for i in numbers(line, "params")] if "params" in line else []
        if kind in BYTES:
            assert all(isinstance(each, np.ndarray if kind == "quantize" else Bytes) for each in inputs), line
            made.append(BYTES[kind](line, kept, *inputs))
        else:
            assert all(isinstance(each, np.ndarray) for each in inputs), line
            real = FLOATS[kind](line, kept, *[each.astype(np.float64) for each in inputs])
            made.append(activated(line.get("act", "none"), real).astype(np.float32))
    return made


def run(plan: str, arrays: Sequence[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """What `Engine(plan, arrays).run(x)` returns."""
    made, outputs = values(plan, arrays, x), [line for line in parsed(plan) if line["kind"] == "output"]
    quantized = [int(line["from"]) for line in parsed(plan) if line["kind"] == "quantize"]
    lost = np.array([any(np.isnan(made[i][n]).any() for i in quantized) for n in range(len(x))])  # int8 has no NaN
    found = [(made[int(line["from"])].copy(), "n,c" == line.get("dims") or line.get("rank") == "2") for line in outputs]
    for value, _ in found:
        value[lost] = np.nan
    return [value.reshape(*value.shape[:2]) if is_vector else value for value, is_vector in found]
