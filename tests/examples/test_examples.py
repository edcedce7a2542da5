# SPDX-License-Identifier: Apache-2.0
"""Each example runs by itself from a fresh folder, and shows what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from warm_start import run_script

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import export
from paddle_unstructured.runtime import Session, convert

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "GLOG_minloglevel": "2"}
    done = subprocess.run(list(command), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def example(folder: Path, name: str) -> str:
    done = run_script([str(EXAMPLES / name)], {**os.environ, "PYTHONPATH": str(ROOT)}, folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return str(done.stdout)


def test_there_are_five_and_a_notebook_and_the_page_names_them():
    shown = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    files = (path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__")
    five = {"cpp", "int8_deployment.py", "lottery_ticket.py", "own_cnn.py", "sensitivity_per_layer.py"}
    assert set(files) == five | {"pruning.ipynb"}
    assert all(f"examples/{name}" in shown for name in files)


def test_an_own_cnn_is_trained_pruned_and_exported_in_sixty_lines(tmp_path):
    assert len((EXAMPLES / "own_cnn.py").read_text(encoding="utf-8").splitlines()) <= 60
    out = example(tmp_path, "own_cnn.py")
    assert re.search(r"selected weights +38160 +34344 +0\.9000", out)
    assert float(out.split("test accuracy ")[1]) > 0.92
    assert {"own_cnn.json", "own_cnn.pdiparams", "own_cnn.pruner"} <= {file.name for file in tmp_path.iterdir()}


def test_a_winning_ticket_beats_as_many_weights_at_random_places(tmp_path):
    rows = [list(map(float, line.split())) for line in example(tmp_path, "lottery_ticket.py").splitlines()[1:]]
    dense, few = rows[0][1], rows[-2:]
    assert len(rows) == 6
    assert all(ticket > dense - 0.06 and ticket > random + 0.1 for _, ticket, random in few)


def test_sparsities_by_sensitivity_cost_less_than_the_same_for_every_layer(tmp_path):
    out = example(tmp_path, "sensitivity_per_layer.py")
    dense, same, chosen = (float(line.split()[-1]) for line in out.splitlines()[-3:])
    assert same < chosen < dense


def test_int8_is_deployed_with_little_loss(tmp_path):
    out = example(tmp_path, "int8_deployment.py")
    dense, sparse = map(float, re.findall(r"test accuracy (\d\.\d+)", out))
    assert dense > 0.93 and sparse > dense - 0.02
    assert "int8 sparse 1x4" in out and "speedup" in out


@pytest.mark.usefixtures("static")
def test_a_program_in_c_runs_a_converted_model_as_session_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        image = paddle.static.data("image", [None, 3, 9, 7])
        out = paddle.nn.Conv2D(16, 5, 1)(paddle.nn.functional.relu(paddle.nn.Conv2D(3, 16, 3)(image)))
    exe = paddle.static.Executor()
    exe.run(startup)
    pruner = UnstructuredPruner(program, ratio=0.6)
    pruner.step()
    export(program, [image], [out], "model", pruner, exe)
    convert("model", "fast")
    run(tmp_path, "bash", str(EXAMPLES / "cpp" / "build.sh"))
    x = np.zeros([1, 3, 9, 7], np.float32)
    x[:, :, 4, 3] = 1.0
    (wanted,) = Session("fast").run(x)
    printed = run(tmp_path, "./run_model", "fast", "9", "7").split()
    np.testing.assert_array_equal(np.array(printed, np.float32), wanted.ravel())
    for words in (["9"], ["9", "x"], ["0", "7"], ["9", "7", "0"]):
        refused = subprocess.run(["./run_model", "fast", *words], cwd=tmp_path, capture_output=True, text=True)
        assert (refused.returncode, refused.stdout) == (2, "") and "numbers above 0" in refused.stderr


@pytest.mark.slow
def test_the_notebook_runs_and_its_pictures_stay_small(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    file = EXAMPLES / "pruning.ipynb"
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert file.stat().st_size < 300_000
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
