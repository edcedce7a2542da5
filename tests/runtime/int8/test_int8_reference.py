# SPDX-License-Identifier: Apache-2.0
"""The reference itself: its fma against the C library's, its lines against cases written out by hand."""

from __future__ import annotations

import ctypes

import numpy as np
from int8_reference import fma, run, values

HEAD = "paddle_unstructured plan 2\ncontents digest=0\ninput channels={} rank=4\n"


def plan(channels, *lines):
    return HEAD.format(channels) + "\n".join(lines)


def array(*numbers, dtype="float32"):
    return np.array(numbers, dtype)


def image(*rows):
    """One channel."""
    return np.array(rows, "float32")[None, None]


def test_fma_rounds_once():
    library = ctypes.CDLL("libm.so.6")
    library.fmaf.restype, library.fmaf.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    random = np.random.default_rng(0)
    a = random.integers(-(2**31), 2**31, 20000).astype("float32")
    b = (2.0 ** random.integers(-60, -8, 20000) * (1 + random.integers(0, 2**23, 20000) / 2**23)).astype("float32")
    c = random.integers(0, 256, 20000).astype("float32")
    expected = np.array([library.fmaf(*numbers) for numbers in zip(a.tolist(), b.tolist(), c.tolist())], "float32")
    assert (fma(a, b, c) == expected).all()


def test_fma_where_rounding_to_double_first_would_be_wrong():
    a, b, c = 1 + 2**-23, (1 - 2**-23) * 2.0**-24, 1 + 2**-23
    assert fma(a, b, c) == np.float32(c) != np.float32(np.float64(a) * b + c)


def test_quantize_written_out():
    made = values(
        plan(1, "quantize from=0 scale=0.5 zero=10"), [], image([0, 0.25, 0.75, -0.75], [np.nan, 1e9, -1e9, np.inf])
    )[1]
    assert made.q.ravel().tolist() == [10, 10, 12, 8, 10, 255, 0, 255]  # 10.5 and 11.5 go to the even neighbour


def test_a_convolution_written_out():
    """Inputs 2 and 3 (bytes 12 and 13 around zero 10, step 0.5); weights 4 and -1 in steps of 0.25; bias 1."""
    window = "kernel=1,1 stride=1,1 pad=0,0,0,0 dilation=1,1"
    line = f"int8.conv from=1 in=2 out=1 {window} act={{}} {{}} weights=dense params=0,1,2"
    arrays = [array(4, -1, 99, 99, dtype="int8")[None], array(0.25), array(1)]
    x = np.array([1.0, 1.5], "float32").reshape(1, 2, 1, 1)
    first = "quantize from=0 scale=0.5 zero=10"
    made = values(plan(2, first, line.format("none", "scale=0.125 zero=3")), arrays, x)
    assert made[1].q.ravel().tolist() == [12, 13]
    assert made[2].q.item() == 3 + (1 + 1.0 * 1 - 1.5 * 0.25) / 0.125
    text = plan(2, first, line.format("clamp:0:1.5", "to=float"), "output from=2 rank=2")
    assert run(text, arrays, x)[0].tolist() == [[1.5]]


def test_padding_is_the_zero_point():
    window = "kernel=3,3 stride=1,1 pad=1,1,1,1 dilation=1,1"
    line = f"int8.depthwise from=1 out=1 {window} act=none scale=1.0 zero=0 params=0,1,2"
    text = plan(1, "quantize from=0 scale=1.0 zero=100", line)
    made = values(text, [np.ones((1, 1, 3, 3), "int8"), array(1), array(0)], image([1, 2], [3, 4]))
    assert made[2].q.ravel().tolist() == [10, 10, 10, 10]


def test_sparse_rows_equal_the_dense_matrix():
    random = np.random.default_rng(1)
    matrix = random.integers(-127, 128, (4, 6, 4)).astype("int8")
    matrix[:2, [1, 2, 4]], matrix[2:, [0, 5]] = 0, 0
    words = "from=1 in=3 out=3 kernel=2,3 stride=1,1 pad=0,0,0,0 dilation=1,1 act=none to=float"
    scale, bias, x = array(0.1, 0.2, 0.3), array(1, 2, 3), random.normal(size=(2, 3, 4, 5)).astype("float32")
    first, last = "quantize from=0 scale=0.02 zero=128", "output from=2 rank=4"
    dense = run(plan(3, first, f"int8.conv {words} weights=dense params=0,1,2", last), [matrix[:3], scale, bias], x)
    rows = [
        np.stack(
            [matrix[2 * i : 2 * i + 2, place] for i, places in enumerate([[0, 3, 5], [1, 2, 3, 4]]) for place in places]
        ),
        array(0, 3, 5, 1, 2, 3, 4, dtype="int16"),
        array(3, 4, dtype="int16"),
    ]
    sparse = run(
        plan(3, first, f"int8.conv {words} weights=sparse block=2 params=0,1,2,3,4", last), [*rows, scale, bias], x
    )
    assert (dense[0] == sparse[0]).all()


def test_sums_and_products_written_out():
    text = plan(
        1,
        "quantize from=0 scale=0.5 zero=4",
        "int8.lookup from=1 scale=0.25 zero=0 params=0",
        "int8.add from=1,2 act=relu6 scale=0.5 zero=2",
        "int8.global_pool from=1 scale=0.125 zero=0",
        "int8.multiply from=1,4 act=none scale=0.25 zero=9",
        "int8.concat from=1,1",
        "int8.flatten from=6",
        "int8.pool from=1 type=max kernel=2,2 stride=1,1 pad=0,0,0,0 dilation=1,1 ceil=0 exclusive=1",
        "int8.pool from=1 type=avg kernel=2,2 stride=2,2 pad=1,1,1,1 dilation=1,1 ceil=0 exclusive=0 scale=0.25 zero=1",
        "dequantize from=9",
    )
    double = np.clip((np.arange(256) - 4) * 4, 0, 255).astype("int16")  # twice the number, in half the step
    made = values(text, [double], image([0, 1], [2, 3]))
    assert made[1].q.ravel().tolist() == [4, 6, 8, 10]
    assert made[2].q.ravel().tolist() == [0, 8, 16, 24]
    assert made[3].q.ravel().tolist() == [2, 8, 14, 14]  # 0, 3, 6 and 9: 9 is clamped to 6
    assert made[4].q.item() == 12  # 1.5
    assert made[5].q.ravel().tolist() == [9, 15, 21, 27]  # 0, 1.5, 3, 4.5
    assert made[7].q.shape == (1, 8, 1, 1) and made[7].q.ravel().tolist() == [4, 6, 8, 10] * 2
    assert made[8].q.item() == 10
    assert made[9].q.ravel().tolist() == [1, 2, 3, 4] and made[10].ravel().tolist() == [0, 0.25, 0.5, 0.75]
