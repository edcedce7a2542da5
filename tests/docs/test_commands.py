# SPDX-License-Identifier: Apache-2.0
"""Every command of the documentation can be pasted after the quick start: each page's, in its order, from the root."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs.pages import ROOT, blocks, page

PAGES = sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md") if blocks(f"docs/{file.name}", "bash"))
QUICKSTART = re.findall(r"^(?:train|evaluate) .*?[^\\]$", page("scripts/quickstart.sh"), re.M | re.S)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """`runs/quickstart` as scripts/quickstart.sh leaves it, after two epochs instead of thirty and forty."""
    home = checkout(tmp_path_factory.mktemp("quickstart"))
    commands = (
        "\n".join(QUICKSTART).replace("--num_epochs 30", "--num_epochs 2").replace("--num_epochs 40", "--num_epochs 4")
    )
    run(home, f"source scripts/common.sh\ndense=runs/quickstart/dense sparse=runs/quickstart/gmp90\n{commands}")
    return home / "runs"


def checkout(folder: Path) -> Path:
    """What a user has after the quick start: the files of the repository, and a `.venv` to activate."""
    for name in ("benchmarks", "demo", "docs", "examples", "paddle_unstructured", "scripts", "tests", "pyproject.toml"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / ".venv" / "bin" / "activate").write_text(f'export PATH="{os.path.dirname(sys.executable)}:$PATH"\n')
    return folder


def run(folder: Path, commands: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "GLOG_minloglevel": "2", "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"source .venv/bin/activate\n{commands}"],
        cwd=folder, env={**environment, "RUNS": str(folder / "runs")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def run_page(name: str, models: Path, folder: Path, *, slow: bool) -> None:
    home = checkout(folder)
    shutil.copytree(models, home / "runs")
    for block in blocks(name, "bash"):
        if not block.run.startswith("never") and (slow or block.run != "slow"):
            run(home, block.code, int(block.run.split()[1]) if block.run.startswith("exit") else 0)


def has(name: str, *, slow: bool) -> bool:
    runs = [block.run for block in blocks(name, "bash")]
    return "slow" in runs if slow else any(not run.startswith(("slow", "never")) for run in runs)


@pytest.mark.parametrize("name", [name for name in PAGES if has(name, slow=False)])
def test_the_commands_of_a_page_can_be_pasted(name, models, tmp_path):
    run_page(name, models, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAGES if has(name, slow=True)])
def test_the_long_commands_of_a_page_can_be_pasted(name, models, tmp_path):
    run_page(name, models, tmp_path, slow=True)


def test_the_tour_runs_what_the_page_of_the_command_line_shows():
    tour = re.findall(r"^show (.*)$", page("scripts/tour.sh").replace('"', "'"), re.M)
    lines = [line for block in blocks("docs/cli.md", "bash") for line in block.code.splitlines()]
    shown = [line.removeprefix("python -m paddle_unstructured ") for line in lines if line.startswith("python")]
    assert tour == shown[: len(tour)] and len(tour) >= 13
