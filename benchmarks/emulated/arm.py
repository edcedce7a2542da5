# SPDX-License-Identifier: Apache-2.0
"""64-bit ARM: the kernels cross-compiled and kept, and programs run by QEMU as one of its processors.

Needs Debian's g++-aarch64-linux-gnu and qemu-user (or the same of another distribution).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Sequence

from paddle_unstructured.runtime import compiler as cxx
from paddle_unstructured.runtime import kept

CPUS = {"cortex-a53": "neon", "cortex-a76": "neon_dotprod", "max": "neon_i8mm"}  # -> the int8 kernels that must run
COMPILER, EMULATOR, ROOT = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
HERE = Path(__file__).resolve().parent
PLUGIN = "libcount_instructions.so"


def missing() -> str:
    """What must be installed; empty if nothing."""
    names = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    return f"{' and '.join(names)} must be installed (Debian: g++-aarch64-linux-gnu, qemu-user)" if names else ""


def kernels() -> Path:
    """The kernel library for ARM: kept, or compiled now (two minutes of one core)."""
    name = f"arm-{cxx.digest([cxx.kernel_digest(), cxx.version_of(COMPILER)])}"
    found = kept.find(name, cxx.KERNELS)
    return found or kept.keep(
        name, cxx.KERNELS, lambda draft: cxx.build_kernels(draft, COMPILER), compiler=cxx.version_of(COMPILER)
    )


def build(source: Path, folder: Path, library: Path) -> Path:
    """Compile a program that uses the kernel library; returns it."""
    program = folder / source.stem
    cxx.run(
        [
            COMPILER,
            "-std=c++17",
            "-O1",
            "-pthread",
            f"-I{cxx.SOURCES}",
            str(source),
            str(library),
            f"-Wl,-rpath,{library.parent}",
            "-o",
            str(program),
        ]
    )
    return program


def build_counter(folder: Path) -> Path:
    """Compile the plugin that counts instructions, for this machine; returns it."""
    plugin = folder / PLUGIN
    compiler = shutil.which("gcc") or "cc"
    cxx.run([compiler, "-O2", "-shared", "-fPIC", str(HERE / "count_instructions.c"), "-o", str(plugin)])
    return plugin


def run(
    program: Path, cpu: str, words: Sequence[object] = (), *, plugin: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run an ARM program.

    Args:
        program: The program.
        cpu: QEMU's name of the processor.
        words: Its arguments.
        plugin: Of QEMU.
        environment: Variables that the program sees.
    """
    command = [EMULATOR, "-L", ROOT, "-cpu", cpu]
    for name, value in environment.items():
        command += ["-E", f"{name}={value}"]
    command += ["-plugin", str(plugin)] if plugin else []
    return subprocess.run([*command, str(program), *map(str, words)], capture_output=True, text=True, check=False)


def instructions(program: Path, cpu: str, plugin: Path, cases: Path, **environment: str) -> int:
    """How many instructions one more run of the cases in a file takes.

    Raises:
        RuntimeError: A case fails.
    """
    counted = []
    for times in (1, 2):
        done = run(program, cpu, [times, cases], plugin=plugin, **environment)
        found = re.search(r"instructions: (\d+)", done.stderr)
        if done.returncode != 0 or found is None:
            raise RuntimeError(done.stdout + done.stderr)
        counted.append(int(found.group(1)))
    return counted[1] - counted[0]
