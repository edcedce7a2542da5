# SPDX-License-Identifier: Apache-2.0
"""The scripts of the comparison with PaddleSlim: what they run, keep and print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from versus.bars import bars  # noqa: E402
from versus.cells import Cell, Setting, cell_of  # noqa: E402
from versus.environment import pins  # noqa: E402
from versus.plan import (  # noqa: E402
    FASHION,
    INT8,
    INT8_ROWS,
    METHODS,
    MOBILE,
    QUICK,
    QUICK_INT8_ROWS,
    QUICK_ROWS,
    ROWS,
    cells,
    distinct,
)
from versus.pool import Results  # noqa: E402
from versus.sides import slim_count, slim_rises  # noqa: E402
from versus.tables import accuracies, int8_tables, table  # noqa: E402
from versus.training import order  # noqa: E402


def line(method: str, accuracy: float, seed: int = 0, sparsity: float = 0.0, setting: Setting = QUICK) -> dict:
    return {**Cell(setting, method, sparsity, "1x1", seed).key, "accuracy": accuracy}


def script(name: str, *flags: object, **kwargs) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *map(str, flags)],
        env=env,
        text=True,
        capture_output=True,
        **kwargs,
    )


def test_a_table_holds_mean_and_standard_deviation_over_seeds():
    lines = [
        line("dense", 0.9),
        line("dense", 0.92, 1),
        line("recipe", 0.8, 0, 0.9),
        line("recipe", 0.84, 1, 0.9),
        line("slim-gmp", 0.7, 0, 0.9),
    ]
    made = table(QUICK, [("1x1", 0.9, METHODS)], lines)
    assert "LeNet on digits, 2 seeds: dense (16 epochs) 91.00 ± 1.41, dense + 8 epochs ;" in made
    assert made.splitlines()[-1] == "| 90 % |  | 70.00 |  |  | 82.00 ± 2.83 |  |"


def test_the_last_line_of_a_cell_counts_and_other_settings_do_not():
    other = Setting("digits", "LeNet", dense_epochs=3)
    lines = [line("gmp", 0.5, 0, 0.9), line("gmp", 0.6, 0, 0.9), line("gmp", 0.1, 1, 0.9, other)]
    assert accuracies(lines, QUICK, "gmp", 0.9) == [60.0]


def test_bars_compare_means_over_seeds():
    lines = [line("gmp", x, i, 0.9, FASHION) for i, x in enumerate((0.90, 0.91))]
    lines += [line("slim-gmp", x, i, 0.9, FASHION) for i, x in enumerate((0.91, 0.924))]
    lines += [line("recipe", 0.8995, 0, 0.9, FASHION), line("longer", 0.9055, 0, 0.0, FASHION)]
    made = bars({FASHION: [("1x1", 0.9, METHODS)]}, lines).splitlines()[2:]
    assert [text.rsplit("| ", 1)[1] for text in made] == ["NO |", "NO |", "yes |"]  # 0.9 below, 0.99 its deviation
    assert "90.50 ± 0.71 | 91.70 ± 0.99" in made[0] and "within 0.6 points" in made[2]


def test_int8_is_held_against_the_dense_net_and_against_as_long_a_training():
    lines = [line("dense", 0.83, setting=MOBILE), line("longer", 0.85, setting=INT8)]
    lines += [
        {**Cell(INT8, "int8", 0.75, "1x4", seed).key, "accuracy": x, "float_accuracy": x + 0.01}
        for seed, x in enumerate((0.82, 0.85))
    ]
    made = bars({INT8: []}, lines).splitlines()[2:]
    assert [text.rsplit("| ", 1)[1] for text in made] == ["yes |", "NO |"]  # 83.5 beside 83 and 85
    assert int8_tables(INT8_ROWS, lines).splitlines()[-2:] == [
        "| 75 %, 1x4 | 83.00 | 85.00 | 84.50 ± 2.12 | 83.50 ± 2.12 |",
        "| 90 %, 1x4 | 83.00 | 85.00 |  |  |",
    ]
    assert int8_tables(INT8_ROWS, lines[:2]) == ""


def test_int8_comes_last_and_shares_the_dense_nets_of_a_run_that_was_begun_without_it(tmp_path):
    known = list(cells(ROWS, 3))
    planned = distinct([*known, *cells(INT8_ROWS, 3)])
    assert planned[: len(known)] == known
    assert {(cell.method, cell.pattern) for cell in planned[len(known) :]} == {("longer", "1x1"), ("int8", "1x4")}
    results = Results(tmp_path / "r.jsonl")
    results.add(line("dense", 0.8, 1, setting=MOBILE))
    assert results.find(Cell(INT8, "dense", 0.0, "1x1", 1)) and not results.find(Cell(INT8, "dense", 0.0, "1x1", 0))
    results.add(line("longer", 0.8, 1, setting=MOBILE))
    assert not results.find(Cell(INT8, "longer", 0.0, "1x1", 1))


def test_cells_are_found_again_in_a_file_whose_last_line_was_cut(tmp_path):
    path = tmp_path / "r.jsonl"
    results = Results(path)
    results.add(line("gmp", 0.5, 0, 0.9))
    with path.open("a") as file:
        file.write('{"data": "dig')
    again = Results(path)
    assert again.find(Cell(QUICK, "gmp", 0.9, "1x1", 0))["accuracy"] == 0.5
    assert again.find(Cell(QUICK, "gmp", 0.9, "1x1", 1)) is None
    assert path.read_text().count("\n") == 1


def test_every_cell_comes_once_after_its_dense_net_and_survives_json():
    for rows, seeds in ((ROWS, 3), (INT8_ROWS, 3), (QUICK_ROWS, 1), (QUICK_INT8_ROWS, 1)):
        plan = list(cells(rows, seeds))
        assert len(set(plan)) == len(plan)
        assert all(cell.start is None or plan.index(cell.start) < i for i, cell in enumerate(plan))
        assert all(cell_of(json.loads(json.dumps(cell.key))) == cell for cell in plan)
    assert {cell.sparsity for cell in cells(ROWS, 1) if cell.setting == FASHION} == {0.0, 0.5, 0.75, 0.9, 0.95, 0.98}


def test_both_sides_see_the_same_batches_whatever_their_numpy():
    small = Setting("digits", "LeNet", images=6, batch=3)
    assert order(small, None, 0, 0).tolist() == [[5, 2, 1], [3, 0, 4]]
    assert order(small, None, 0, 1).tolist() != order(small, None, 0, 0).tolist()


def test_paddleslims_pins_are_those_of_the_extra():
    assert "paddleslim==2.6.0" in pins() and "numpy<2" in pins()


def test_the_quick_run_prints_a_table_keeps_exact_counts_and_does_nothing_twice(tmp_path):
    methods = ("--methods", "oneshot", "recipe", "int8")
    flags = ("--quick", *methods, "--results", tmp_path / "r.jsonl", "--weights", tmp_path)
    done = script("accuracy.py", *flags)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in (tmp_path / "r.jsonl").read_text().splitlines()]
    found = {(row["method"], row["sparsity"], row["pattern"]): row for row in lines}
    assert set(found) == {
        ("dense", 0.0, "1x1"),
        ("oneshot", 0.9, "1x1"),
        ("recipe", 0.9, "1x1"),
        ("recipe", 0.75, "2x1"),
        ("oneshot", 0.5, "2:4"),
        ("int8", 0.75, "1x4"),
    }
    int8 = found["int8", 0.75, "1x4"]
    assert abs(int8["accuracy"] - int8["float_accuracy"]) < 0.02 and int8["accuracy"] > 0.9
    assert "| 75 %, 1x4 |" in done.stdout
    for row in (found["oneshot", 0.9, "1x1"], found["recipe", 0.9, "1x1"]):
        assert row["zeros"] == round(0.9 * row["weights"]) == round(0.9 * 19518)
        assert row["start_accuracy"] == found["dense", 0.0, "1x1"]["accuracy"] > 0.9 and row["accuracy"] > 0.9
    assert "| 90 % |" in done.stdout and "commit" in lines[0]
    again = script("accuracy.py", *flags)
    assert again.stdout == done.stdout and len((tmp_path / "r.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.slow
def test_the_quick_runs_beside_paddleslim_work(tmp_path):
    done = script("accuracy.py", "--quick", "--results", tmp_path / "r.jsonl", "--weights", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(text) for text in (tmp_path / "r.jsonl").read_text().splitlines()]
    starts = {row["start_accuracy"] for row in rows if row["method"] != "dense"}
    assert len(starts) == 1  # the same weights on both sides
    done = script("versus_paddleslim.py", "--quick", "--results", tmp_path / "b.jsonl")
    assert done.returncode == 0, done.stderr
    answers = {
        row["question"]: row
        for row in map(json.loads, (tmp_path / "b.jsonl").read_text().splitlines())
        if row["part"] == "exactness"
    }
    assert answers["asked 500 of 1000 equal weights: pruned"]["ours"] == "500"
    assert not [row for row in answers.values() if "Error" in row["ours"] and "ratio" not in row["question"]]


def test_paddleslims_rises_are_early_and_a_weight_short():
    words = {"stable_iterations": 5, "pruning_iterations": 43, "pruning_steps": 4, "initial_ratio": 0.0}
    rises = slim_rises(words)
    asked = {step: rises(step, 0.8) for step in (4, 5, 14, 15, 25, 35, 44, 45, 99)}
    assert [round(one, 4) for one in asked.values()] == [0.0, 0.0, 0.0, 0.4625, 0.7, 0.7875, 0.7875, 0.8, 0.8]
    assert [round(1000 * slim_count(one, 1000)) for one in (0.0, asked[15], 0.8)] == [0, 461, 799]
