# SPDX-License-Identifier: Apache-2.0
"""A convolution in bfloat16 in slow, obvious numpy: what every kernel must equal to the bit, NaNs apart."""

from __future__ import annotations

import numpy as np

from paddle_unstructured.runtime.bf16.numbers import rounded, widened

TILE = 16  # outputs, and pairs of inputs, of one product


def flushed(x):
    """Float64 to float32, in which what is below 2^-126 after rounding to 24 bits is zero."""
    x = np.asarray(x, np.float64)
    with np.errstate(over="ignore"):
        return np.where(np.abs(x) < 2.0**-126 - 2.0**-151, np.copysign(0.0, x), x).astype(np.float32)


def panel(x, window):
    """Float32 [channels, height, width] -> [(kernel row, kernel column, pair), 2, pixels], and its size."""
    channels, height, width = x.shape
    x = np.pad(widened(rounded(x)), ((0, channels % 2), (0, 0), (0, 0))).reshape(-1, 2, height, width)
    (top, bottom, left, right), (kh, kw) = window.pad, window.kernel
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows = (x.shape[2] - (kh - 1) * window.dilation[0] - 1) // window.stride[0] + 1
    columns = (x.shape[3] - (kw - 1) * window.dilation[1] - 1) // window.stride[1] + 1
    taps = []
    for ky in range(kh):
        for kx in range(kw):
            y, z = ky * window.dilation[0], kx * window.dilation[1]
            tap = x[:, :, y : y + (rows - 1) * window.stride[0] + 1 : window.stride[0]]
            taps.append(tap[:, :, :, z : z + (columns - 1) * window.stride[1] + 1 : window.stride[1]])
    return np.concatenate(taps).reshape(len(x) * kh * kw, 2, rows * columns), (rows, columns)


def chunks(needed):
    """16 panel rows of each product, filled up with None."""
    needed = list(needed) + [None] * (-len(needed) % TILE)
    return [needed[i : i + TILE] for i in range(0, len(needed), TILE)]


@np.errstate(invalid="ignore", over="ignore")
def convolution(x, weight, bias, window, *, added=None, low=-np.inf, high=np.inf, real=True):
    """One sample; zeros of whole 16x2 blocks are left out where the engine does so (see `is_dense`)."""
    outputs = len(weight)
    words = widened(rounded(weight))
    words = np.pad(words, ((0, -outputs % TILE), (0, weight.shape[1] % 2), (0, 0), (0, 0)))
    words = words.transpose(0, 2, 3, 1).reshape(len(words), -1, 2).astype(np.float64)
    x, (rows, columns) = panel(x, window)
    x, made = x.astype(np.float64), np.zeros((len(words), rows * columns), np.float32)
    dense = is_dense(words)
    for first in range(0, len(words), TILE):
        weights = words[first : first + TILE]
        kept = range(words.shape[1]) if dense else np.flatnonzero((weights != 0).any((0, 2)))
        for chunk in chunks(kept):
            even = odd = np.zeros((TILE, rows * columns), np.float32)
            for k in chunk:
                if k is not None:
                    even = flushed(weights[:, k, :1] * x[k, :1] + even)
                    odd = flushed(weights[:, k, 1:] * x[k, 1:] + odd)
            total = flushed(even.astype(np.float64) + odd)
            made[first : first + TILE] = flushed(made[first : first + TILE].astype(np.float64) + total)
    sums = flushed(made[:outputs].astype(np.float64) + flushed(bias)[:, None])
    if added is not None:
        sums = flushed(sums.astype(np.float64) + widened(rounded(added)).reshape(outputs, -1))
    sums = np.minimum(np.maximum(sums, np.float32(low)), np.float32(high)).reshape(outputs, rows, columns)
    return sums if real else widened(rounded(sums))


@np.errstate(invalid="ignore", over="ignore")
def depthwise(x, weight, bias, window, *, low=-np.inf, high=np.inf):
    """One sample; each channel's taps one after the other, from the bias on."""
    weight = widened(rounded(weight)).astype(np.float64)
    made = []
    for channel, filter_, start in zip(x, weight[:, 0], flushed(bias)):
        taps, size = panel(channel[None], window)
        total = np.full(taps.shape[2], start)
        for tap, by in zip(taps[:, 0].astype(np.float64), filter_.ravel()):
            total = flushed(by * tap + total)
        made.append(np.minimum(np.maximum(total, np.float32(low)), np.float32(high)).reshape(size))
    return widened(rounded(np.stack(made)))


def is_dense(words):
    """As engine/tile_words.cpp weighs it."""
    rows = words.reshape(-1, TILE, *words.shape[1:])
    gathered = sum(-(-np.count_nonzero((row != 0).any((0, 2))) // TILE) for row in rows)
    return 86 * -(-words.shape[1] // TILE) * len(rows) <= 126 * gathered


def maxima(x, window):
    """One sample; a NaN is larger than any number, and nothing is -infinity."""
    x = widened(rounded(x))
    (top, bottom, left, right), (kh, kw), (sh, sw) = window.pad, window.kernel, window.stride
    height, width = x.shape[1] + top + bottom, x.shape[2] + left + right
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
    rows, columns = range(0, height - kh + 1, sh), range(0, width - kw + 1, sw)
    made = [[x[:, i : i + kh, j : j + kw].max((1, 2)) for j in columns] for i in rows]
    return np.array(made).transpose(2, 0, 1)
