# SPDX-License-Identifier: Apache-2.0
"""evaluate.py finds what train.py measured, or refuses."""

import json
import shutil

import paddle
import pytest
from commands import history, run


def evaluate(path, *flags) -> dict:
    return json.loads(run("evaluate.py", "--pruned_model", path, "--json", *flags).stdout)


@pytest.mark.parametrize("saved", ["epoch_5", "inference"])
def test_accuracy_and_sparsity_are_those_of_the_training_run(gmp, saved):
    result, last = evaluate(gmp / saved), history(gmp, 5)[-1]
    assert (result["top1"], result["top5"], result["images"]) == (last["test_top1"], last["test_top5"], 360)
    assert result["sparsity"]["totals"]["selected"]["sparsity"] == pytest.approx(last["sparsity"], abs=1e-6)


def test_of_a_run_the_best_epoch_is_taken(gmp):
    best = json.loads((gmp / "epoch_5" / "state.json").read_text())["best"]
    result = evaluate(gmp)
    assert f"epoch_{best['epoch']}" in result["model"] and result["top1"] == best["top1"]


def test_text_shows_the_report_and_the_accuracy(gmp):
    text = run("evaluate.py", "--pruned_model", gmp).stdout
    assert "conv2d_0.w_0" in text and "top-1 0." in text.splitlines()[-1]


def test_a_missing_variable_is_refused_by_name(gmp, tmp_path):
    shutil.copytree(gmp / "epoch_5", tmp_path / "epoch_5")
    file = str(tmp_path / "epoch_5" / "model.pdparams")
    state = paddle.load(file)
    del state["linear_1.w_0"]
    paddle.save(state, file)
    done = run("evaluate.py", "--pruned_model", tmp_path, fails=True)
    assert "linear_1.w_0 is missing" in done.stderr and "Traceback" not in done.stderr


def test_a_cut_inference_model_is_refused(gmp, tmp_path):
    shutil.copytree(gmp / "inference", tmp_path / "inference")
    file = tmp_path / "inference" / "model.pdiparams"
    file.write_bytes(file.read_bytes()[:-1])
    done = run("evaluate.py", "--pruned_model", tmp_path / "inference", fails=True)
    assert "linear_2.w_0" in done.stderr and "Traceback" not in done.stderr


def test_bare_weights_need_the_model_to_be_named(gmp, tmp_path):
    shutil.copy(gmp / "epoch_5" / "model.pdparams", tmp_path / "bare.pdparams")
    assert "--data" in run("evaluate.py", "--pruned_model", tmp_path / "bare", fails=True).stderr
    result = evaluate(tmp_path / "bare", "--data", "digits", "--model", "LeNet")
    assert result["top1"] == history(gmp, 5)[-1]["test_top1"]
