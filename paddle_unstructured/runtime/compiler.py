# SPDX-License-Identifier: Apache-2.0
"""How the C++ sources become libraries: units, flags, compiler. Standard library only, because setup.py calls it too.

Every instruction set is in one library: its kernels are compiled once per set, and the processor decides at run time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Sequence

SOURCES = Path(__file__).resolve().parent / "csrc"
KERNELS, OPERATOR = "libpaddle_unstructured.so", "libpaddle_unstructured_op.so"
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
Isas = Mapping[str, tuple[str, int, int, tuple[str, ...]]]  # name -> (table, floats in a vector, registers, flags)
PORTABLE: Isas = {"portable": ("kPortable", 4, 16, ())}
ISAS: dict[str, tuple[str, int, int, tuple[str, ...]]] = {
    "avx512": (
        "kAvx512",
        16,
        32,
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"),
    ),
    "avx2": ("kAvx2", 8, 16, ("-mavx2", "-mfma")),
    **PORTABLE,
}
_AVX512_VNNI = (*ISAS["avx512"][3], "-mavx512vnni")
ISAS_INT8: dict[str, tuple[str, int, int, tuple[str, ...]]] = {  # the kernels for int8
    "avx512_vbmi": ("kAvx512Vbmi", 16, 32, (*_AVX512_VNNI, "-mavx512vbmi")),
    "avx512_vnni": ("kAvx512Vnni", 16, 32, _AVX512_VNNI),
    "avx_vnni": ("kAvxVnni", 8, 16, ("-mavx2", "-mfma", "-mavxvnni")),
    "avx2": ("kAvx2", 8, 16, ("-mavx2", "-mfma")),
    **PORTABLE,
}
_AMX = ("-mamx-tile", "-mamx-int8")
PLAIN_TILES: Isas = {"plain": ("kPlainTiles", 4, 16, ())}
ISAS_TILES: Isas = {  # the kernels for int8 that multiply whole matrices at once, and the same in plain C++
    "amx": ("kAmxTiles", 16, 32, (*ISAS_INT8["avx512_vbmi"][3], *_AMX, "-DPU_TILES=1")),
    **PLAIN_TILES,
}
ISAS_BF16: Isas = {  # the kernels for bfloat16; those without tiles run the same algorithm
    "amx_bf16": (
        "kAmx",
        16,
        32,
        (*ISAS_INT8["avx512_vbmi"][3], "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-DPU_TILES=1"),
    ),
    "avx512": ("kAvx512", 16, 32, _AVX512_VNNI),
    **{name: ISAS[name] for name in ("avx2", "portable")},
}
# Every 64-bit ARM has it. GCC, when it reorders before it has given out registers, then has too few.
_NEON = ("-DPU_NEON=1", "-fno-schedule-insns")
MACHINES: Mapping[str, tuple[Isas, Isas, Isas, Isas]] = {  # float32, int8, int8 on tiles, bfloat16; others run portable
    "x86_64": (ISAS, ISAS_INT8, ISAS_TILES, ISAS_BF16),
    "aarch64": (
        {"neon": ("kNeon", 4, 32, _NEON), **PORTABLE},
        {
            "neon_i8mm": ("kNeonI8mm", 4, 32, (*_NEON, "-march=armv8.2-a+dotprod+i8mm")),
            "neon_dotprod": ("kNeonDotprod", 4, 32, (*_NEON, "-march=armv8.2-a+dotprod")),
            "neon": ("kNeon", 4, 32, _NEON),
            **PORTABLE,
        },
        PLAIN_TILES,
        PORTABLE,
    ),
}
YOUNG = {  # sets that older compilers or assemblers do not know -> an instruction to ask for
    "avx_vnni": "",
    "amx": "tilerelease",
    "amx_bf16": "tdpbf16ps %tmm0, %tmm1, %tmm2",
    "neon_i8mm": "usdot v0.4s, v0.16b, v0.16b",
    "neon_dotprod": "sdot v0.4s, v0.16b, v0.16b",
}
EXACT = ("-ffp-contract=off",)  # for all but the float32 kernels: every instruction set makes the same bits
# A library that travels brings the C++ runtime along, hidden; what it asks of the machine is the C library.
PORTABLE_LINK = ("-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL")

Tell = Callable[[int, int], None]  # units done, units in all


class BuildError(RuntimeError):
    """The kernels or the operator cannot be had here; the message says what still works and what to install."""


def find_compiler(what: str = "the runtime's kernels", still: str = "") -> str:
    """`CXX`, else g++ or c++.

    Args:
        what: What is to be compiled, for the message.
        still: What works without it, for the message.

    Raises:
        BuildError: There is none.
    """
    asked = os.environ.get("CXX")
    for name in [asked] if asked else ["g++", "c++"]:
        found = shutil.which(name)
        if found:
            return found
    missing = f"CXX names {asked!r}, which is not on PATH" if asked else "no C++ compiler was found"
    raise BuildError(
        f"{what} must be compiled once, but {missing}; install g++ (Debian, Ubuntu: apt-get install g++; Fedora: dnf "
        "install gcc-c++; conda: conda install gxx_linux-64), or set CXX to a compiler that understands GCC's vector "
        f"types.{still and ' ' + still}"
    )


def build_kernels(folder: Path, compiler: str, *, link: Sequence[str] = (), tell: Tell | None = None) -> Path:
    """Compile the kernel library into a folder; returns the library."""
    objects = _compile_units(folder, compiler, FLAGS, [], tell)
    run([compiler, "-shared", "-pthread", *objects, *link, "-o", str(folder / KERNELS)])
    for name in objects:
        os.remove(name)
    return folder / KERNELS


def build_program(folder: Path, compiler: str, source: Path, flags: Sequence[str]) -> Path:
    """Compile kernels, executor and a main program with flags of its own; returns the program."""
    objects = _compile_units(folder, compiler, [*flags, f"-I{SOURCES}"], [source], None)
    run([compiler, *flags, *objects, "-o", str(folder / "program")])
    for name in objects:
        os.remove(name)
    return folder / "program"


def build_operator(folder: Path, compiler: str, kernels: Path, paddle: Path) -> Path:
    """Compile the Paddle operator on top of a kernel library; returns the operator's library.

    Args:
        folder: Where it goes.
        compiler: What compiles it.
        kernels: The library that it is linked to, by its full path.
        paddle: The folder of the installed package.
    """
    # -w: Paddle's headers warn. libpaddle is loaded already when this library is.
    run(
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
            f"-Wl,-rpath,{paddle / 'base'}",
            f"-Wl,-rpath,{paddle / 'libs'}",
            "-o",
            str(folder / OPERATOR),
        ]
    )
    return folder / OPERATOR


def kernel_digest() -> str:
    """A digest of everything that decides what the kernel library computes, but for the compiler."""
    return digest([*FLAGS, repr((MACHINES, EXACT)), *_texts("kernels", "engine")])


def operator_digest() -> str:
    """A digest of the operator's own source and flags."""
    return digest([*FLAGS, (SOURCES / "paddle_op.cc").read_text(encoding="utf-8")])


