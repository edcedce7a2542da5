# SPDX-License-Identifier: Apache-2.0
"""The exact cut, on hand-written scores and against a greedy loop that anybody can follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import tensor

from paddle_unstructured.ranking.cut import cut, weigh


@dataclass
class Result:
    keep: list[list[int]]  # 1 = stays
    pruned: list[int]
    threshold: list[float]


def decide(scores, total, *, alive=None, sizes=None, low=None, high=None, dtype="float32") -> Result:
    """`cut` on lists of numbers, one list per layer."""
    alive = alive or [[1] * len(s) for s in scores]
    sizes = sizes or [1] * len(scores)
    weights = [n * len(s) if isinstance(n, int) else sum(n) for n, s in zip(sizes, scores)]
    found = cut(
        [tensor(s, dtype) for s in scores],
        [tensor(a, dtype) for a in alive],
        [n if isinstance(n, int) else tensor(n, "int64") for n in sizes],
        total=tensor([total], "int64"),
        low=tensor(low or [0] * len(scores), "int64"),
        high=tensor(high or weights, "int64"),
    )
    return Result([k.numpy().astype(int).tolist() for k in found.keep], found.pruned.tolist(), found.threshold.tolist())


def greedy(scores, total, *, alive=None, sizes=None, low=None, high=None) -> tuple[list[list[int]], list[int]]:
    """What `cut` means, for units of one weight: rising scores, equal ones in stored order, within the bounds."""
    alive = alive or [[1] * len(s) for s in scores]
    keep = [[int(a != 0) for a in layer] for layer in alive]
    pruned = [layer.count(0) for layer in keep]
    low = low or [0] * len(scores)
    high = high or [len(s) for s in scores]
    order = sorted((s, i, j) for i, layer in enumerate(scores) for j, s in enumerate(layer) if keep[i][j])
    for bound in ("low", "total"):
        for _, i, j in order:
            wanted = pruned[i] < low[i] if bound == "low" else sum(pruned) < total and pruned[i] < high[i]
            if keep[i][j] and wanted:
                keep[i][j] = 0
                pruned[i] += 1
    return keep, pruned


def greedy_units(scores, total, sizes) -> list[list[int]]:
    """For units of several weights, without bounds: rising scores until a unit does not fit any more."""
    keep, room = [[1] * len(s) for s in scores], total
    for _, i, j in sorted((s, i, j) for i, layer in enumerate(scores) for j, s in enumerate(layer)):
        room -= sizes[i] if isinstance(sizes[i], int) else sizes[i][j]
        if room < 0:
            break
        keep[i][j] = 0
    return keep


# -- by hand


def test_the_lowest_scores_fall():
    assert decide([[4.0, 1.0, 3.0, 2.0]], 2).keep == [[1, 0, 1, 0]]


def test_layers_race_for_one_budget():
    assert decide([[5.0, 6.0], [1.0, 9.0, 2.0]], 3).keep == [[0, 1], [0, 1, 0]]


def test_the_shape_of_a_layer_is_kept():
    assert decide([[[4.0, 1.0], [3.0, 2.0]]], 2, alive=[[[1, 1], [1, 1]]], high=[4]).keep == [[[1, 0], [1, 0]]]


def test_equal_scores_drop_exactly_half():
    assert decide([[7.0] * 10], 5).keep == [[0] * 5 + [1] * 5]


def test_equal_scores_fall_in_stored_order_across_layers():
    assert decide([[1.0, 2.0, 1.0], [1.0, 1.0]], 3).keep == [[0, 1, 0], [0, 1]]


def test_ties_at_the_rank_fall_after_everything_below():
    assert decide([[3.0, 3.0], [1.0, 3.0]], 2).keep == [[0, 1], [0, 1]]


def test_scores_may_be_negative():
    assert decide([[0.5, -3.0, 0.0, -1.0]], 2).keep == [[1, 0, 1, 0]]


def test_infinite_scores_are_scores():
    assert decide([[np.inf, 1.0, -np.inf, np.inf]], 3).keep == [[0, 0, 0, 1]]


def test_minus_infinity_ranks_below_finite_scores_of_its_coarse_bin():
    assert decide([[0.0, -np.inf]], 1).keep == [[1, 0]]


def test_nothing_falls_at_total_zero():
    result = decide([[0.0, 1.0], [2.0]], 0)
    assert (result.keep, result.pruned) == ([[1, 1], [1]], [0, 0])


def test_a_count_of_nothing_has_every_bin_though_paddle_forgets_minlength(monkeypatch):
    """As Paddle 3.0 does: its `bincount` of an empty tensor is empty."""
    bincount = paddle.bincount
    monkeypatch.setattr(paddle, "bincount", lambda x, **words: bincount(x, **words if x.size else {}))
    assert decide([[3, 1], [2]], 0).keep == [[1, 1], [1]]
    assert weigh(paddle.zeros([0], "int64"), paddle.zeros([0], "int64"), 3).tolist() == [0, 0, 0]


def test_no_candidate_is_no_reason_to_join_nothing(monkeypatch):
    """As Paddle 3.0 does: its `concat` refuses tensors that are all empty."""
    concat = paddle.concat

    def refusing(tensors, *words, **more):
        assert any(tensor.size for tensor in tensors)
        return concat(tensors, *words, **more)

    monkeypatch.setattr(paddle, "concat", refusing)
    assert decide([[3, 1], [2]], 0).keep == [[1, 1], [1]]
    assert decide([[3, 1], [2]], 0, sizes=[[2, 1], 1]).keep == [[1, 1], [1]]


def test_everything_falls_at_total_all():
    result = decide([[0.0, 1.0], [2.0]], 3)
    assert (result.keep, result.pruned) == ([[0, 0], [0]], [2, 1])


def test_one_weight_alone_can_be_cut():
    assert decide([[1.0]], 1).keep == [[0]]


def test_what_fell_before_ranks_below_a_living_zero():
    assert decide([[0.0, 5.0, 0.0]], 2, alive=[[1, 0, 1]]).keep == [[0, 0, 1]]


def test_what_fell_before_counts_and_stays_down_however_it_scores():
    result = decide([[1.0, 100.0, 2.0, 3.0]], 2, alive=[[1, 0, 1, 1]])
    assert (result.keep, result.pruned) == ([[0, 0, 1, 1]], [2])


def test_a_lower_total_than_before_changes_nothing():
    result = decide([[1.0, 2.0], [3.0, 4.0]], 1, alive=[[1, 0], [0, 1]])
    assert (result.keep, result.pruned) == ([[1, 0], [0, 1]], [1, 1])


def test_a_layer_that_fell_before_as_a_whole_leaves_the_others_racing():
    assert decide([[9.0, 9.0], [1.0, 2.0]], 3, alive=[[0, 0], [1, 1]]).keep == [[0, 0], [0, 1]]


def test_no_layer_loses_more_than_its_high_bound_and_the_others_pay():
    result = decide([[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]], 4, high=[2, 3])
    assert (result.keep, result.pruned) == ([[0, 0, 1], [0, 0, 1]], [2, 2])


def test_no_layer_loses_less_than_its_low_bound_and_the_others_gain():
    result = decide([[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]], 3, low=[0, 2])
    assert (result.keep, result.pruned) == ([[0, 1, 1], [0, 0, 1]], [1, 2])


def test_low_bounds_win_over_a_total_they_exceed():
    assert decide([[1.0, 2.0], [3.0, 4.0]], 1, low=[1, 1]).pruned == [1, 1]


def test_high_bounds_win_over_a_total_they_cannot_reach():
    assert decide([[1.0, 2.0], [3.0, 4.0]], 4, high=[1, 1]).pruned == [1, 1]


def test_equal_bounds_prune_every_layer_by_itself():
    result = decide([[1.0, 2.0, 3.0, 4.0], [90.0, 80.0]], 3, low=[2, 1], high=[2, 1])
    assert result.keep == [[0, 0, 1, 1], [1, 0]]


def test_weights_that_fell_before_may_exceed_a_high_bound():
    assert decide([[1.0, 2.0, 3.0], [5.0, 6.0]], 3, alive=[[0, 0, 1], [1, 1]], high=[1, 2]).keep == [[0, 0, 1], [0, 1]]


@pytest.mark.parametrize("others", [[], [0.0, 100.0]])  # alone, and within one coarse bin of a wider range
def test_float64_tells_neighbours_apart_that_float32_cannot(others):
    one, next_one = 1.0, np.nextafter(1.0, 2.0)
    keep = decide([[next_one, one, next_one, one, *others]], 2 + (0.0 in others), dtype="float64").keep
    assert keep == [[1, 0, 1, 0] + [0, 1] * (0.0 in others)]


def test_float32_neighbours_are_told_apart():
    step = np.spacing(np.float32(1.0))
    assert decide([[1.0 + 2 * step, 1.0, 1.0 + step]], 2).keep == [[1, 0, 0]]


def test_scores_over_seventy_powers_of_ten_are_told_apart():
    scores = [10.0**e for e in range(-35, 36)]
    assert decide([scores[::-1]], 30).keep == [[1] * 41 + [0] * 30]


def test_float64_scores_beyond_the_range_of_float32_are_told_apart():
    assert decide([[1e300, 1e-300, 1e-299, 1e299, -1e300]], 3, dtype="float64").keep == [[1, 0, 0, 1, 0]]


def test_layers_of_different_precision_race():
    scores, sizes = [tensor([1.0, 4.0]), tensor([2.0, 3.0], "float64")], [tensor([1, 1]), tensor([1, 1], "float64")]
    found = cut(
        scores, sizes, [1, 1], total=tensor([2], "int64"), low=tensor([0, 0], "int64"), high=tensor([2, 2], "int64")
    )
    assert [k.tolist() for k in found.keep] == [[0.0, 1.0], [0.0, 1.0]]
    assert [k.dtype for k in found.keep] == [paddle.float32, paddle.float64]


def test_the_threshold_is_the_score_of_the_last_that_fell():
    assert decide([[4.0, 1.0, 3.0, 2.0]], 2).threshold == [2.0]


def test_the_threshold_of_a_layer_that_lost_nothing_new_is_nan():
    assert np.isnan(decide([[4.0, 1.0]], 1, alive=[[1, 0]]).threshold[0])


def test_units_of_two_weights_count_twice():
    result = decide([[3.0, 1.0, 2.0]], 4, sizes=[2])
    assert (result.keep, result.pruned) == ([[1, 0, 0]], [4])


def test_a_unit_that_does_not_fit_the_budget_stays():
    result = decide([[3.0, 1.0, 2.0]], 3, sizes=[2])
    assert (result.keep, result.pruned) == ([[1, 0, 1]], [2])


def test_units_of_one_layer_may_differ_in_size():
    result = decide([[1.0, 2.0, 3.0]], 3, sizes=[[2, 1, 2]])
    assert (result.keep, result.pruned) == ([[0, 0, 1]], [3])


def test_equal_units_of_different_sizes_fall_in_stored_order_while_they_fit():
    assert decide([[1.0, 1.0, 1.0]], 3, sizes=[[2, 2, 1]]).keep == [[0, 1, 1]]


def test_layers_with_units_of_different_sizes_race():
    result = decide([[1.0, 5.0], [2.0, 3.0, 6.0]], 6, sizes=[4, 1])
    assert (result.keep, result.pruned) == ([[0, 1], [0, 0, 1]], [4, 2])


@pytest.mark.parametrize("layers", [2, 6])
def test_bounds_that_no_unit_divides_still_meet_the_total_to_within_one_unit(layers):
    """All layers but the last are held at 3 weights in units of 2, and hold only 2: the last one pays for that."""
    scores = [[1.0, 2.0, 3.0]] * (layers - 1) + [[float(s) for s in range(10, 30)]]
    total = 3 * (layers - 1) + 10
    result = decide(scores, total, sizes=[2] * layers, high=[3] * (layers - 1) + [40])
    assert total - 2 < sum(result.pruned) <= total


# -- against the greedy loop


def random_scores(rng, kind: str, n: int) -> np.ndarray:
    return {
        "normal": lambda: rng.normal(size=n),
        "few": lambda: rng.integers(0, 4, n),
        "wide": lambda: 10.0 ** rng.uniform(-30, 30, n) * rng.choice([-1, 1], n),
        "zeros": lambda: np.abs(rng.normal(size=n)) * rng.choice([0, 1], n),
        "equal": lambda: np.full(n, 0.3),
    }[kind]()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["normal", "few", "wide", "zeros", "equal"])
def test_random_layers_are_cut_as_the_greedy_loop_cuts_them(kind, dtype):
    rng = np.random.default_rng(7)
    for _ in range(40):
        lengths = rng.integers(1, 50, rng.integers(1, 5)).tolist()
        scores = [random_scores(rng, kind, n).astype(dtype).tolist() for n in lengths]
        died = rng.choice([0.0, 0.3, 1.0], p=[0.5, 0.4, 0.1])
        alive = [(rng.random(n) >= died).astype(int).tolist() for n in lengths]
        pairs = [sorted(rng.integers(0, n + 1, 2).tolist()) if rng.random() < 0.5 else [0, n] for n in lengths]
        bounds = {"low": [a for a, _ in pairs], "high": [b for _, b in pairs]}
        total = int(rng.integers(0, sum(lengths) + 1))
        result = decide(scores, total, alive=alive, dtype=dtype, **bounds)
        assert (result.keep, result.pruned) == greedy(scores, total, alive=alive, **bounds)


@pytest.mark.parametrize("kind", ["normal", "few"])
def test_random_units_are_cut_as_the_greedy_loop_cuts_them(kind):
    rng = np.random.default_rng(8)
    for _ in range(60):
        lengths = rng.integers(1, 30, rng.integers(1, 4)).tolist()
        scores = [random_scores(rng, kind, n).astype("float32").tolist() for n in lengths]
        sizes = [int(rng.integers(1, 6)) if rng.random() < 0.5 else rng.integers(1, 6, n).tolist() for n in lengths]
        weights = [size * n if isinstance(size, int) else sum(size) for size, n in zip(sizes, lengths)]
        total = int(rng.integers(0, sum(weights) + 1))
        assert decide(scores, total, sizes=sizes).keep == greedy_units(scores, total, sizes)


def test_a_layer_larger_than_the_sample_that_sets_the_bins_is_cut_exactly():
    rng = np.random.default_rng(9)
    scores = rng.normal(size=50_000).astype("float32")
    scores[1::13] = 1e6  # beyond the bins, off the sample's stride
    for total in (1, 25_000, 46_500, 49_999):
        keep = np.array(decide([scores.tolist()], total).keep[0])
        expected = np.ones(scores.size, int)
        expected[np.argsort(scores, kind="stable")[:total]] = 0
        assert (keep == expected).all()


# -- what always holds

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.just(np.inf) | st.integers(-2, 2).map(float)
scores_of_layers = st.lists(st.lists(numbers, min_size=1, max_size=12), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(scores_of_layers, st.data())
def test_exactly_total_weights_are_pruned_whatever_the_scores(scores, data):
    total = data.draw(st.integers(0, sum(map(len, scores))))
    result = decide(scores, total)
    assert sum(layer.count(0) for layer in result.keep) == sum(result.pruned) == total


@settings(max_examples=40, deadline=None, derandomize=True)
@given(scores_of_layers, st.data())
def test_nothing_that_stays_scores_below_anything_that_falls(scores, data):
    result = decide(scores, data.draw(st.integers(0, sum(map(len, scores)))))
    flat = [(s, k) for layer, keep in zip(scores, result.keep) for s, k in zip(layer, keep)]
    assert max((s for s, k in flat if not k), default=-np.inf) <= min((s for s, k in flat if k), default=np.inf)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(scores_of_layers, st.data())
def test_masks_of_a_rising_total_are_nested(scores, data):
    n = sum(map(len, scores))
    first, second = sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))
    before = decide(scores, first).keep
    after = decide(scores, second, alive=before).keep
    assert all(b >= a for old, new in zip(before, after) for b, a in zip(old, new))
    assert after == decide(scores, second).keep
