# SPDX-License-Identifier: Apache-2.0
"""`--target-ms` and `--speedup` of `prune` and `accelerate`, and `tune`: what they write, and what they refuse."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from nets import Net

from paddle_unstructured.budget import kept_times, times


@pytest.fixture
def photos(static, tmp_path, monkeypatch):
    """A model of images of open size, `in/model`, and 48 samples, `x.npy`; times are kept in `times`."""
    monkeypatch.chdir(tmp_path)
    own = SimpleNamespace(home=lambda: tmp_path / "times", make_home=lambda: (tmp_path / "times").mkdir(exist_ok=True))
    monkeypatch.setattr(kept_times, "kept", own)
    monkeypatch.setattr(times, "_SECONDS", 0.2)

    def layers(x):
        wide = paddle.nn.functional.relu(paddle.nn.Conv2D(3, 64, 3, padding=1)(x))
        deep = paddle.nn.functional.relu(paddle.nn.Conv2D(64, 64, 3, padding=1)(wide))
        return paddle.nn.Linear(64, 8)(deep.mean([2, 3]))

    net = Net(layers, [-1, 3, -1, -1], own_scope=True)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model("in/model", [net.input], [net.output], net.exe, program=net.program)
    coarse = np.random.default_rng(0).normal(size=(48, 3, 8, 8)).astype(np.float32)
    np.save("x.npy", np.kron(coarse, np.ones((1, 1, 2, 2), np.float32)))


@pytest.mark.slow
def test_prune_to_a_speed_writes_the_model_and_says_what_it_takes(photos, run):
    code, said, _ = run("prune", "in", "--calibrate", "x.npy", "--speedup", "1.3", "-o", "p")
    assert code == 0 and os.path.exists("p.pdiparams")
    for word in ("error by magnitude", "not pruned", "predicted", "measured", "1.3 times faster, float32"):
        assert word in said
    assert len(os.listdir("times")) == 1
    dense, now = map(float, re.search(r"predicted +\d+ +[\d.]+ +([\d.]+) +([\d.]+)", said).groups())
    assert now <= 1.01 * dense / 1.3
    code, _, err = run("prune", "in", "--calibrate", "x.npy", "--target-ms", "0.0001", "-o", "q")
    assert code == 2 and "cannot be reached" in err and "a run takes" in err and not os.path.exists("q.json")


@pytest.mark.slow
def test_accelerate_prunes_to_a_speed_in_int8(photos, run):
    words = ("--int8", "--pattern", "1x4", "--calibrate", "x.npy", "--target-ms", "1000")
    code, said, err = run("accelerate", "in", *words, "-o", "p")
    assert code == 0 and "1000 ms, int8" in said and "int8 dense" in said and "nothing is pruned" in err


@pytest.mark.slow
def test_tune_prints_a_row_for_each_layer_and_remembers(photos, run):
    code, said, _ = run("tune", "in", "--shape", "1,3,12,12")
    assert code == 0 and "not pruned" in said and "98.0%" in said
    assert [line.split()[1] for line in said.splitlines()[2:5]] == ["64x3x3x3", "64x64x3x3", "64x8"]
    assert run("tune", "in", "--shape", "1,3,12,12")[1] == said  # to the digit: it is kept
    assert len(os.listdir("times")) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["prune", "--target-ms", "2"], "need inputs, to know what each layer is worth; give --calibrate DATA"),
        (["prune", "--target-ms", "2", "--speedup", "2"], "not allowed with argument"),
        (["prune", "--target-ms", "2", "--ratio", "0.5"], "not allowed with argument"),
        (["prune", "--target-ms", "0", "--calibrate", "x.npy"], "must be"),
        (["prune", "--target-ms", "nan", "--calibrate", "x.npy"], "must be"),
        (["prune", "--target-ms", "two", "--calibrate", "x.npy"], "invalid float"),
        (["prune", "--speedup", "0.5", "--calibrate", "x.npy"], "--speedup must be"),
        (["prune", "--speedup", "2", "--allocation", "LAMP", "--calibrate", "x.npy"], "--allocation has no meaning"),
        (["prune", "--speedup", "2", "--rules", "r.yaml", "--calibrate", "x.npy"], "--rules has no meaning"),
        (["prune", "--ratio", "0.5", "--threads", "2"], "--threads has no meaning without --target-ms or --speedup"),
        (["prune", "--ratio", "0.5", "--int8"], "--int8 has no meaning without --target-ms or --speedup"),
        (["prune", "--speedup", "2", "--shape", "y=1,2", "--calibrate", "x.npy"], "--shape must be"),
        (["prune", "--speedup", "2", "--threads", "0", "--calibrate", "x.npy"], "whole number >= 1"),
        (["accelerate", "--target-ms", "2"], "--target-ms needs inputs to prune on; give --calibrate DATA"),
        (["accelerate", "--speedup", "2", "--prune", "0.5", "--calibrate", "x.npy"], "not allowed with argument"),
        (["accelerate", "--batch", "2"], "--batch has no meaning without --target-ms or --speedup"),
        (
            ["accelerate", "--int8", "--calibrate", "x.npy", "--speedup", "2", "--most-error", "0.1"],
            "--most-error has no meaning with",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(photos, run, words, message):
    command, *others = words
    code, out, err = run(command, "in", *others, "-o", "p")
    assert (code, out) == (2, "") and message in err and not os.path.exists("p.json")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--int8"], "--int8 needs inputs to find ranges on; give --calibrate DATA"),
        (["--mean", "0"], "--mean has no meaning without --calibrate"),
        ([], "the model leaves sizes of its input 'x' open"),
        (["--pattern", "5"], "pattern"),
    ],
)
def test_tune_refuses_what_makes_no_sense(photos, run, words, message):
    code, out, err = run("tune", "in", *words)
    assert (code, out) == (2, "") and message in err
