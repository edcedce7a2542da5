# SPDX-License-Identifier: Apache-2.0
"""Weights on a grid: what rounding takes from one weight, others give back."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.reconstruction.rounding import compensated, grid, levels, nearest
from paddle_unstructured.runtime.int8.weights import quantize_weight


def case(groups=1, outputs=8, inputs=32, sparsity=0.5, seed=0):
    """Second moments of fitted and of other data with one covariance, weights and a mask."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(groups, inputs, inputs)) @ np.diag(np.geomspace(1, 0.01, inputs))
    fit, held = (random.normal(size=(groups, rows, inputs)) @ mixing for rows in (600, 200))
    weight = random.normal(size=(groups, outputs, inputs)).astype(np.float32)
    mask = random.random(weight.shape) >= sparsity
    return fit.transpose(0, 2, 1) @ fit, held.transpose(0, 2, 1) @ held, weight * mask, mask


def error(second, a, b):
    return float((((a - b) @ second) * (a - b)).sum())


def test_an_input_that_is_the_twin_of_another_gives_back_what_rounding_took():
    second = np.array([[[1.0, 0.999, 0], [0.999, 1.0, 0], [0, 0, 1.0]]])
    weight = np.array([[[0.4, 0.4, 3.0]]], np.float32)
    mask = np.ones(weight.shape, bool)
    assert nearest(weight, 3).tolist() == [[[0, 0, 3]]]
    assert sorted(compensated(second, weight, mask, 3)[0, 0, :2].tolist()) == [0, 1]  # 0.8 together


def test_independent_inputs_go_to_the_nearest_level():
    _, _, weight, mask = case()
    second = np.diag(np.arange(1.0, 33.0))[None]
    assert np.allclose(compensated(second, weight, mask, 7), nearest(weight, 7), atol=1e-6)


@pytest.mark.parametrize("groups, inputs", [(1, 32), (1, 200), (6, 9)])
@pytest.mark.parametrize("bits", [8, 4])
def test_outputs_on_other_data_are_nearer_than_by_rounding_each_by_itself(groups, inputs, bits):
    fit, held, weight, mask = case(groups, inputs=inputs)
    most = levels(bits)
    found = compensated(fit, weight, mask, most)
    assert error(held, found, weight) < 0.95 * error(held, nearest(weight, most), weight)
    assert not found[~mask].any()
    steps = found / grid(weight, most)
    assert np.allclose(steps, np.rint(steps), atol=1e-4) and np.abs(steps).max() <= most + 1e-4


def test_the_int8_runtime_finds_such_weights_exact():
    fit, _, weight, mask = case()
    found = compensated(fit, weight, mask, levels(8))[0]
    rounded = quantize_weight(found[:, :, None, None], np.zeros(len(found), np.float32), 0.1)
    assert np.allclose(rounded.values[:, :, 0, 0] * rounded.scale[:, None], found, rtol=1e-5, atol=1e-7)


def test_an_output_without_weights_and_an_input_that_is_never_seen_stay_finite():
    fit, _, weight, mask = case()
    fit[:, 3], fit[:, :, 3], mask[:, 2], weight[:, 2] = 0, 0, False, 0
    found = compensated(fit, weight, mask, 127)
    assert np.isfinite(found).all() and not found[:, 2].any()
    assert found[0, :, 3] == pytest.approx(nearest(weight, 127)[0, :, 3], abs=1e-6)


def test_inputs_that_say_the_same_in_float32_are_rounded_all_the_same():
    x = np.random.default_rng(0).normal(size=(1, 50, 1)).astype(np.float32) * np.linspace(1, 1e4, 64, dtype=np.float32)
    _, _, weight, mask = case(inputs=64)
    second = x.transpose(0, 2, 1) @ x - np.float32(2.0) * np.eye(64, dtype=np.float32) * np.square(x).mean()
    found = compensated(second, weight, mask, 127)
    assert np.isfinite(found).all() and not found[~mask].any()
