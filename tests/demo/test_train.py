# SPDX-License-Identifier: Apache-2.0
"""Training as a user starts it: dense, GMP, resumed, killed, refused."""

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import paddle
import pytest
from commands import GMP, TINY, assert_same, command, environment, history, run, variables

DENSE = ("--pruning_strategy", "dense", "--num_epochs", 4)


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_explains_every_flag(script):
    assert "--use_gpu" in run(script, "--help").stdout


def test_dense_training_learns(dense):
    last = history(dense, 3)[-1]
    assert last["test_top1"] > 0.85 and last["sparsity"] == 0


def test_the_same_seed_gives_the_same_bits(dense, tmp_path):
    run("train.py", *TINY, *DENSE, "--model_path", tmp_path)
    assert_same(dense / "epoch_3", tmp_path / "epoch_3")


def test_gmp_reaches_its_ratio_and_keeps_accuracy(dense, gmp):
    rows = history(gmp, 5)
    sparsities = [row["sparsity"] for row in rows]
    assert sparsities == sorted(sparsities) and sparsities[0] < sparsities[2] == sparsities[5]
    assert sparsities[5] == pytest.approx(0.8, abs=1e-4)  # one of 19,500 weights is 5e-5
    assert rows[5]["test_top1"] > 0.85


def test_stored_weights_are_as_sparse_as_the_run_says(gmp):
    weights = [v for name, v in variables(gmp / "epoch_5").items() if name.endswith(".w_0")]
    zeros, count = sum(int((w == 0).sum()) for w in weights), sum(w.size for w in weights)
    assert zeros / count == pytest.approx(history(gmp, 5)[-1]["sparsity"], abs=1e-6)


def test_best_epoch_is_one_at_the_target_sparsity(gmp):
    best = json.loads((gmp / "epoch_5" / "state.json").read_text())["best"]
    reached = [row for row in history(gmp, 5) if row["sparsity"] >= 0.7999]
    assert best["top1"] == max(row["test_top1"] for row in reached) and best["epoch"] >= 2


@pytest.mark.parametrize("last_epoch", [0, 3])  # while sparsity rises, and after
def test_a_resumed_gmp_run_ends_in_the_same_bits(gmp, tmp_path, last_epoch):
    run("train.py", "--checkpoint", gmp, "--last_epoch", last_epoch, "--model_path", tmp_path)
    assert_same(gmp / "epoch_5", tmp_path / "epoch_5")
    assert history(gmp, 5) == history(tmp_path, 5)


def test_a_finished_run_has_nothing_left_to_do(gmp):
    before = variables(gmp / "epoch_5")
    run("train.py", "--checkpoint", gmp)
    assert all(np.array_equal(value, before[name]) for name, value in variables(gmp / "epoch_5").items())


def test_a_resumed_dense_run_ends_in_the_same_bits_with_all_flags_repeated(dense, tmp_path):
    run("train.py", *TINY, *DENSE, "--checkpoint", dense / "epoch_1", "--last_epoch", 1, "--model_path", tmp_path)
    assert_same(dense / "epoch_3", tmp_path / "epoch_3")


def test_a_killed_run_resumes_to_the_same_bits(dense, gmp, tmp_path):
    flags = (*TINY, *GMP, "--pretrained_model", dense, "--model_path", tmp_path)
    killed = subprocess.Popen(command("train.py", *flags), env=environment(), stdout=subprocess.DEVNULL)
    while not (tmp_path / "epoch_1").exists() and killed.poll() is None:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    run("train.py", "--checkpoint", tmp_path)
    assert_same(gmp / "epoch_5", tmp_path / "epoch_5")


def test_threshold_mode_prunes_what_is_below(dense, tmp_path):
    flags = ("--pruning_mode", "threshold", "--threshold", 0.05, "--num_epochs", 1)
    run("train.py", *TINY, *flags, "--pretrained_model", dense, "--model_path", tmp_path)
    assert 0 < history(tmp_path, 0)[0]["sparsity"] < 1


def test_blocks_and_equal_layers(dense, tmp_path):
    flags = ("--ratio", 0.5, "--sparse_block", 2, 1, "--local_sparsity", "True", "--num_epochs", 1)
    run("train.py", *TINY, *flags, "--pretrained_model", dense, "--model_path", tmp_path)
    weight = variables(tmp_path / "epoch_0")["linear_0.w_0"]  # [64, 120]
    zero = (weight == 0).reshape(32, 2, 120)
    assert np.array_equal(zero[:, 0], zero[:, 1]) and zero.mean() == 0.5


