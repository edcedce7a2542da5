# SPDX-License-Identifier: Apache-2.0
"""The wheel on a machine without a compiler and without Paddle, from the source distribution to the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from runtime_nets import save_net

import paddle_unstructured
from paddle_unstructured.runtime import Session, convert

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
import numpy as np
from paddle_unstructured.runtime import Session
np.save(sys.argv[3], Session(sys.argv[1], threads=2).run(np.load(sys.argv[2]))[0])
assert "paddle" not in sys.modules
"""


def command(*words: object, **variables: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # pip would find us there
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, env={**inherited, **variables}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source distribution and the wheel that was made of it, as scripts/build_wheel.sh makes them."""
    folder = tmp_path_factory.mktemp("dist")
    command("bash", ROOT / "scripts" / "build_wheel.sh", folder, PYTHON=sys.executable)
    return folder


@pytest.fixture(scope="module")
def bare(built, tmp_path_factory) -> Path:
    """A Python in which the wheel is installed, and neither Paddle nor a compiler on its PATH."""
    folder = tmp_path_factory.mktemp("venv")
    command(sys.executable, "-m", "venv", folder)
    wheel = next(built.glob("*.whl"))
    command(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return folder / "bin" / "python"


def in_bare(python: Path, home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    bare_environment = {"PATH": "/nowhere", "HOME": str(home)}
    return subprocess.run(
        [str(python), *map(str, words)], capture_output=True, text=True, check=False, env=bare_environment, cwd=home
    )


@pytest.mark.slow
def test_the_wheel_is_one_for_every_python_and_brings_the_kernels(built):
    wheel = next(built.glob("*.whl"))
    assert wheel.name == f"paddle_unstructured-{paddle_unstructured.__version__}-py3-none-linux_x86_64.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    package = "paddle_unstructured/"
    assert {package + "runtime/prebuilt/libpaddle_unstructured.so", package + "runtime/prebuilt/stamp.json"} < names
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*") if path.is_file()}
    source = {name for name in here if "__pycache__" not in name and "prebuilt" not in name}
    assert source <= names
    assert {name for name in names - source if not name.startswith(package + "runtime/prebuilt/")} == {
        name for name in names if ".dist-info/" in name
    }


@pytest.mark.slow
def test_the_source_distribution_holds_the_sources_and_nothing_compiled(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "LICENSE", "paddle_unstructured/runtime/csrc/paddle_op.cc"} < names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]


@pytest.mark.slow
def test_a_model_that_was_converted_elsewhere_gives_the_same_bits(bare, static, tmp_path):
    def layers(x):
        x = F.relu(nn.BatchNorm2D(16)(nn.Conv2D(3, 16, 3, 2, 1)(x)))
        x = F.relu(nn.Conv2D(16, 16, 3, padding=1, groups=16)(x))
        return nn.Linear(20, 5)(F.adaptive_avg_pool2d(F.relu(nn.Conv2D(16, 20, 1)(x)), 1).flatten(1))

    model = str(tmp_path / "fast")
    convert(save_net(tmp_path, layers, [-1, 3, -1, -1]), model)
    x = np.random.default_rng(0).normal(size=(3, 3, 33, 45)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    home = tmp_path / "home"
    home.mkdir()
    done = in_bare(bare, home, "-c", RUN, model, tmp_path / "x.npy", tmp_path / "y.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), Session(model).run(x)[0])
    assert list(home.iterdir()) == []  # nothing was compiled, and no cache made


@pytest.mark.slow
def test_what_needs_paddle_says_so(bare, tmp_path):
    done = in_bare(bare, tmp_path, "-m", "paddle_unstructured", "accelerate", "model", "-o", "fast")
    assert done.returncode == 2 and "this needs PaddlePaddle 3, which is not installed" in done.stderr
