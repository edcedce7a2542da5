# SPDX-License-Identifier: Apache-2.0
"""Two ranks that train an nn.Layer on half batches give what one rank gives on whole ones."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from jobs import WORKERS, launch

sys.path.insert(0, str(WORKERS))
from layer_cases import CASES, Training  # noqa: E402


def run(folder, how):
    with launch(WORKERS / "train_layers_on_ranks.py", folder, how, folder=folder) as job:
        job.succeed(90)
    return [
        (dict(np.load(folder / f"rank_{rank}.npz")), json.loads((folder / f"rank_{rank}.json").read_text()))
        for rank in (0, 1)
    ]


@pytest.fixture(scope="module", params=["paddle's", pytest.param("ours", marks=pytest.mark.slow)])
def ranks(request, tmp_path_factory):
    """What two ranks have found, joined by `distributed.init()` or by `paddle.distributed.init_parallel_env()`."""
    return run(tmp_path_factory.mktemp("ranks"), request.param)


def of(arrays, case):
    return {name[len(case) + 1 :]: value for name, value in arrays.items() if name.startswith(case + "/")}


def check(case, ranks):
    training = Training(case, lambda model: model)
    training.train()
    alone, together, other = training.everything(), of(ranks[0][0], case), of(ranks[1][0], case)
    assert alone.keys() == together.keys() and len([name for name in alone if "mask" in name]) == 3
    assert 0.4 < training.pruner.sparsity() < 0.8
    for name, value in alone.items():
        assert np.array_equal(together[name], other[name]), name
        if name.endswith("mask"):
            assert np.array_equal(value, together[name]), name
        else:
            np.testing.assert_allclose(together[name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_the_weights_and_masks_of_one(ranks, case):
    check(case, ranks)


@pytest.mark.slow
def test_fleets_wrapper_is_a_model_too(tmp_path):
    ranks = run(tmp_path, "fleet")
    check("lamp", ranks)
    assert ranks[0][1]["names"] == ["0.weight", "2.weight", "4.weight"]


@pytest.mark.parametrize("what, name", [("weight", "2.weight"), ("optimizer", "optimizer: linear_0.w_0_velocity")])
def test_what_differs_is_named_at_the_next_update_and_mended(ranks, what, name):
    for _, report in ranks:
        warning, after = report[what]
        assert name in warning and "all go on with rank 0's" in warning and after == "same True"
        assert report["nothing"] == ["same True"]


def test_statistics_of_norms_are_averaged(ranks):
    assert [report["mean"] for _, report in ranks] == [[0.5] * 3] * 2


def test_a_pruner_before_the_ranks_are_joined_says_what_is_missing(ranks):
    assert all("init_parallel_env() will do" in report["early"] for _, report in ranks)
