# SPDX-License-Identifier: Apache-2.0
"""What a type checker sees of the package: the stubs say what the lazy doors give, and misuse is an error."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import paddle_unstructured

PACKAGE = Path(paddle_unstructured.__file__).parent
DOORS = ["__init__.py", "export/__init__.py", "runtime/__init__.py"]
CONSUMER = """
from pathlib import Path
from typing import Any

import paddle_unstructured as pu
from paddle_unstructured import Block, Constant, GMPUnstructuredPruner, NM, Param, UnstructuredPruner
from paddle_unstructured.export import check, export_model, open_model
from paddle_unstructured.runtime import Int8, Session, convert


def half(step: int) -> float:
    return 0.5 if step else 0.0


def not_the_last(param: Param) -> bool:
    return param.name != "fc.w_0"


def train(program: Any, path: Path) -> str:
    pruner = UnstructuredPruner(program, mode="ratio", ratio=0.55)
    own = UnstructuredPruner(program, schedule=half, select=not_the_last, criterion=pu.magnitude, pattern=Block(2, 1))
    words = UnstructuredPruner(program, pattern="1x4", allocation=pu.Global(floor=0.1), schedule=Constant(0.5))
    taylor = UnstructuredPruner(program, criterion=pu.Saliency(), pattern=NM(2, 4), allocation=pu.Threshold(0.01))
    gmp = GMPUnstructuredPruner(program, ratio=0.9, configs={})
    for each in (pruner, own, words, taylor, gmp):
        each.step()
    pruner.save(path / "state.pruner")
    holds: bool = check(program, pattern="2:4").holds
    export_model(path, path / "small", to="paddle")
    outputs = Session(path / "fast", threads=2)
    return f"{holds} {convert(path, path / 'fast', int8=Int8(path / 'x.npy'))} {outputs} {open_model(path).feeds}"
"""
MISUSES = {
    "UnstructuredPruner(None).nonsense()": "attr-defined",
    "UnstructuredPruner(None, ratio='0.5')": "arg-type",
    "UnstructuredPruner(None, rate=0.5)": "call-arg",
    "UnstructuredPruner(None, schedule=0.5)": "arg-type",
    "UnstructuredPruner(None, pattern=21)": "arg-type",
    "UnstructuredPruner(None, allocation='global')": "arg-type",
    "UnstructuredPruner(None, criterion='magnitude')": "arg-type",
    "Block('2', 1)": "arg-type",
    "Constant()": "call-arg",
    "Session(3)": "arg-type",
    "convert('a')": "call-arg",
    "Int8('x.npy', calibration=3)": "arg-type",
    "pu.Nothing": "attr-defined",
}


def lazy_table(door: Path) -> dict[str, str]:
    """Name -> module, as the lazy door says it."""
    tables = [node for node in ast.walk(ast.parse(door.read_text(encoding="utf-8"))) if isinstance(node, ast.Dict)]
    return {name: module for module, names in ast.literal_eval(tables[0]).items() for name in names}


def stub_table(stub: Path) -> dict[str, str]:
    return {
        alias.asname: "." * node.level + (node.module or "")
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }


@pytest.mark.parametrize("door", DOORS)
def test_a_stub_says_what_its_lazy_door_gives(door):
    assert stub_table(PACKAGE / f"{door}i") == lazy_table(PACKAGE / door)


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").is_file()


def mypy(folder: Path, code: str) -> dict[int, str]:
    """The errors that a strict type checker finds in a consumer: line -> code."""
    pytest.importorskip("mypy")
    (folder / "consumer.py").write_text(code, encoding="utf-8")
    (folder / "mypy.ini").write_text(
        "[mypy]\nstrict = true\nfollow_imports_for_stubs = true\n"
        "[mypy-paddle_unstructured.*]\nfollow_imports = silent\n"
        "[mypy-paddle.*,numpy.*,matplotlib.*,safetensors.*,yaml.*,zstandard.*]\nfollow_imports = skip\n"
        "ignore_missing_imports = true\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "consumer.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^consumer\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.M)
    assert len(found) == done.stdout.count(": error:"), done.stdout
    return {int(line): code for line, code in found}


def test_right_use_passes_and_every_misuse_is_an_error(tmp_path):
    lines = len(CONSUMER.splitlines())
    found = mypy(tmp_path, CONSUMER + "\n".join(MISUSES) + "\n")
    assert found == {lines + i + 1: code for i, code in enumerate(MISUSES.values())}
