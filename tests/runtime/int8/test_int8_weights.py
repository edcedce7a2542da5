# SPDX-License-Identifier: Apache-2.0
"""Weights, activations and scales in int8: by hand, and against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.runtime.int8.activations import activation, function_of, table, useful_inputs
from paddle_unstructured.runtime.int8.choose_kernel import choose_block
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import quantize_weight
from paddle_unstructured.runtime.net import Layer
from paddle_unstructured.runtime.precision.words import reordered, sparse_groups

RANDOM = np.random.default_rng(0)


def weight(*rows):
    return np.array(rows, "float64")[:, :, None, None]


def test_a_weight_written_out():
    made = quantize_weight(weight([127, -1.4, 0, 0.2], [0, 0, -254, 3]), np.zeros(2), 0.1)
    assert made.values[:, :, 0, 0].tolist() == [[127, -1, 0, 0], [0, 0, -127, 2]]
    assert made.scale.tolist() == [1, 2] and made.values.dtype == np.int8


def test_zero_stays_exactly_zero():
    for seed in range(5):
        random = np.random.default_rng(seed)
        w = random.normal(size=(7, 9, 3, 3)) * (random.random((7, 9, 3, 3)) < 0.3) * 10.0 ** random.integers(-9, 9)
        made = quantize_weight(w, random.normal(size=7), 0.02, random.normal(size=9))
        assert (made.values[w == 0] == 0).all()
        back = made.values * made.scale[:, None, None, None].astype("float64")
        assert np.abs(back - w).max() <= made.scale.max() / 1.99
    low, zero = Quantizer.of_range(-1.234, 5.678), 0.0
    assert low.real()[low.bytes(zero)] == 0.0


def test_a_channel_of_zeros_keeps_its_bias():
    made = quantize_weight(np.zeros((2, 3, 1, 1)), np.array([0.7, 0]), 0.05)
    steps = np.rint(made.bias / (0.05 * made.scale.astype("float64")))
    assert np.allclose(steps * 0.05 * made.scale, [0.7, 0], rtol=1e-5) and (made.values == 0).all()


def test_large_sums_fit_into_32_bits():
    wide, bias = np.ones((2, 60000, 1, 1)), np.array([3.0, 1e4])
    made = quantize_weight(wide, bias, 1e-4)
    sums = np.abs(made.values.astype(np.int64)).sum((1, 2, 3))
    bias32 = np.abs(np.rint(made.bias / (1e-4 * made.scale.astype("float64"))))
    assert (bias32 + 2 * 255 * sums < 2**31).all() and (sums > 0).all()


def test_bias_correction_removes_the_mean_error():
    w, means, bias = RANDOM.normal(size=(5, 8, 3, 3)), RANDOM.normal(size=8) * 3, RANDOM.normal(size=5)
    made = quantize_weight(w, bias, 0.1, means)
    rounded = made.values * made.scale.astype("float64")[:, None, None, None]
    for o in range(5):  # of an input that is its mean everywhere
        before = bias[o] + sum(w[o, c, i, j] * means[c] for c in range(8) for i in range(3) for j in range(3))
        after = made.bias[o] + sum(rounded[o, c, i, j] * means[c] for c in range(8) for i in range(3) for j in range(3))
        assert after == pytest.approx(before, abs=1e-5)


def test_bias_correction_of_one_filter_per_channel():
    w, means = RANDOM.normal(size=(4, 1, 3, 3)), np.array([1.0, 2, 3, 4])
    made = quantize_weight(w, np.zeros(4), 0.1, means)
    error = made.values[:, 0].sum((1, 2)) * made.scale - w[:, 0].sum((1, 2))
    assert np.allclose(made.bias, -error * means, atol=1e-6)


def test_the_depth_runs_over_kernel_row_kernel_column_and_input():
    values = np.arange(2 * 5 * 2 * 3).reshape(2, 5, 2, 3).astype("int8")
    made = reordered(values, 4)
    assert made.shape == (2, 2 * 3 * 2, 4)
    for o, c, i, j in np.ndindex(values.shape):
        assert made[o, (i * 3 + j) * 2 + c // 4, c % 4] == values[o, c, i, j]
    assert np.count_nonzero(made) == np.count_nonzero(values)


def test_blocks_written_out():
    matrix = np.zeros((3, 3, 4), "int8")
    matrix[0, 2], matrix[1, 0], matrix[2, 2] = [1, 0, 0, 2], [3, 0, 0, 0], [0, 0, 0, -4]
    rows = sparse_groups(matrix, 1)
    assert rows.values.tolist() == [[[1, 0, 0, 2]], [[3, 0, 0, 0]], [[0, 0, 0, -4]]]
    assert (rows.columns.tolist(), rows.counts.tolist()) == ([2, 0, 2], [1, 1, 1])
    rows = sparse_groups(matrix, 2)
    assert rows.values.tolist() == [[[0] * 4, [3, 0, 0, 0]], [[1, 0, 0, 2], [0] * 4], [[0, 0, 0, -4], [0] * 4]]
    assert (rows.columns.tolist(), rows.counts.tolist()) == ([0, 2, 2], [2, 1])
    assert rows.values.dtype == np.int8 and rows.columns.dtype == rows.counts.dtype == np.int16


@pytest.mark.parametrize(
    "block, zeros, kernel",
    [(1, 0.75, "int8 sparse 1x4"), (2, 0.75, "int8 sparse 2x4"), (4, 0.75, "int8 sparse 4x4"), (1, 0.1, "int8 dense")],
)
def test_the_kernel_follows_from_the_blocks(block, zeros, kernel):
    kept = np.repeat(RANDOM.random((64 // block, 100)) >= zeros, block, axis=0)
    matrix = (RANDOM.integers(1, 127, (64, 100, 4)) * kept[:, :, None]).astype("int8")
    found, name, why = choose_block(matrix, 1 - kept.mean(), linear=False)
    assert (found, name) == (block if zeros > 0.5 else 0, kernel) and "1x4 blocks" in why


def test_zeros_at_random_are_no_blocks():
    matrix = (RANDOM.integers(1, 127, (64, 100, 4)) * (RANDOM.random((64, 100, 4)) > 0.5)).astype("int8")
    assert choose_block(matrix, 0.5, linear=False)[0] == 0


def test_a_quantizer_written_out():
    made = Quantizer.of_range(-1.0, 1.55)
    assert made.zero == 100 and made.scale == pytest.approx(0.01)
    assert made.bytes([-9, -1, 0, 0.014, 1.55, 9]).tolist() == [0, 0, 100, 101, 255, 255]
    assert np.float32(float(made.words["scale"])) == made.scale == float(np.float32(made.scale))


@pytest.mark.parametrize(
    "low, high, zero", [(0, 5, 0), (2, 5, 0), (-5, 0, 255), (-5, -2, 255), (0, 0, 0), (0, 1e-44, 0)]
)
def test_every_range_holds_zero(low, high, zero):
    made = Quantizer.of_range(low, high)
    assert made.zero == zero and made.scale > 0 and np.isfinite(np.float32(1 / made.scale))
    assert made.range[0] <= low + 1e-6 and made.range[1] >= high - 1e-6


@pytest.mark.parametrize(
    "act", ["hard_swish", "hard_sigmoid:0.2:0.5", "sigmoid", "swish", "tanh", "gelu", "leaky_relu:0.1", "relu6"]
)
def test_a_table_is_the_activation_to_half_a_step(act):
    function, source = activation(act), Quantizer.of_range(-4, 6)
    exact = function(source.real())
    target = Quantizer.of_range(exact.min(), exact.max())
    made = target.real()[table(function, source, target)]
    assert np.abs(made - exact).max() <= 0.51 * target.scale  # the zero point moves the ends of the range a little


@pytest.mark.parametrize("act", ["hard_swish", "hard_sigmoid:0.2:0.5", "sigmoid", "swish", "tanh", "gelu", "relu6"])
def test_inputs_that_do_not_matter_are_not_covered(act):
    low, high = useful_inputs(act)
    function, x = activation(act), np.linspace(-30, 30, 4001)
    beyond = np.abs(function(x) - function(np.clip(x, low, high)))
    assert beyond.max() <= 0.5 / 255 and (np.isfinite(low) or np.isfinite(high))


def test_a_scale_that_is_the_same_for_all_channels_is_a_table():
    same = Layer("affine", weight=np.full(3, 2.0), bias=np.full(3, 1.0), act="relu")
    assert function_of(same)(np.array([-3.0, 4.0])).tolist() == [0, 9]
    assert function_of(Layer("affine", weight=np.array([1.0, 2.0]), bias=np.zeros(2))) is None
