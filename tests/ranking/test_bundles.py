# SPDX-License-Identifier: Apache-2.0
"""Bundles of units that fall together, by hand and against a slow loop."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import tensor

from paddle_unstructured import Int8Block, Param
from paddle_unstructured.ranking.bundles import in_bundles
from paddle_unstructured.ranking.cut import cut


def test_a_unit_has_the_root_mean_square_of_its_bundle_counted_from_the_highest_score_down():
    found = in_bundles(tensor([[7.0, 3.0, 1.0, 9.0, 4.0], [1.0, 1.0, 1.0, 1.0, 2.0]]), 0, 2)
    high, low, second = np.sqrt(65), np.sqrt(12.5), np.sqrt(2.5)
    np.testing.assert_allclose(found.numpy(), [[high, low, 1, high, low], [second, 1, 1, 1, second]], rtol=1e-6)


def test_rows_of_fewer_than_two_bundles_keep_their_scores():
    assert in_bundles(tensor([[3.0, 2.0, 1.0]]), 0, 2).tolist() == [[3.0, 2.0, 1.0]]


@pytest.mark.parametrize("shape, axis, count", [((3, 5, 2, 2), 0, 4), ((9, 4), 1, 3), ((2, 32), 0, 16)])
def test_bundles_are_those_of_a_slow_loop(shape, axis, count):
    scores = np.random.default_rng(0).random(shape, np.float32)
    wanted = np.moveaxis(scores.copy(), axis, 0)
    for row in range(len(wanted)):
        flat = wanted[row].ravel()
        order = np.argsort(-flat, kind="stable")
        for first in range(0, len(flat), count):
            places = order[first : first + count]
            flat[places] = np.sqrt(np.mean(flat[places] ** 2))
        wanted[row] = flat.reshape(wanted[row].shape)
    np.testing.assert_allclose(in_bundles(tensor(scores), axis, count).numpy(), np.moveaxis(wanted, 0, axis), rtol=1e-6)


@pytest.mark.parametrize("shape, role, axes", [((64, 64, 3, 3), "conv2d", (0, 1)), ((256, 96), "linear", (1, 0))])
def test_all_rows_but_one_of_a_balanced_layer_keep_a_multiple_of_16_blocks(shape, role, axes):
    param, pattern = Param("w", shape, "float32", role, "op", *axes), Int8Block(16, balanced=16)
    random, alive = np.random.default_rng(1), tensor(np.ones(shape))
    outputs = shape[axes[0]]
    spread = np.linspace(0.5, 1.0, outputs).reshape([outputs if axis == axes[0] else 1 for axis in range(len(shape))])
    for sparsity in (0.3, 0.75):  # the second cut is of what the first one left
        scores = pattern.units(paddle.abs(tensor(spread * random.normal(size=shape)) * alive), param)
        total, size = tensor([round(sparsity * param.size)], "int64"), pattern.size(param)
        low, high = tensor([0], "int64"), tensor([param.size], "int64")
        found = cut([scores], [pattern.alive(alive, param)], [size], total=total, low=low, high=high)
        kept, alive = found.keep[0], pattern.spread(found.keep[0], param)
        counts = np.moveaxis(kept.numpy(), axes[0], 0).reshape(kept.shape[axes[0]], -1).sum(1)
        assert (counts % 16 != 0).sum() <= 1 and counts.min() < counts.max()
        assert abs((alive.numpy() == 0).mean() - sparsity) < 64 / param.size


def test_the_number_of_a_bundle_is_checked():
    with pytest.raises(ValueError, match="`balanced` must be"):
        Int8Block(16, balanced=0)