def digest(parts: Sequence[str]) -> str:
    """64 bits of a SHA-256 of texts, in hexadecimal."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def version_of(compiler: str) -> str:
    """The first line of what a compiler says of itself."""
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0]


def knows(compiler: str, flags: Sequence[str], instruction: str = "") -> bool:
    """Whether a compiler takes flags, and its assembler an instruction: GCC before 11 does not know -mavxvnni."""
    command = [compiler, *flags, "-c", "-x", "c++", "-", "-o", os.devnull]
    text = f'void probe() {{ asm("{instruction}"); }}'
    return subprocess.run(command, input=text, text=True, capture_output=True, check=False).returncode == 0


def machine_of(compiler: str, what: str = "the runtime's kernels") -> str:
    """What a compiler compiles for, by its own macros: "x86_64", "aarch64" or "another".

    Args:
        compiler: The compiler.
        what: What is to be compiled, for the message.

    Raises:
        BuildError: It is no 64-bit little-endian machine.
    """
    command = [compiler, "-dM", "-E", "-x", "c++", os.devnull]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    macros = dict(line.split(" ", 2)[1:] for line in said.splitlines() if line.count(" ") >= 2)
    order, pointer = macros.get("__BYTE_ORDER__"), macros.get("__SIZEOF_POINTER__")
    if macros and (order != "__ORDER_LITTLE_ENDIAN__" or pointer != "8"):
        named = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=False).stdout.strip()
        raise BuildError(
            f"{what} must be compiled for a 64-bit little-endian machine (x86-64, ARM64, ...), but {compiler} compiles "
            f"for {named}; set CXX to a compiler for one, or install a 64-bit system. Pruning, reports and exports "
            "work here without the runtime."
        )
    return next((name for name in MACHINES if f"__{name}__" in macros), "another")


def links(compiler: str, flags: Sequence[str]) -> bool:
    """Whether a compiler links a library with flags: some systems have libstdc++.a in a package of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-shared", "-x", "c++", os.devnull, *flags, "-o", os.path.join(folder, "probe.so")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(command: Sequence[str]) -> None:
    """Run a compiler.

    Raises:
        BuildError: It failed; its words are quoted, but for those of a full disk.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        places = os.path.dirname(os.path.dirname(command[-1])), tempfile.gettempdir()  # the draft's folder; g++'s own
        if "No space left on device" in done.stderr or min(shutil.disk_usage(at).free for at in places) < 1 << 20:
            raise BuildError(
                f"the runtime's kernels cannot be compiled: no space left in {' or in '.join(places)}; let "
                "PADDLE_UNSTRUCTURED_CACHE and TMPDIR name folders with some ten megabytes."
            )
        raise BuildError(
            f"the runtime's kernels cannot be compiled: {' '.join(command[:1])} ended with "
            f"{done.returncode} on\n  {' '.join(command)}\n{done.stderr[-3000:]}"
        )


@dataclass(frozen=True)
class _Unit:
    source: Path
    name: str  # of its object file
    flags: Sequence[str]


def _units(compiler: str, more: Sequence[Path]) -> list[_Unit]:
    """The kernels once per instruction set of the compiler's machine, the executor, and `more`."""
    machine = MACHINES.get(machine_of(compiler), (PORTABLE, PORTABLE, PLAIN_TILES, PORTABLE))
    floats, int8, tiles, bf16 = (
        {name: isa for name, isa in isas.items() if name not in YOUNG or knows(compiler, isa[3], YOUNG[name])}
        for isas in machine
    )
    units = [
        _Unit(source, f"{_name(source)}_{name}", [*_isa_flags(name, isa), *(() if folder == "f32" else EXACT)])
        for folder, stem, isas in (
            ("f32", "kernels", floats),
            ("int8", "kernels", int8),
            ("int8", "tiles", tiles),
            ("bf16", "kernels", bf16),
        )
        for source in [SOURCES / "kernels" / folder / f"{stem}.cpp"]
        for name, isa in isas.items()
    ]
    has = [f"-DPU_HAS_{name.upper()}" for name in YOUNG if name in int8 or name in tiles or name in bf16]
    engine = sorted((SOURCES / "engine").rglob("*.cpp"))
    units += [_Unit(source, _name(source), [*has, *EXACT]) for source in engine]
    return units + [_Unit(source, f"more_{source.stem}", has) for source in more]


