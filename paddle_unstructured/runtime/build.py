"""The C++ kernels: compiled once, kept for every later process.

Two libraries: the kernels with their executor (`kernel_library`, no dependency but a C++ compiler), and the Paddle
operator on top of them (`operator_library`, one per Paddle version). Each lies in a folder that is named after a digest
of sources, flags, compiler and Paddle version, so a stale one is never loaded.

    python -m paddle_unstructured.runtime.build     # compile now, for an image or at install time

Environment: `CXX` names the compiler, `PADDLE_UNSTRUCTURED_CACHE` the folder (default: ~/.cache/paddle_unstructured).
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Sequence

SOURCES = Path(__file__).resolve().parent / "csrc"
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-pthread",
    "-Wall",
    "-Wextra",
    # a*b + c is one instruction where there is one; no code depends on errno or traps
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
)
ISAS = {  # name -> (table, floats in a vector, vector registers, flags)
    "avx512": (
        "kAvx512Kernels",
        16,
        32,
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"),
    ),
    "avx2": ("kAvx2Kernels", 8, 16, ("-mavx2", "-mfma")),
    "portable": ("kPortableKernels", 4, 16, ()),
}
_AVX512_VNNI = (*ISAS["avx512"][3], "-mavx512vnni")
ISAS8 = {  # the kernels for bytes
    "avx512_vbmi": ("kAvx512VbmiKernels8", 16, 32, (*_AVX512_VNNI, "-mavx512vbmi")),
    "avx512_vnni": ("kAvx512VnniKernels8", 16, 32, _AVX512_VNNI),
    "avx_vnni": ("kAvxVnniKernels8", 8, 16, ("-mavx2", "-mfma", "-mavxvnni")),
    "avx2": ("kAvx2Kernels8", 8, 16, ("-mavx2", "-mfma")),
    "portable": ("kPortableKernels8", 4, 16, ()),
}
EXACT = ("-ffp-contract=off",)  # for bytes: every instruction set makes the same bits
KERNELS, OPERATOR = "libpaddle_unstructured.so", "libpaddle_unstructured_op.so"


class BuildError(RuntimeError):
    """The kernels cannot be compiled here; the message says what to install."""


@functools.cache
def kernel_library() -> Path:
    """The kernels and their executor, compiled if need be (about 30 seconds)."""
    compiler = find_compiler()
    parts = [compiler, _version(compiler), *FLAGS, repr((ISAS, ISAS8)), *_texts("kernels", "engine")]
    folder = _folder("kernels", _digest(parts))
    if not (folder / KERNELS).is_file():
        _build_into(folder, lambda draft: build_kernels(draft, compiler))
    return folder / KERNELS


@functools.cache
def operator_library() -> Path:
    """The Paddle operator, compiled against the installed Paddle if need be (about 20 seconds).

    Raises:
        BuildError: There is no compiler, or no Paddle.
    """
    kernels, compiler = kernel_library(), find_compiler()
    paddle, version = _paddle()
    folder = _folder("operator", _digest([str(kernels), version, str(paddle), *_texts(".")]))
    if not (folder / OPERATOR).is_file():
        _build_into(folder, lambda draft: _build_operator(draft, compiler, kernels, paddle))
    return folder / OPERATOR


def find_compiler() -> str:
    """`CXX`, else g++ or c++.

    Raises:
        BuildError: There is none.
    """
    for name in [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++"]:
        found = shutil.which(name)
        if found:
            return found
    raise BuildError(
        "the runtime's kernels must be compiled once, but no C++ compiler was found; install g++ "
        "(Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; conda: conda install "
        "gxx_linux-64), or set CXX to a compiler that understands GCC's vector types."
    )


def build_kernels(folder: Path, compiler: str) -> Path:
    """Compile the kernel library into a folder; returns the library."""
    objects = _compile_units(folder, compiler, FLAGS, [])
    _run([compiler, "-shared", "-pthread", *objects, "-o", str(folder / KERNELS)])
    for name in objects:
        os.remove(name)
    return folder / KERNELS


def build_program(source: Path, flags: Sequence[str]) -> Path:
    """Compile kernels, executor and a main program with other flags (sanitizers, say), and keep it; for tests."""
    compiler = find_compiler()
    folder = _folder(
        "program",
        _digest(
            [
                compiler,
                _version(compiler),
                *flags,
                repr((ISAS, ISAS8)),
                source.name,
                *_texts(source.parent, "kernels", "engine"),
            ]
        ),
    )

    def build(draft: Path) -> None:
        objects = _compile_units(draft, compiler, [*flags, f"-I{SOURCES}"], [source])
        _run([compiler, *flags, *objects, "-o", str(draft / "program")])

    if not (folder / "program").is_file():
        _build_into(folder, build)
    return folder / "program"


def _compile_units(folder: Path, compiler: str, flags: Sequence[str], more: Sequence[Path]) -> list[str]:
    """The kernels once per instruction set, the executor and `more`, side by side; returns the object files."""
    units = [("kernels", f"kernels_{name}", _isa_flags(name, isa)) for name, isa in ISAS.items()]
    known = {name: isa for name, isa in ISAS8.items() if name != "avx_vnni" or _knows(compiler, isa[3])}
    units += [("kernels8", f"kernels8_{name}", [*_isa_flags(name, isa), *EXACT]) for name, isa in known.items()]
    units = [(SOURCES / f"kernels/{source}.cpp", name, more_flags) for source, name, more_flags in units]
    has = ["-DPU_HAS_AVX_VNNI"] * ("avx_vnni" in known)
    units += [
        (source, source.stem, [*has, *(EXACT if source.stem.endswith("8") else ())])
        for source in [*sorted((SOURCES / "engine").glob("*.cpp")), *more]
    ]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(
            workers.map(
                lambda unit: _run([compiler, *flags, *unit[2], "-c", str(unit[0]), "-o", str(folder / f"{unit[1]}.o")]),
                units,
            )
        )
    return [str(folder / f"{unit[1]}.o") for unit in units]


def _isa_flags(name: str, isa: tuple[str, int, int, Sequence[str]]) -> list[str]:
    table, lanes, registers, flags = isa
    return [*flags, f"-DPU_TABLE={table}", f'-DPU_ISA="{name}"', f"-DPU_LANES={lanes}", f"-DPU_REGISTERS={registers}"]


def _knows(compiler: str, flags: Sequence[str]) -> bool:
    """Compilers before GCC 11 do not know -mavxvnni."""
    command = [compiler, *flags, "-E", "-x", "c++", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _build_operator(folder: Path, compiler: str, kernels: Path, paddle: Path) -> None:
    # -w: Paddle's headers warn. The kernels are found by their full path; libpaddle is loaded already.
    _run(
        [
            compiler,
            *FLAGS,
            "-w",
            "-DPADDLE_WITH_CUSTOM_KERNEL",
            f"-I{paddle / 'include'}",
            f"-I{paddle / 'include' / 'third_party'}",
            "-shared",
            str(SOURCES / "paddle_op.cc"),
            str(kernels),
            f"-L{paddle / 'base'}",
            "-Wl,--no-as-needed",
            "-l:libpaddle.so",
            f"-Wl,-rpath,{kernels.parent}",
            f"-Wl,-rpath,{paddle / 'base'}",
            f"-Wl,-rpath,{paddle / 'libs'}",
            "-o",
            str(folder / OPERATOR),
        ]
    )


def _paddle() -> tuple[Path, str]:
    """Its folder and version."""
    try:
        import paddle
    except ImportError as error:
        raise BuildError(
            "the Paddle operator needs paddlepaddle; install it, or use runtime.Session, which runs without Paddle."
        ) from error
    return Path(paddle.__file__).parent, f"{paddle.version.full_version} {paddle.version.commit}"


def _folder(kind: str, digest: str) -> Path:
    home = os.environ.get("PADDLE_UNSTRUCTURED_CACHE") or Path.home() / ".cache" / "paddle_unstructured"
    return Path(home) / f"{kind}-{digest}"


def _build_into(folder: Path, build: Callable[[Path], Any]) -> None:
    """Build in a folder of its own, which gets its name when it is complete; another process may have been faster."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        build(draft)
        try:
            os.replace(draft, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _texts(*folders: str | Path) -> list[str]:
    files = sorted(path for folder in folders for path in (SOURCES / folder).iterdir() if path.is_file())
    return [path.name + "\n" + path.read_text(encoding="utf-8") for path in files if path.suffix != ".md"]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(
            f"the runtime's kernels cannot be compiled: {' '.join(command[:1])} ended with "
            f"{done.returncode} on\n  {' '.join(command)}\n{done.stderr[-3000:]}"
        )


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.info("%s", kernel_library())
    logging.info("%s", operator_library())
