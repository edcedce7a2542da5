"""The command line: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from legacy_models import data
from nets import Net, convnet

import paddle_unstructured
from paddle_unstructured import UnstructuredPruner, cli, sparsity_report
from paddle_unstructured.export import open_model

pytestmark = pytest.mark.usefixtures("static")

WEIGHTS = ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0")  # 72 + 16 + 48 = 136 weights
DIVISIBLE = "conv2d_1.*|linear.*"  # whose inputs groups of four divide


@pytest.fixture
def model(static, tmp_path, monkeypatch) -> Net:
    """convnet, dense: an inference model `in/model` and a checkpoint `train/model` in the current folder."""
    monkeypatch.chdir(tmp_path)
    net = Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9), own_scope=True)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model("in/model", [net.input], [net.output], net.exe, program=net.program)
        os.mkdir("train")
        paddle.static.save(net.program, "train/model")
    return net


@pytest.fixture
def run(capsys):
    """Run one command in this process: its exit code, stdout and stderr."""

    def one(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.main(list(words))
        except SystemExit as stopped:  # argparse
            code = stopped.code
        found = capsys.readouterr()
        return code, found.out, found.err

    return one


def zeros(path: str, *names: str) -> int:
    found = open_model(path)
    return sum(int((found.graph.array(name) == 0).sum()) for name in names)


def process(*words: str, **kwargs: Any) -> subprocess.CompletedProcess:
    folder = str(Path(paddle_unstructured.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "paddle_unstructured", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folder, **kwargs.pop("env", {})},
        **kwargs,
    )


# -- report


def test_report_prints_the_table(model, run):
    code, out, err = run("report", "in")
    found = open_model("in")
    assert (code, err) == (0, "") and out == f"{sparsity_report(found.program, found.scope)}\n"
    assert ["selected", "weights", "136", "0", "0.0000"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize(
    "path",
    ["in", "in/", "in/model", "in/model.json", "in/model.pdiparams", "train/model", "train", "train/model.pdparams"],
)
def test_report_takes_every_way_to_name_a_model(model, run, path):
    code, out, err = run("report", path, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["totals"]["selected"] == {"zeros": 0, "weights": 136, "sparsity": 0.0}


def test_report_of_a_legacy_model(legacy, run):
    code, out, err = run("report", str(legacy / "conv"), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["totals"]["conv1x1"]["weights"] == 16


@pytest.mark.parametrize("words, weights", [(("--params", "conv.*"), 88), (("--conv1x1-only",), 16)])
def test_report_counts_what_was_selected(model, run, words, weights):
    assert json.loads(run("report", "in", "--json", *words)[1])["totals"]["selected"]["weights"] == weights


def test_report_goes_into_a_file(model, run):
    code, out, err = run("report", "in", "--json", "-o", "found.json")
    assert (code, out, err) == (0, "written: found.json\n", "")
    assert json.loads(Path("found.json").read_text()) == json.loads(run("report", "in", "--json")[1])


# -- check


def test_check_that_holds_ends_with_0(model, run):
    code, out, err = run("check", "in", "--sparsity", "0")
    assert (code, err) == (0, "") and out.rstrip().endswith("all hold")


def test_check_that_does_not_hold_ends_with_1_and_names_the_offenders(model, run):
    assert run("prune", "in", "--ratio", "1", "-o", "p", "--params", "linear_0.w_0")[0] == 0
    code, out, err = run("check", "p", "--sparsity", "0.9")
    lines = {line.split()[0]: line for line in out.splitlines() if ".w_0" in line}
    assert (code, err) == (1, "") and set(lines) == set(WEIGHTS)
    assert "sparsity 0.0000 is below 0.9" in lines["conv2d_0.w_0"] and "sparsity 0.0000" in lines["conv2d_1.w_0"]
    assert lines["linear_0.w_0"].endswith("1.0000  holds")
    assert "2 of 3 params do not hold" in out


def test_pruning_by_groups_leaves_a_layer_dense_that_they_do_not_divide(model, run):
    code, out, _ = run("prune", "in", "--pattern", "2:4", "-o", "p")
    assert code == 0
    assert "no: 2 weights along its input axis, which groups of 4 do not divide" in out
    assert run("check", "p", "--pattern", "2:4", "--sparsity", "0.5", "--params", DIVISIBLE)[0] == 0


def test_check_as_json_says_the_same(model, run):
    code, out, _ = run("check", "in", "--pattern", "2:4", "--json")
    found = json.loads(out)
    assert code == 1 and found["holds"] is False
    assert {row["name"]: row["fault"] for row in found["params"]} == {
        "conv2d_0.w_0": "groups of 4 do not divide its input axis; check the others by `params`",
        "conv2d_1.w_0": "4 of 4 groups of 4 keep more than 2",
        "linear_0.w_0": "12 of 12 groups of 4 keep more than 2",
    }


def test_check_asks_all_together_or_each(model, run):
    run("prune", "in", "--ratio", "1", "-o", "p", "--params", "conv2d_0.w_0")
    assert run("check", "p", "--sparsity", "0.5")[0] == 0
    assert run("check", "p", "--sparsity", "0.5", "--each")[0] == 1
    assert run("check", "p", "--sparsity", "1", "--each", "--params", "conv2d_0.*")[0] == 0


# -- prune, and check


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


# -- export


def test_export_takes_weights_and_masks_of_a_training_run(model, run):
    with paddle.static.scope_guard(model.scope):
        pruner = UnstructuredPruner(model.program, ratio=0.5)
        model.train(pruner, 2)
        pruner.save("masks")
        paddle.static.save(model.program, "trained")
    code, out, err = run("export", "in", "--weights", "trained.pdparams", "--masks", "masks", "-o", "out/model")
    assert (code, err) == (0, "") and out.endswith("written: out/model.json, out/model.pdiparams\n")
    exported = open_model("out")
    for name in exported.param_names:
        np.testing.assert_array_equal(exported.graph.stored(name), model.get(name))
    assert zeros("out", *WEIGHTS) == 68


def test_export_measures_norms_anew(model, run):
    x = np.stack([data(2, 2, 4, 4), data(2, 2, 4, 4) * 3])
    np.savez("batches.npz", x=x)
    code, _, err = run("export", "in", "--recalibrate", "batches.npz", "-o", "out/model")
    assert (code, err) == (0, "")
    before, after = (open_model(path).graph.stored("batch_norm2d_0.w_1") for path in ("in", "out"))
    assert not before.any() and after.all()


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, "at least one"),
        ({"x": np.zeros((0, 2, 2, 4, 4))}, "at least one"),
        ({"x": np.float32(1)}, "at least one"),
        ({"x": np.zeros((1, 2, 2, 4, 4)), "y": np.zeros((2, 1))}, "the same number of batches"),
        ({"y": np.zeros((1, 2, 2, 4, 4))}, "must give arrays for x, got y in batch 1"),
        ({"x": np.zeros((2, 2, 4, 4))}, r"must give x the shape \[2, 2, 4, 4\], got \[2, 4, 4\]"),
    ],
)
def test_export_refuses_batches_that_do_not_fit(model, run, arrays, message):
    np.savez("batches.npz", **arrays)
    refused(run("export", "in", "--recalibrate", "batches.npz", "-o", "out"), "export", message)
    assert not Path("out.json").exists()


# -- what cannot be done


def refused(found: tuple[int, str, str], command: str, message: str) -> None:
    """Exit code 2, nothing on stdout, one error on stderr."""
    code, out, err = found
    assert (code, out) == (2, "")
    assert "Traceback" not in err and f"paddle_unstructured {command}: error: " in err
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(err)


@pytest.mark.parametrize(
    "words, message",
    [
        ("report nowhere", "no model at nowhere"),
        ("report in --params (", "regular expression"),
        ("report in --params typo.*", "`params` 'typo.*' matches no weight; there are conv2d_0.w_0"),
        ("report in -o missing/folder/file", "missing/folder/file: No such file or directory$"),
        ("check nowhere --sparsity 0.5", "no model at nowhere"),
        ("check in", "there is nothing to check for"),
        ("check in --sparsity 75", "must be a fraction of zeros in .*0.55 means 55 %"),
        ("check in --sparsity much", "invalid float value: 'much'"),
        ("check in --pattern 4by1", "`pattern` must be kept:of"),
        ("check in --sparsity 0.5 --params conv", "`params` 'conv' matches no weight; there are conv2d_0.w_0"),
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
        ("prune in --rules missing.yaml -o p", "missing.yaml"),
        ("prune in --rules rules.yaml --pattern 2:4 -o p", "`rules` .* say the same thing"),
        ("prune in --ratio 0.5 -o p/", "must be the prefix of the files to write, such as 'p/model'"),
        ("prune in --ratio 0.5 -o in/model.json/p", "exists|Not a directory"),
        ("export train -o p", "is a training checkpoint, and does not say what its outputs are"),
        ("export in --weights missing -o p", "missing.pdparams"),
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
        ("export in --recalibrate x.npy -o p", "must be an .npz file"),
        ("export in --to tflite -o p", "invalid choice: 'tflite'"),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr_and_nothing_is_written(model, run, words, message):
    Path("rules.yaml").write_text("- {sparsity: 0.5}\n")
    Path("broken.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    Path("broken.pdparams").write_bytes(b"\x80\x04}")
    np.save("x.npy", np.ones(3))
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


# -- as processes


def test_json_on_stdout_is_nothing_but_json(model):
    found = process("report", "in", "--json")
    assert found.returncode == 0 and json.loads(found.stdout)["totals"]["selected"]["weights"] == 136
    assert found.stderr.replace("\n", "") == ""


def test_a_process_ends_with_the_code_of_its_command(model):
    assert process("check", "in", "--sparsity", "0.5").returncode == 1
    found = process("check", "nowhere", "--sparsity", "0.5")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("paddle_unstructured check: error: no model at nowhere")


def test_a_reader_that_has_seen_enough_is_no_error(model):
    command = f"set -o pipefail; {sys.executable} -m paddle_unstructured report in | true"
    folder = str(Path(paddle_unstructured.__file__).parents[1])
    found = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": folder}
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_help_needs_no_paddle(tmp_path):
    (tmp_path / "paddle").mkdir()
    (tmp_path / "paddle" / "__init__.py").write_text("raise ImportError('no Paddle here')")
    folder = str(Path(paddle_unstructured.__file__).parents[1])
    found = process("--help", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{folder}"})
    assert (found.returncode, found.stderr) == (0, "") and "prune" in found.stdout
    found = process("report", "model", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{folder}"})
    assert (found.returncode, found.stdout, found.stderr) == (
        2,
        "",
        "paddle_unstructured report: error: no Paddle here\n",
    )


def test_the_console_script_is_the_same_command():
    setup = Path(paddle_unstructured.__file__).parents[1] / "setup.py"
    if not setup.is_file():
        pytest.skip("not run from a source tree")
    assert "paddle_unstructured = paddle_unstructured.cli:main" in setup.read_text(encoding="utf-8")
    script = shutil.which("paddle_unstructured")
    if script is not None:
        assert (
            subprocess.run([script, "--version"], capture_output=True, text=True).stdout.strip()
            == paddle_unstructured.__version__
        )