def _name(source: Path) -> str:
    return "_".join(source.relative_to(SOURCES).with_suffix("").parts)


def _isa_flags(name: str, isa: tuple[str, int, int, tuple[str, ...]]) -> list[str]:
    table, lanes, registers, flags = isa
    return [*flags, f"-DPU_TABLE={table}", f'-DPU_ISA="{name}"', f"-DPU_LANES={lanes}", f"-DPU_REGISTERS={registers}"]


def _compile_units(
    folder: Path, compiler: str, flags: Sequence[str], more: Sequence[Path], tell: Tell | None
) -> list[str]:
    """Side by side; returns the object files."""
    units = _units(compiler, more)
    objects = [str(folder / f"{unit.name}.o") for unit in units]
    workers = ThreadPoolExecutor(os.cpu_count())
    try:
        running = [
            workers.submit(run, [compiler, *flags, *unit.flags, "-c", str(unit.source), "-o", name])
            for unit, name in zip(units, objects)
        ]
        for done, unit in enumerate(as_completed(running)):
            unit.result()
            if tell:
                tell(done + 1, len(units))
    finally:
        workers.shutdown(cancel_futures=True)  # after an error the rest need not begin
    return objects


def _texts(*folders: str) -> list[str]:
    files = sorted(path for folder in folders for path in (SOURCES / folder).rglob("*") if path.is_file())
    return [
        path.relative_to(SOURCES).as_posix() + "\n" + path.read_text(encoding="utf-8")
        for path in files
        if path.suffix in (".cpp", ".h", ".inl")
    ]
