# SPDX-License-Identifier: Apache-2.0
"""What cannot be done is said in one line on stderr, with exit code 2."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from command_lines import refused

import paddle_unstructured

pytestmark = pytest.mark.usefixtures("static")


@pytest.mark.parametrize(
    "words, message",
    [
        ("report nowhere", "no model at nowhere"),
        ("report in --params (", "regular expression"),
        ("report in --params typo.*", "--params 'typo.*' matches no weight; there are conv2d_0.w_0"),
        ("report in -o missing/folder/file", "--output missing/folder/file: its folder is not there; make it first$"),
        ("check nowhere --sparsity 0.5", "no model at nowhere"),
        ("check in", "there is nothing to check for"),
        ("check in --sparsity 75", "must be a fraction of zeros in .*0.55 means 55 %"),
        ("check in --sparsity much", "invalid float value: 'much'"),
        ("check in --pattern 4by1", "--pattern must be kept:of"),
        ("check in --sparsity 0.5 --params conv", "--params 'conv' matches no weight; there are conv2d_0.w_0"),
        ("prune nowhere --ratio 0.5 -o p", "no model at nowhere"),
        ("prune in -o p", "how much is to be pruned"),
        ("prune in --pattern 2x1 -o p", "how much is to be pruned"),
        ("prune in --ratio 0.5", "required: -o/--output"),
        ("prune in --ratio 75 -o p", "fraction of zeros"),
        ("prune in --ratio nan -o p", "fraction of zeros"),
        ("prune in --ratio 0.5 --threshold 0.1 -o p", "not allowed with"),
        ("prune in --threshold 0.1 --allocation LAMP -o p", "--allocation has no meaning with --threshold"),
        ("prune in --threshold -1 -o p", "must be a finite number >= 0"),
        ("prune in --pattern 1:4 --ratio 0.5 -o p", "--ratio 0.5 is not what --pattern 1:4 means, 0.75"),
        ("prune in --ratio 0.5 --params nothing -o p", "nothing to prune"),
        ("prune in --ratio 0.5 --params x --conv1x1-only -o p", "not allowed with"),
        ("prune in --rules missing.yaml -o p", "--rules missing.yaml: No such file or directory"),
        (
            "prune in --ratio 0.5 --calibrate radnom -o p",
            "--calibrate radnom: No such file or directory; give some hundred",
        ),
        (
            "prune in --ratio 0.5 --calibrate no.py:batches -o p",
            "--calibrate no.py: No such file or directory; give some",
        ),
        (
            "prune in --ratio 0.5 --calibrate a.JPG -o p",
            "a.JPG must be a .npy .* begins as neither; of images give their folder",
        ),
        ("accelerate in --int8 --calibrate no.npy -o p", "--calibrate no.npy: No such file or directory"),
        ("accelerate in --prune 75 --calibrate x16.npy -o p", "--prune must be a fraction of zeros in .*, got 75.0"),
        ("benchmark in in --data no.npy", "--data no.npy: No such file or directory"),
        ("decompress no.pu -o p", "FILE no.pu: No such file or directory"),
        ("prune in --rules rules.yaml --pattern 2:4 -o p", "--rules .* say the same thing"),
        ("prune in --ratio 0.5 --calibrate odd.npy -o p", r"--calibrate must fit the input 'x', .* got \[3, 7\]"),
        ("benchmark in in --data odd.npy", r"--data must fit the input 'x', .* got \[3, 7\]"),
        ("export in --to int8 --shape 2,2,4,5 -o p", r"--shape must fit the input 'x' of shape \[2, 2, 4, 4\]"),
        ("prune in --ratio 0.5 --calibrate rules.yaml -o p", "rules.yaml must be a .npy or .npz .* begins as neither"),
        (
            "prune in --ratio 0.5 --calibrate a.ranges.json -o p",
            "neither; ranges of training are for accelerate",
        ),
        ("prune in --ratio 0.5 --calibrate cut.npy -o p", "cut.npy must be .* it is cut short"),
        ("prune in --ratio 0.5 -o p/", "must be the prefix of the files to write, such as 'p/model'"),
        (
            "prune in --ratio 0.5 -o in/model.json/p",
            "--output .*in/model.json/p: it cannot be written: .*model.json is no folder",
        ),
        (
            "accelerate train -o p",
            "must be an inference model to be run, not a checkpoint, which does not say",
        ),
        ("export train -o p", "is a training checkpoint, and does not say what its outputs are"),
        ("export in --weights missing -o p", "--weights missing.pdparams: No such file or directory"),
        (
            "export in --weights in/model.pdiparams -o p",
            "in/model.pdparams.*No such file|No such file.*in/model.pdparams",
        ),
        ("export in --weights broken.pdparams -o p", "broken.pdparams must be a .pdparams file"),
        ("export in --masks missing -o p", "missing"),
        ("export in --masks in/model.json -o p", "not a whole safetensors file"),
        ("export in --recalibrate missing.npz -o p", "missing.npz"),
        ("export in --recalibrate in/model.json -o p", "must be an .npz file"),
        ("export in --recalibrate broken.npz -o p", "must be an .npz file"),
        (
            "export in --recalibrate x.npy -o p",
            r"must be an .npz file .*\(file, x=...\) writes it: it holds one array$",
        ),
        ("report half", "no model at half: .*; only half/model.pdmodel is there"),
        ("export in --align-channels 4 -o p", "--align-channels has no meaning without --shrink"),
        ("prune in --pattern 4:2 -o p", "--pattern must be kept:of, 1 <= kept < of <= 32, got '4:2'; write \"2:4\""),
        ("prune in --ratio 0.5 --pattern filter -o p", r"got .filter.; leave it out .* whole filters are Filter\(\)"),
        ("prune in --target-ms -1 --calibrate x16.npy -o p", "--target-ms must be a finite number > 0"),
        ("report packed.pu", "no model at packed.pu: .*; it is compressed; `decompress` it first"),
        ("report .", "no model at .: .*; in its folders there are in/model, train/model"),
        ("accelerate in -o in/model", "--output must be another name than the model's, got in/model"),
        ("accelerate in --prune 0.5 --calibrate x16.npy -o in/model", "another name than the model's, got in/model"),
        ("prune in --ratio 0.5 -o in/model", "another name than the model's, .*; --replace does it all the same"),
        ("prune in --ratio 0.5 --calibrate x16.npy -o linked", "another name than the model's, got linked"),
        ("prune train --ratio 0.5 -o train/model", "another name than the model's, got train/model"),
        ("export in --to int8 -o in/model.json", "another name than the model's, .*; --replace does it all the same"),
        ("decompress rules.yaml -o p", "rules.yaml is not a compressed model: .* give what `compress` has written"),
        ("export in --to tflite -o p", "invalid choice: 'tflite'"),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr_and_nothing_is_written(model, run, words, message):
    Path("rules.yaml").write_text("- {sparsity: 0.5}\n")
    Path("broken.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    Path("broken.pdparams").write_bytes(b"\x80\x04}")
    np.save("x.npy", np.ones(3))
    np.save("odd.npy", np.ones((3, 7)))
    Path("cut.npy").write_bytes(Path("odd.npy").read_bytes()[:-9])
    np.save("x16.npy", np.ones((16, 2, 4, 4), np.float32))
    Path("packed.pu").write_bytes(b"")
    Path("a.ranges.json").write_text("{}")
    os.mkdir("half")
    Path("half/model.pdmodel").write_bytes(b"no matter")
    Path("a.JPG").write_bytes(b"no matter")
    os.symlink("in/model.pdiparams", "linked.pdiparams")
    before = sorted(os.listdir())
    refused(run(*words.split()), words.split()[0], message)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("words", [(), ("--pattern", "2:4"), ("prune-all", "in")])
def test_no_command_or_an_unknown_one_shows_how(run, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "") and err.startswith("usage: paddle_unstructured")


@pytest.mark.parametrize("ending, content", [(".pdiparams", b"half"), (".json", b"{}"), (".json", b"")])
def test_a_damaged_model_is_refused(model, run, ending, content):
    Path("in/model" + ending).write_bytes(content)
    refused(run("report", "in"), "report", f"in/model{ending} ")


def test_a_list_that_is_given_twice_is_one_list(model, run):
    words = ("accelerate", "in", "-o", "out", "--int8", "--calibrate", "a.json", "--calibrate", "b.json")
    code, _, err = run(*words)
    assert code == 2 and "got a.json, b.json" in err


def test_every_command_explains_itself(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    commands = re.findall(r"^    (\w+)", out, re.M)
    assert {"report", "check", "prune", "export"} <= set(commands)
    for command in commands:
        code, out, err = run(command, "--help")
        assert (code, err) == (0, "") and out.startswith(f"usage: paddle_unstructured {command}")


def test_the_version_is_told(run):
    assert run("--version") == (0, paddle_unstructured.__version__ + "\n", "")


def test_the_librarys_log_is_as_before_when_a_command_is_done(model, run):
    log = logging.getLogger("paddle_unstructured")
    before = log.handlers, log.propagate, log.level
    for words in (("report", "in"), ("report", "nowhere")):
        run(*words)
        assert (log.handlers, log.propagate, log.level) == before
