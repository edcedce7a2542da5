# SPDX-License-Identifier: Apache-2.0
"""64-bit ARM under an emulator: the plans that other tests run here give the same numbers there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import instructions
import pytest
from emulated import arm

ROOT = Path(__file__).resolve().parents[3]
RECORDED = (  # tests whose plans are run: every kind, drawn at random, and whole nets that were pruned
    "runtime/int8",
    "runtime/ops",
    "runtime/bf16",
    "runtime/test_engine.py",
    "runtime/test_numbers.py",
    "runtime/test_token_kernels.py",
    "runtime/test_token_nets.py",
    "runtime/test_recurrent_kernels.py",
    "runtime/test_conversion.py",
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(arm.missing()), reason=arm.missing() or "all is there")]


@pytest.fixture(scope="module")
def kernels() -> Path:
    return arm.kernels()


@pytest.fixture(scope="module")
def programs(kernels, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("arm")
    sources = (arm.HERE / "run_plans.cpp", ROOT / "tests" / "runtime" / "kernels" / "kernels_test.cpp")
    return {source.stem: arm.build(source, folder, kernels) for source in sources}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A folder with the plans that the tests of this machine run, and what they make of them."""
    folder = tmp_path_factory.mktemp("recorded")
    tests = [str(ROOT / "tests" / name) for name in RECORDED]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "recorded_plans", "-m", "not slow", *tests],
        env={
            **os.environ,
            "RECORDED_PLANS": str(folder),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "benchmarks"))),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # What fails here fails in its own place too; the plans that ran are kept.
    assert (folder / "float32.cases").is_file(), done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("cpu", arm.CPUS)
def test_int8_plans_make_the_same_bits_and_float32_plans_differ_by_rounding(cpu, programs, recorded):
    for name, least in (("exact", 300), ("float32", 300)):
        done = arm.run(programs["run_plans"], cpu, [1, recorded / f"{name}.cases"])
        assert done.returncode == 0, done.stdout + done.stderr
        last = done.stdout.splitlines()[-1]
        assert last.startswith("0 of ") and int(last.split()[2]) >= least, last
        assert f" failed on neon and {arm.CPUS[cpu]}, " in last


@pytest.mark.parametrize("cpu", arm.CPUS)
def test_all_kernels_of_a_processor_pass_the_tests_of_kernels(cpu, programs):
    done = arm.run(programs["kernels_test"], cpu)
    assert done.returncode == 0, done.stdout + done.stderr
    sets = list(arm.CPUS.values())
    here = sets[: sets.index(arm.CPUS[cpu]) + 1]
    assert [name for name in sets if f"bytes, {name}: ok" in done.stdout] == here
    assert "neon: ok" in done.stdout and "avx2: not on this processor" in done.stdout


def test_sparse_layers_take_about_a_third_of_the_instructions_of_dense_ones(programs, tmp_path):
    """The target is 0.35 at 75 % 1x4."""
    counter = instructions.Counter(tmp_path, programs["run_plans"])
    for int8, cpu in ((False, "cortex-a53"), (True, "cortex-a76"), (True, "max")):
        dense, sparse = (counter.of(layer, instructions.SHAPE, int8=int8, cpu=cpu) for layer in ("dense", "75 % 1x4"))
        assert sparse <= 0.35 * dense, (cpu, sparse / dense)


def test_a_cross_compiler_makes_the_wheel_of_its_machine(programs, recorded, tmp_path):
    """Its library is for ARM, asks for nothing but the C library, and runs plans."""
    made = subprocess.run(
        ["bash", str(ROOT / "scripts" / "build_wheel.sh"), str(tmp_path)],
        env={**os.environ, "CXX": arm.COMPILER, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    wheel = next(tmp_path.glob("*.whl"))
    assert wheel.name.endswith("-py3-none-linux_aarch64.whl")
    with zipfile.ZipFile(wheel) as archive:
        library = Path(archive.extract("paddle_unstructured/runtime/prebuilt/libpaddle_unstructured.so", tmp_path))
    assert b"libstdc++.so" not in library.read_bytes()
    assert int.from_bytes(library.read_bytes()[18:20], "little") == 183  # ELF's number of 64-bit ARM
    program = arm.build(arm.HERE / "run_plans.cpp", tmp_path, library)
    done = arm.run(program, "cortex-a76", [1, recorded / "exact.cases"])
    assert done.returncode == 0 and "failed on neon and neon_dotprod" in done.stdout, done.stdout + done.stderr
