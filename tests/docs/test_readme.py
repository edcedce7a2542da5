# SPDX-License-Identifier: Apache-2.0
"""README is short, and what it shows runs as it stands there."""

import os
import subprocess
import sys

import pytest
from docs.pages import ROOT, blocks, page


def test_a_stranger_reads_it_to_the_end():
    assert len(page("README.md").splitlines()) <= 220


def test_the_example_runs_from_a_fresh_folder_and_so_do_the_commands_behind_it(tmp_path):
    (example,) = blocks("README.md", "python")
    assert len(example.code.splitlines()) <= 30
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    (tmp_path / "example.py").write_text(example.code, encoding="utf-8")
    behind = [block.code for block in blocks("README.md", "bash") if block.line > example.line and not block.run]
    commands = "\n".join(["set -euo pipefail", "python example.py", *behind])
    done = subprocess.run(["bash", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loss = float(done.stdout.split()[1])
    assert loss < 0.3 and "0.9001" in done.stdout
    assert {"model.json", "model.pdiparams", "fast.json", "fast.pdiparams"} <= {
        file.name for file in tmp_path.iterdir()
    }


@pytest.mark.parametrize("number", ["84.23 ± 0.19", "84.04 ± 0.36", "84.03 ± 0.42", "83.42 ± 0.46", "82.98 ± 0.96"])
def test_its_accuracies_are_those_of_the_benchmarks(number):
    assert number in page("README.md") and number in page("docs/benchmarks.md")


def test_its_speeds_are_those_of_the_benchmarks():
    """Each cell of the table of speeds stands in the row of that model and those zeros."""
    columns = ["ours int8", "ONNX Runtime int8", "OpenVINO int8", "OpenVINO NNCF int8", "ONNX Runtime", "files"]
    table = _table("docs/benchmarks.md", "| model | zeros | threads | batch | ours int8 |")
    for row in _table("README.md", "| model | zeros | ours, int8 |"):
        model, zeros, *figures = row.values()
        wanted = {
            "model": model.replace("V1", ""),
            "zeros": zeros.replace("none", "dense"),
            "threads": "1",
            "batch": "1",
        }
        (source,) = [line for line in table if wanted.items() <= line.items()]
        assert figures == [source[column] for column in columns]


def _table(name: str, head: str) -> list[dict[str, str]]:
    lines = page(name).split(head)[1].split("\n\n")[0].splitlines()
    titles = [cell.strip() for cell in (head + lines[0]).strip("|").split("|")]
    return [dict(zip(titles, map(str.strip, line.strip("|").split("|")))) for line in lines[2:]]