def test_blocks_for_int8_are_pruned_by_the_recipe_and_leave_the_first_layer_dense(dense, tmp_path):
    flags = ("--recipe", "best", "--block", "1x4", "--ratio", 0.75, "--num_epochs", 2, "--pretrained_model", dense)
    run("train.py", *TINY, *flags, "--model_path", tmp_path)
    saved = variables(tmp_path / "epoch_1")
    first, second = saved["conv2d_0.w_0"], saved["conv2d_1.w_0"]  # [6, 1, 3, 3], [16, 6, 3, 3]
    assert (first != 0).all() and (second == 0).any()
    groups = np.stack([(second[:, :4] == 0).sum(1).ravel(), 2 * (second[:, 4:] == 0).sum(1).ravel()])
    assert set(groups.ravel()) == {0, 4}
    fc = saved["linear_0.w_0"]  # [in, out]
    assert set((fc == 0).reshape(len(fc) // 4, 4, -1).sum(1).ravel()) == {0, 4}


def test_a_pruned_run_goes_on_quantization_aware_with_its_zeros_kept_and_resumes_to_the_same_bits(gmp, tmp_path):
    flags = (*TINY, "--pruning_strategy", "static", "--quantize_aware", "--pretrained_model", gmp, "--num_epochs", 2)
    run("train.py", *flags, "--model_path", tmp_path / "a")
    before, after = variables(gmp / "epoch_5"), variables(tmp_path / "a" / "epoch_1")
    weights = [name for name in before if name.endswith(".w_0")]
    assert len(weights) == 5 and all(((before[n] == 0) == (after[n] == 0)).all() for n in weights)
    assert any((before[n] != after[n]).any() for n in weights)
    assert history(tmp_path / "a", 1)[-1]["test_top1"] > 0.85
    ranges = json.loads((tmp_path / "a" / "inference" / "model.ranges.json").read_text())
    assert len(ranges.pop("pdiparams_sha256")) == 64
    assert sorted(ranges) == sorted(weights) and ranges["linear_0.w_0"]["input"][0] == 0.0  # behind a ReLU
    run("train.py", "--checkpoint", tmp_path / "a", "--last_epoch", 0, "--model_path", tmp_path / "b")
    assert_same(tmp_path / "a" / "epoch_1", tmp_path / "b" / "epoch_1")


def test_the_recipe_reaches_its_ratio_halfway_and_resumes_to_the_same_bits(dense, tmp_path):
    recipe = ("--recipe", "best", "--teacher_weight", 0.5, "--ratio", 0.9, "--num_epochs", 4)
    flags = (*TINY, *recipe, "--pretrained_model", dense)
    run("train.py", *flags, "--model_path", tmp_path / "whole")
    rows = history(tmp_path / "whole", 3)
    assert [round(row["sparsity"], 3) for row in rows][1:] == [0.9, 0.9, 0.9] and rows[0]["sparsity"] < 0.9
    assert rows[-1]["test_top1"] > 0.7
    teacher, taught = variables(dense / "epoch_3"), variables(tmp_path / "whole" / "epoch_3")
    assert (taught["teacher.linear_0.w_0"] == teacher["linear_0.w_0"]).all()
    shutil.copytree(tmp_path / "whole" / "epoch_0", tmp_path / "half" / "epoch_0")
    run("train.py", "--checkpoint", tmp_path / "half")
    assert_same(tmp_path / "whole" / "epoch_3", tmp_path / "half" / "epoch_3")


def test_another_runs_folder_is_not_overwritten(dense):
    message = run("train.py", *TINY, *DENSE, "--model_path", dense, fails=True).stderr
    assert f"--checkpoint {dense}" in message


def test_resuming_a_dense_run_with_pruning_is_refused(dense, tmp_path):
    flags = ("--checkpoint", dense, "--pruning_strategy", "base", "--num_epochs", 9, "--model_path", tmp_path)
    message = run("train.py", *flags, fails=True).stderr
    assert "dense" in message and "--pretrained_model" in message


def test_weights_of_another_model_are_refused_by_name(dense, tmp_path):
    flags = ("--model", "MobileNet", "--pretrained_model", dense, "--model_path", tmp_path)
    message = run("train.py", *TINY, *flags, fails=True).stderr
    assert "conv2d_0.w_0" in message and "Traceback" not in message


@pytest.mark.parametrize("lost", ["linear_0.w_0", "linear_0.w_0_velocity_0"])
def test_a_checkpoint_that_lacks_a_variable_is_refused_by_name(gmp, tmp_path, lost):
    shutil.copytree(gmp / "epoch_2", tmp_path / "epoch_2")
    file = str(tmp_path / "epoch_2" / f"model.{'pdparams' if lost.endswith('w_0') else 'pdopt'}")
    state = paddle.load(file)
    del state[lost]
    paddle.save(state, file)
    message = run("train.py", "--checkpoint", tmp_path, fails=True).stderr
    assert f"[{lost}]" in message and "Traceback" not in message
