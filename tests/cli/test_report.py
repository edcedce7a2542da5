# SPDX-License-Identifier: Apache-2.0
"""`report` and `check`: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_lines import DIVISIBLE, WEIGHTS

from paddle_unstructured import sparsity_report
from paddle_unstructured.export import open_model

pytestmark = pytest.mark.usefixtures("static")


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
    assert run("check", "p", "--pattern", "2:4", "--sparsity", "0.5")[0] == 0


def test_check_as_json_says_the_same(model, run):
    code, out, _ = run("check", "in", "--pattern", "2:4", "--json")
    found = json.loads(out)
    assert code == 1 and found["holds"] is False
    assert {row["name"]: row["fault"] for row in found["params"]} == {
        "conv2d_0.w_0": "",
        "conv2d_1.w_0": "4 of 4 groups of 4 keep more than 2",
        "linear_0.w_0": "12 of 12 groups of 4 keep more than 2",
    }
    left = {row["name"]: row["left"] for row in found["params"] if "left" in row}
    assert left == {"conv2d_0.w_0": "2 weights along its input axis, which groups of 4 do not divide"}


def test_check_asks_all_together_or_each(model, run):
    run("prune", "in", "--ratio", "1", "-o", "p", "--params", "conv2d_0.w_0")
    assert run("check", "p", "--sparsity", "0.5")[0] == 0
    assert run("check", "p", "--sparsity", "0.5", "--each")[0] == 1
    assert run("check", "p", "--sparsity", "1", "--each", "--params", "conv2d_0.*")[0] == 0
