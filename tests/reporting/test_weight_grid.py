# SPDX-License-Identifier: Apache-2.0
"""A weight as people look at it: laid out flat, counted by tiles, and its values in bins."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.graph import Param
from paddle_unstructured.reporting.weight_grid import density, grid, histogram


def param(shape: tuple[int, ...], role: str, output: int | None, inputs: int | None) -> Param:
    return Param("w", shape, "float32", role, output_axis=output, input_axis=inputs)


def test_a_linear_weight_shows_outputs_down_and_inputs_across():
    weight = np.array([[1, 2], [3, 4], [5, 6]])  # [in, out]
    laid_out = grid(weight)
    assert laid_out.values.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert (laid_out.down, laid_out.across) == ("2 outputs", "3 inputs")


def test_the_inputs_of_one_kernel_position_stand_side_by_side():
    weight = np.arange(8).reshape(1, 4, 1, 2)  # [out, in, kh, kw]: input i, position k holds 2i + k
    laid_out = grid(weight)
    assert laid_out.values.tolist() == [[0, 2, 4, 6, 1, 3, 5, 7]]
    assert laid_out.across == "1×2 kernel × 4 inputs"


def test_the_param_says_which_axes_are_outputs_and_inputs():
    weight = np.arange(12).reshape(3, 2, 1, 2)  # a transposed convolution's [in, out, kh, kw]
    transposed = grid(weight, param(weight.shape, "conv2d_transpose", 1, 0)).values
    assert transposed.tolist() == [[0, 4, 8, 1, 5, 9], [2, 6, 10, 3, 7, 11]]
    recurrent = np.arange(6).reshape(2, 3)  # [gates x hidden, input]
    assert grid(recurrent, param((2, 3), "rnn", 0, 1)).values.tolist() == recurrent.tolist()


def test_a_weight_of_many_outputs_lies_on_its_side():
    laid_out = grid(np.arange(45).reshape(5, 1, 3, 3))
    assert laid_out.values.shape == (5, 9)
    laid_out = grid(np.arange(360).reshape(40, 1, 3, 3))
    assert laid_out.values.shape == (9, 40) and laid_out.values[0, :2].tolist() == [0, 9]
    assert (laid_out.down, laid_out.across) == ("3×3 kernel × 1 input", "40 outputs")


@pytest.mark.parametrize("shape, flat", [((), (1, 1)), ((5,), (5, 1)), ((2, 3, 4), (2, 12)), ((0, 4), (4, 0))])
def test_weights_of_any_rank_can_be_laid_out(shape, flat):
    values = grid(np.ones(shape)).values
    assert values.shape in (flat, flat[::-1])


def test_a_vector_without_outputs_is_one_row():
    assert grid(np.arange(3), param((3,), "linear", None, 0)).values.tolist() == [[0, 1, 2]]


def test_tiles_count_what_is_kept_and_those_at_the_edge_count_what_they_have():
    kept = np.array([[1, 0, 0], [1, 0, 5], [0, 0, -2]])
    tiles = density(grid(kept.T), cells=2)
    assert tiles.tile == (2, 2) and not tiles.is_exact
    assert tiles.kept.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_a_small_weight_is_shown_exactly():
    weight = np.array([[0.0, -0.0, 1e-45], [3, 0, np.nan]], "float32")
    tiles = density(grid(weight.T), cells=3)
    assert tiles.is_exact and tiles.kept.tolist() == [[0, 0, 1], [1, 0, 1]]


def test_tiles_agree_with_a_slow_count_for_many_shapes():
    random = np.random.default_rng(0)
    for _ in range(60):
        shape, cells = random.integers(1, 40, 2), int(random.integers(1, 12))
        flat = grid((random.random(shape) < 0.4) * 1.0)
        tiles = density(flat, cells)
        down, across = tiles.tile
        assert max(tiles.kept.shape) <= cells
        for i, j in np.ndindex(*tiles.kept.shape):
            part = flat.values[i * down : (i + 1) * down, j * across : (j + 1) * across]
            assert tiles.kept[i, j] == (part != 0).sum() / part.size


def test_kept_weights_are_binned_by_their_value_and_zeros_only_counted():
    counts = histogram(np.array([-1, -0.9, 0, 0, 0.9, 1]), bins=4)
    assert counts.kept.tolist() == [2, 0, 0, 2]
    assert (counts.pruned, counts.zeros, counts.not_finite) == (None, 2, 0)
    assert counts.edges == pytest.approx([-1, -0.5, 0, 0.5, 1])


def test_pruned_weights_are_binned_by_the_value_they_had():
    counts = histogram(np.array([[-2.0, 0], [0, 2]]), np.array([[-1.9, 0.1], [-0.1, 1.9]]), bins=4)
    assert counts.kept.tolist() == [1, 0, 0, 1] and counts.pruned.tolist() == [0, 1, 1, 0]


def test_a_few_far_values_do_not_squeeze_the_rest_and_are_counted_at_the_ends():
    weight = np.concatenate([np.linspace(-1, 1, 10000), [1000.0, -1000.0]])
    counts = histogram(weight)
    assert counts.edges[-1] < 2
    assert counts.kept.sum() == 10002 and counts.kept[0] == counts.kept[-1] >= 2


def test_no_weight_is_lost_or_counted_twice():
    random = np.random.default_rng(1)
    for size in (1, 2, 7, 500):
        before = random.normal(size=size)
        after = before * (random.random(size) < 0.5)
        counts = histogram(after, before)
        assert counts.kept.sum() == (after != 0).sum() and counts.pruned.sum() == counts.zeros == (after == 0).sum()


def test_weights_that_are_not_finite_are_counted_apart():
    counts = histogram(np.array([np.nan, np.inf, 1.0, 0.0]))
    assert counts.not_finite == 2 and counts.kept.sum() == 1 and counts.zeros == 1


@pytest.mark.parametrize("values", [[0.0, 0.0], []])
def test_a_weight_with_nothing_kept_has_an_empty_histogram(values):
    counts = histogram(np.array(values))
    assert counts.kept.sum() == 0 and counts.edges.tolist()[::60] == [-1, 1]


def test_former_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`before` must have the weight's shape \[2, 3\], got \[3, 2\]"):
        histogram(np.ones((2, 3)), np.ones((3, 2)))
