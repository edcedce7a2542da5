# SPDX-License-Identifier: Apache-2.0
"""Mask and weights of one layer against what can be worked out by hand, and against Optimal Brain Surgeon."""

import numpy as np
import pytest
from reconstruction.optimal_brain_surgeon import prune_row

from paddle_unstructured.reconstruction.moments import Moments
from paddle_unstructured.reconstruction.solve import Effort, refit, solve


def moments_of(x, weight):
    """x [rows, inputs], weight [outputs, inputs]: the moments of a layer whose pruned and dense inputs are the same."""
    seen = Moments.empty(1, *weight.shape)
    seen.add(x[None].astype(np.float32), (x @ weight.T)[None].astype(np.float32))
    return seen


def keep_largest(zeros):
    """The projection of single weights in each row: `zeros` of them fall, the smallest first."""

    def project(values, part):
        mask = np.ones(values.shape, bool)
        order = np.abs(values).argsort(-1, kind="stable")[..., : round(zeros * part)]
        np.put_along_axis(mask, order, False, -1)
        return mask

    return project


def correlated(rows, inputs, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, inputs)) @ random.normal(size=(inputs, inputs)) / np.sqrt(inputs)


def test_a_twin_input_takes_over_the_weight_of_the_one_that_falls():
    x = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 2, 1)
    seen = moments_of(x, np.array([[1.0, 3.0]]))
    weight, mask = solve(seen.second, seen.cross, np.array([[[1.0, 3.0]]]), 1e-4, keep_largest(1))
    assert mask.tolist() == [[[False, True]]]
    assert weight[0, 0].tolist() == pytest.approx([0.0, 4.0], abs=1e-2)


def test_independent_inputs_keep_their_weights():
    x = np.diag([1.0, 2.0, 3.0, 4.0])
    seen = moments_of(x, np.array([[1.0, 1.0, 1.0, 1.0]]))
    weight, mask = solve(seen.second, seen.cross, np.ones((1, 1, 4)), 0.01, keep_largest(2))
    assert mask[0, 0].tolist() == [False, False, True, True]  # what reads large inputs is worth more
    assert weight[0, 0].tolist() == pytest.approx([0, 0, 1, 1], abs=1e-5)


def test_an_input_that_is_never_seen_falls_first_and_nothing_is_nan():
    x = np.random.default_rng(0).normal(size=(30, 4))
    x[:, 1] = 0.0
    weight = np.array([[1.0, 100.0, 1.0, 1.0]])
    seen = moments_of(x, weight)
    found, mask = solve(seen.second, seen.cross, weight[None], 0.01, keep_largest(1))
    assert mask[0, 0].tolist() == [True, False, True, True] and np.isfinite(found).all()
    _, mask = solve(seen.second, seen.cross, weight[None], 0.01, keep_largest(0))
    assert refit(seen.second, seen.cross, weight[None], 0.01, mask)[0, 0, 1] == pytest.approx(100.0)


def test_a_layer_that_sees_only_zeros_stays_finite():
    seen = moments_of(np.zeros((10, 3)), np.ones((2, 3)))
    found, _ = solve(seen.second, seen.cross, np.ones((1, 2, 3)), 0.1, keep_largest(1))
    assert np.isfinite(found).all()


def test_strong_damping_keeps_the_old_weights():
    x, weight = correlated(60, 8), np.random.default_rng(1).normal(size=(3, 8))
    seen = moments_of(x, weight)
    found = refit(seen.second, seen.cross, weight[None], 1e6, np.ones((1, 3, 8), bool))
    assert np.allclose(found[0], weight, atol=1e-4)


@pytest.mark.parametrize("inputs", [8, 24, 64])
@pytest.mark.parametrize("sparsity", [0.5, 0.75])
def test_held_back_error_is_near_that_of_optimal_brain_surgeon(inputs, sparsity):
    random = np.random.default_rng(inputs)
    weight = random.normal(size=(16, inputs))
    both = correlated(800, inputs, seed=3)
    seen, held = moments_of(both[:600], weight), moments_of(both[600:], weight)
    zeros = round(sparsity * inputs)
    tried = [
        solve(seen.second, seen.cross, weight[None], 0.01, keep_largest(zeros), penalty=penalty)
        for penalty in Effort.for_inputs(inputs).penalties
    ]
    found, mask = min(tried, key=lambda pair: held.error(pair[0]))
    hessian = seen.second[0] + 0.01 * np.diag(seen.second[0]).mean() * np.eye(inputs)
    exact = np.stack([prune_row(row, hessian, zeros) for row in weight])
    plain = weight * keep_largest(zeros)(weight[None], 1.0)[0]
    assert (found[0][~mask[0]] == 0).all() and ((~mask[0]).sum(-1) == zeros).all()
    assert held.error(found) <= 1.15 * held.error(exact[None])
    assert held.error(found) < held.error(plain[None])


def test_groups_are_solved_as_if_each_were_alone():
    random, zeros = np.random.default_rng(0), 3
    xs, weights = [correlated(50, 9, seed) for seed in (1, 2)], random.normal(size=(2, 1, 9))
    alone = [moments_of(x, w) for x, w in zip(xs, weights)]
    together = Moments.empty(2, 1, 9)
    together.add(np.stack(xs).astype(np.float32), np.stack([x @ w.T for x, w in zip(xs, weights)]).astype(np.float32))
    found, _ = solve(together.second, together.cross, weights, 0.1, keep_largest(zeros))
    for i, one in enumerate(alone):
        expected, _ = solve(one.second, one.cross, weights[i : i + 1], 0.1, keep_largest(zeros))
        assert np.allclose(found[i], expected[0], atol=1e-4)


def test_the_error_is_that_of_the_rows_themselves():
    random = np.random.default_rng(0)
    x, y, weight = random.normal(size=(1, 40, 5)), random.normal(size=(1, 40, 3)), random.normal(size=(1, 3, 5))
    seen = Moments.empty(1, 3, 5)
    for part in (slice(0, 15), slice(15, 40)):
        seen.add(x[:, part].astype(np.float32), y[:, part].astype(np.float32))
    shift = seen.shift(weight)
    left = y[0] - x[0] @ weight[0].T
    assert seen.error(weight) == pytest.approx((left**2).sum(), rel=1e-5)
    assert seen.error(weight, shift) == pytest.approx(((left - left.mean(0)) ** 2).sum(), rel=1e-5)
    assert seen.variation() == pytest.approx(((y[0] - y[0].mean(0)) ** 2).sum(), rel=1e-5)
