# SPDX-License-Identifier: Apache-2.0
"""Trials of choices beside `reconstruct`, what they leave behind, and what allocations choose within a time."""

import numpy as np
import pytest
from small_convnet import data, of_model, saved

from paddle_unstructured import Budget, reconstruct
from paddle_unstructured.allocation import PerLayer
from paddle_unstructured.budget.errors import output_errors
from paddle_unstructured.budget.races import _useful, races
from paddle_unstructured.budget.trial import Trials
from paddle_unstructured.reconstruction.samples import of, split

pytestmark = pytest.mark.usefixtures("static")


@pytest.fixture
def tried(tmp_path, counting):
    """A model with its times, errors of single layers, and trials."""
    model = saved(tmp_path)
    batches = split(model, data(128))
    known = Budget(speedup=1.5).tuned(model, batches)
    fit, held = of(batches, "fit"), of(batches, "choose")
    alone = output_errors(known.model, known.layers, known.levels, fit, held, {}, seed=0)
    return known, alone, Trials(known.model, known.layers, alone, fit, held, seed=0)


def test_nothing_lost_is_no_error_and_more_lost_is_more(tried):
    known, alone, trials = tried
    found = [trials.error({name: known.levels[name][level] for name in alone}) for level in (0, 4, 9, 15)]
    assert found[0] < 1e-10 and found == sorted(found)


def test_a_trial_is_near_to_what_reconstruct_gets(tried, tmp_path):
    known, alone, trials = tried
    choice = {name: known.levels[name][8] for name in alone}
    sizes = {layer.param.name: layer.param.size for layer in known.layers}
    allocation = PerLayer({name: choice[name] / size for name, size in sizes.items()})
    done = reconstruct(saved(tmp_path), data(128), allocation=allocation)
    assert 0.7 < trials.error(choice) ** 0.5 / done.error < 2.5  # which searches longer, on more data


def test_a_trial_leaves_the_model_as_it_was(tried):
    known, alone, trials = tried
    before = of_model(known.model)
    trials.error({name: known.levels[name][-1] for name in alone})
    for name, array in of_model(known.model).items():
        np.testing.assert_array_equal(array, before[name])


def test_masks_have_the_zeros_that_were_asked_for_and_those_between_anchors_are_nested(tried):
    known, alone, _ = tried
    for name, one in alone.items():
        masks = [one.mask(zeros) for zeros in known.levels[name]]
        assert [mask.size - mask.sum() for mask in masks] == list(known.levels[name])
        above = known.levels[name].index(one.anchors[2])
        below = known.levels[name].index(one.anchors[1])
        for less, more in zip(masks[below + 1 : above], masks[below + 2 : above + 1]):
            assert not (more & ~less).any()  # what stays with more zeros stays with fewer


def test_a_layer_that_loses_nothing_repairs_what_one_before_it_lost(tried):
    known, alone, trials = tried
    first = next(iter(alone))
    zeros = {first: known.levels[first][9]}
    everything, trials._order = trials.error(zeros), trials._order[:1]
    trials._known.clear()
    assert everything < 0.8 * trials.error(zeros)


def test_allocations_keep_within_the_time_and_lose_nothing_for_nothing(tried):
    known, alone, _ = tried
    most = known.times.dense / 1.5 - known.times.fixed
    found = races(known.model.graph, known.layers, {}, known.times, known.levels, most)
    assert [*found] == ["Uniform", "Global", "LAMP"]
    for zeros in found.values():
        took = sum(known.times.of(name, count, known.levels) for name, count in zeros.items())
        assert 0.97 * most < took <= most
        for name, count in zeros.items():
            assert count == 0 or known.times.of(name, count, known.levels) < known.times.of(name, 0, known.levels)


def test_zeros_that_gain_nothing_do_not_fall():
    times, levels = np.array([5.0, 5.0, 4.0, 4.0, 3.0]), (0, 10, 20, 30, 40)
    assert [_useful(zeros, times, levels) for zeros in (0, 5, 10, 15, 20, 30, 35, 99)] == [0, 0, 0, 15, 20, 20, 35, 40]
