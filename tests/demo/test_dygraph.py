# SPDX-License-Identifier: Apache-2.0
"""The demo of nn.Layers: from the same weights its run is that of train.py to the bit, resumed or not."""

import json
import shutil

import numpy as np
import paddle
import pytest
from commands import GMP, TINY, history, run


@pytest.fixture(scope="module")
def eager(dense, tmp_path_factory):
    """A GMP run from the dense one of train.py."""
    folder = tmp_path_factory.mktemp("runs") / "eager"
    run("dygraph.py", *TINY, *GMP, "--pretrained_model", dense, "--model_path", folder)
    return folder


def weights(checkpoint):
    return paddle.load(str(checkpoint / "model.pdparams"), return_numpy=True)


def test_its_weights_are_those_of_the_static_run_to_the_bit(eager, gmp):
    ours, theirs = weights(eager / "epoch_5"), weights(gmp / "epoch_5")
    assert theirs.keys() - ours.keys() == {"learning_rate_0"} and len(ours) == 10
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []
    assert history(eager, 5) == history(gmp, 5)


def test_a_resumed_run_ends_with_the_same_bits(eager, tmp_path):
    shutil.copytree(eager / "epoch_1", tmp_path / "epoch_1")
    run("dygraph.py", "--checkpoint", tmp_path)
    whole, resumed = weights(eager / "epoch_5"), weights(tmp_path / "epoch_5")
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_the_inference_model_is_as_good_as_the_run_says(eager):
    found = json.loads(run("evaluate.py", "--pruned_model", eager / "inference", "--json").stdout)
    assert found["top1"] == history(eager, 5)[-1]["test_top1"] > 0.85


def test_a_dense_run_learns_and_static_masks_keep_its_zeros(eager, tmp_path):
    run("dygraph.py", *TINY, "--pruning_strategy", "dense", "--num_epochs", 3, "--model_path", tmp_path / "dense")
    assert history(tmp_path / "dense", 2)[-1]["test_top1"] > 0.8
    static = ("--pruning_strategy", "static", "--num_epochs", 1, "--pretrained_model", eager)
    run("dygraph.py", *TINY, *static, "--model_path", tmp_path / "static")
    assert history(tmp_path / "static", 0)[-1]["sparsity"] == history(eager, 5)[-1]["sparsity"]


@pytest.mark.parametrize("flag", ["--recipe best --pretrained_model x", "--quantize_aware"])
def test_what_only_static_programs_can_do_is_refused_by_name(flag, dense, tmp_path):
    flags = [str(dense) if word == "x" else word for word in flag.split()]
    said = run("dygraph.py", *TINY, *flags, "--model_path", tmp_path, fails=True)
    assert f"{flag.split()[0]} is for static Programs so far" in said.stdout + said.stderr
