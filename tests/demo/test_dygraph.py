# SPDX-License-Identifier: Apache-2.0
"""The demo of nn.Layers: from the same weights its run is that of train.py to the bit, resumed or not."""

import json
import shutil

import numpy as np
import paddle
import pytest
from commands import DEMO, GMP, TINY, history, run
from jobs import launch


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


def test_a_run_of_one_step_is_one_as_in_the_static_demo(tmp_path):
    flags = ("--data", "digits", "--model", "LeNet", "--batch_size", 1437, "--num_epochs", 1)
    run("dygraph.py", *flags, "--pruning_strategy", "base", "--ratio", 0.5, "--model_path", tmp_path / "one")
    assert history(tmp_path / "one", 0)[-1]["sparsity"] > 0
    recipe = ("--recipe", "best", "--ratio", 0.5, "--pretrained_model", tmp_path / "one")
    said = run("dygraph.py", *flags, *recipe, "--model_path", tmp_path / "two", fails=True)
    assert "--num_epochs must give a recipe at least 2 steps, got 1" in said.stderr


def test_the_recipe_with_a_teacher_is_that_of_the_static_run(dense, tmp_path):
    flags = (
        "--recipe",
        "best",
        "--ratio",
        0.9,
        "--teacher_weight",
        0.5,
        "--num_epochs",
        2,
        "--pretrained_model",
        dense,
    )
    for program in ("train.py", "dygraph.py"):
        run(program, *TINY, *flags, "--model_path", tmp_path / program)
    ours, theirs = (weights(tmp_path / program / "epoch_1") for program in ("dygraph.py", "train.py"))
    assert max(np.abs(ours[name] - theirs[name]).max() for name in ours) < 1e-5
    shutil.copytree(tmp_path / "dygraph.py" / "epoch_0", tmp_path / "again" / "epoch_0")
    run("dygraph.py", "--checkpoint", tmp_path / "again")  # the teacher is in the checkpoint
    resumed = weights(tmp_path / "again" / "epoch_1")
    assert all(np.array_equal(ours[name], resumed[name]) for name in ours)


def test_training_in_8_bits_leaves_ranges_beside_the_model(dense, tmp_path):
    flags = ("--quantize_aware", "--pruning_strategy", "base", "--ratio", 0.5, "--pretrained_model", dense)
    run("dygraph.py", *TINY, *flags, "--num_epochs", 2, "--model_path", tmp_path / "run")
    ranges = json.loads((tmp_path / "run" / "inference" / "model.ranges.json").read_text())
    assert len(ranges.pop("pdiparams_sha256")) == 64
    assert len(ranges) == 5 and all(low < high for one in ranges.values() for low, high in one.values())
    assert history(tmp_path / "run", 1)[-1]["test_top1"] > 0.8
    shutil.copytree(tmp_path / "run" / "epoch_0", tmp_path / "again" / "epoch_0")
    run("dygraph.py", "--checkpoint", tmp_path / "again")
    whole, resumed = (weights(tmp_path / name / "epoch_1") for name in ("run", "again"))
    assert sum(name.endswith("_range") for name in whole) == 5
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [GMP, ("--pruning_strategy", "dense", "--num_epochs", 6)])
def test_two_ranks_train_what_one_rank_trains_with_batches_twice_as_large(strategy, dense, tmp_path):
    flags = (*TINY, *strategy, "--pretrained_model", dense)
    run("dygraph.py", *flags, "--model_path", tmp_path / "one")
    half = (64 if flag == "128" else flag for flag in flags)
    with launch(
        DEMO / "dygraph.py", "--is_distributed", "True", *half, "--model_path", tmp_path / "two", folder=tmp_path
    ) as job:
        job.succeed(120)
    assert_alike(tmp_path / "two", tmp_path / "one")
    shutil.copytree(tmp_path / "two" / "epoch_1", tmp_path / "again" / "epoch_1")
    again = (DEMO / "dygraph.py", "--is_distributed", "True", "--checkpoint", tmp_path / "again")
    with launch(*again, folder=tmp_path / "logs") as job:
        job.succeed(120)
    whole, resumed = (weights(tmp_path / name / "epoch_5") for name in ("two", "again"))
    assert whole.keys() == resumed.keys() and all(np.array_equal(whole[name], resumed[name]) for name in whole)


def assert_alike(many, one):
    """The same zeros, and weights that differ by rounding, which grows tenfold in an epoch on some processors."""
    for epoch, most in (("epoch_0", 5e-5), ("epoch_5", 5e-3)):
        together, alone = weights(many / epoch), weights(one / epoch)
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            assert ((value == 0) == (together[name] == 0)).all() and np.abs(value - together[name]).max() < most, name
