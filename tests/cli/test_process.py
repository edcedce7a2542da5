# SPDX-License-Identifier: Apache-2.0
"""The command line as a process: nothing but its result on stdout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import process

import paddle_unstructured

pytestmark = pytest.mark.usefixtures("static")


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


def test_an_interruption_while_it_is_imported_has_no_traceback(tmp_path):
    code = (
        "import sys\n"
        "class Ctrl(type(sys)):\n    def __getattr__(self, name): raise KeyboardInterrupt\n"
        "sys.modules['paddle_unstructured.cli.command_line'] = Ctrl('command_line')\n"
        "from paddle_unstructured.cli import main; sys.exit(main(['report', 'in']))"
    )
    folder = str(Path(paddle_unstructured.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": folder}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (found.returncode, found.stderr) == (130, "paddle_unstructured: interrupted; nothing was begun\n")


def test_the_console_script_is_the_same_command():
    project = Path(paddle_unstructured.__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not run from a source tree")
    assert 'paddle_unstructured = "paddle_unstructured.cli:main"' in project.read_text(encoding="utf-8")
    script = shutil.which("paddle_unstructured")
    if script is not None:
        assert (
            subprocess.run([script, "--version"], capture_output=True, text=True).stdout.strip()
            == paddle_unstructured.__version__
        )
