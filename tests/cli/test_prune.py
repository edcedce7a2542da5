# SPDX-License-Identifier: Apache-2.0
"""`prune`: what it writes, `check` finds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import paddle
import pytest
from command_lines import DIVISIBLE, WEIGHTS, zeros
from legacy_models import data
from nets import Net, convnet

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import open_model

pytestmark = pytest.mark.usefixtures("static")


@pytest.mark.parametrize("path, out", [("in", "p"), ("in/model.json", "deep/folder/p"), ("train", "p")])
def test_prune_at_a_ratio_writes_exactly_that_many_zeros(model, run, path, out):
    code, said, err = run("prune", path, "--ratio", "0.75", "-o", out)
    assert (code, err) == (0, "")
    assert zeros(out, *WEIGHTS) == 102
    assert run("check", out, "--sparsity", "0.75")[0] == 0
    ending = ".pdparams" if path == "train" else ".pdiparams"
    assert said.rstrip().endswith(f"written: {out}.json, {out}{ending}")
    assert zeros(path, *WEIGHTS) == 0


def test_prune_takes_legacy_models(legacy, run, tmp_path):
    out = str(tmp_path / "p")
    assert run("prune", str(legacy / "conv.pdmodel"), "--ratio", "0.5", "-o", out)[0] == 0
    assert run("check", out, "--sparsity", "0.5")[0] == 0
    pruned = open_model(out)
    assert pruned.files.kind == "inference" and sorted(os.listdir(tmp_path)) == ["p.json", "p.pdiparams"]
    assert np.isfinite(pruned.run(x=data(3, 4, 2, 2))[0]).all()


def test_a_pruned_checkpoint_is_trained_on(model, run):
    run("prune", "train", "--ratio", "0.5", "-o", "p")
    net = Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9), own_scope=True, seed=2)
    with paddle.static.scope_guard(net.scope):
        paddle.static.load(net.program, "p", net.exe)
    pruner = UnstructuredPruner(net.program, ratio=0.5, scope=net.scope)
    pruner.set_static_masks()
    net.train(pruner, 2)
    assert net.zeros(*WEIGHTS) == 68


def test_prune_by_threshold(model, run):
    assert run("prune", "in", "--threshold", "0.1", "-o", "p")[0] == 0
    dense = open_model("in")
    below = sum(int((np.abs(dense.graph.array(name)) < np.float32(0.1)).sum()) for name in WEIGHTS)
    assert zeros("p", *WEIGHTS) == below > 0


PATTERNS = [
    ("2:4", None),
    ("1:4", None),
    ("1:2", None),
    ("2x1", "0.5"),
    ("4x1", "0.6"),
    ("1x4", "0.25"),
    ("2x2", "0.7"),
    ("3x1", "0.5"),
]


@pytest.mark.parametrize(
    "path, pattern, ratio", [*(("in", *one) for one in PATTERNS), ("train", *PATTERNS[0]), ("train", *PATTERNS[3])]
)
def test_what_prune_writes_check_finds(model, run, path, pattern, ratio):
    ratio_words = ["--ratio", ratio] if ratio else []
    code, _, err = run("prune", path, "--pattern", pattern, *ratio_words, "--params", DIVISIBLE, "-o", "p")
    assert (code, err) == (0, "")
    sparsity = ratio or str(1 - int(pattern[0]) / int(pattern[2]))
    assert run("check", "p", "--pattern", pattern, "--sparsity", sparsity, "--params", DIVISIBLE)[0] == 0
    assert run("check", path, "--pattern", pattern, "--sparsity", sparsity, "--params", DIVISIBLE)[0] == 1
    assert zeros("p", "conv2d_0.w_0") == 0


@pytest.mark.parametrize("allocation", ["Global", "LAMP", "Uniform", "ERK"])
def test_prune_with_each_allocation(model, run, allocation):
    assert run("prune", "in", "--ratio", "0.5", "--allocation", allocation, "-o", "p")[0] == 0
    assert zeros("p", *WEIGHTS) == 68
    assert run("check", "p", "--sparsity", "0.5", "--each")[0] == (0 if allocation == "Uniform" else 1)


def test_prune_1x1_convolutions_only(model, run):
    assert run("prune", "in", "--ratio", "0.75", "--conv1x1-only", "-o", "p")[0] == 0
    assert [zeros("p", name) for name in WEIGHTS] == [0, 12, 0]


def test_prune_by_rules(model, run):
    pytest.importorskip("yaml")
    Path("rules.yaml").write_text(
        "- {sparsity: 0.5}\n- {op_types: [linear], pattern: '1:4', sparsity: 0.75}\n"
        "- {op_names: [conv2d_0], exclude: true}\n"
    )
    code, _, err = run("prune", "in", "--rules", "rules.yaml", "-o", "p")
    assert (code, err) == (0, "")
    assert [zeros("p", name) for name in WEIGHTS] == [0, 8, 36]
    assert run("check", "p", "--pattern", "1:4", "--params", "linear.*")[0] == 0


def test_a_model_is_pruned_in_place(model, run):
    assert run("prune", "in", "--ratio", "0.5", "-o", "in/model")[0] == 0
    assert zeros("in", *WEIGHTS) == 68 and sorted(os.listdir("in")) == ["model.json", "model.pdiparams"]


def test_an_emptied_layer_is_warned_of_in_plain_words(model, run):
    code, _, err = run("prune", "in", "--ratio", "1", "-o", "p", "--params", "linear.*")
    assert (code, err) == (0, "warning: no weight is left in linear_0.w_0; what is behind it gets no signal\n")


def calibration(folder: Path, count: int = 64) -> str:
    file = folder / "inputs.npy"
    np.save(file, np.random.default_rng(0).normal(size=(count, 2, 4, 4)).astype(np.float32))
    return str(file)


@pytest.mark.parametrize("method", ["reconstruct", "magnitude"])
def test_pruning_on_inputs_writes_as_many_zeros_and_says_how_near_the_outputs_are(model, run, tmp_path, method):
    file = calibration(tmp_path)
    code, said, _ = run("prune", "in", "--ratio", "0.5", "--calibrate", file, "--method", method, "-o", "p")
    assert code == 0 and "on held-back inputs: relative error of the outputs 0." in said
    assert zeros("p", *WEIGHTS) == 68
    assert ("error by magnitude" in said) == (method == "reconstruct")


@pytest.mark.parametrize(
    "words, message",
    [
        (["in", "--method", "reconstruct"], "--method reconstruct needs inputs; give --calibrate FILE."),
        (["train", "--calibrate", "inputs.npy"], "not a checkpoint; leave out --calibrate."),
        (["in", "--calibrate", "nothing.npy"], "nothing.npy"),
        (["in", "--calibrate", "few.npy"], "at least 4 batches"),
    ],
)
def test_inputs_that_do_not_serve_are_refused_and_nothing_is_written(model, run, tmp_path, words, message):
    calibration(tmp_path)
    np.save(tmp_path / "few.npy", np.zeros((2, 2, 4, 4), np.float32))
    code, out, err = run("prune", *words, "--ratio", "0.5", "-o", "p")
    assert (code, out) == (2, "") and message in err
    assert not os.path.exists("p.json")
