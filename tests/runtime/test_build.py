# SPDX-License-Identifier: Apache-2.0
"""Compiling the kernels: found again, and a clear word where it cannot be done. The kernels' own tests, sanitized."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from paddle_unstructured.cli.compilation_bar import compilation_bar
from paddle_unstructured.runtime import build, compiler, kept

TESTS = Path(__file__).parent / "kernels"


def test_the_library_is_compiled_once():
    build.kernel_library.cache_clear()
    first = build.kernel_library()
    changed = first.stat().st_mtime_ns
    build.kernel_library.cache_clear()
    assert build.kernel_library() == first and first.stat().st_mtime_ns == changed


@pytest.fixture
def no_compiler(tmp_path, monkeypatch):
    """An empty cache, and no compiler."""
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)


def test_without_a_compiler_the_error_says_what_to_install_and_what_still_works(no_compiler):
    with pytest.raises(build.BuildError, match=r"kernels must be compiled once.*install g\+\+.*pruning, reports"):
        build.kernel_library.__wrapped__()


def test_without_a_compiler_the_operator_points_to_session(no_compiler, monkeypatch):
    monkeypatch.setattr(build, "kernel_library", lambda: Path("libpaddle_unstructured.so"))
    with pytest.raises(build.BuildError, match=r"the Paddle operator must be compiled.*`Session` still runs"):
        build.operator_library.__wrapped__()


def test_a_compiler_that_is_asked_for_and_missing_is_named(no_compiler, monkeypatch):
    monkeypatch.setenv("CXX", "ccache g++")
    with pytest.raises(build.BuildError, match=r"CXX names 'ccache g\+\+', which is not on PATH"):
        compiler.find_compiler()


def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "FLAGS", ("-fno-such-flag",))
    with pytest.raises(build.BuildError, match="no-such-flag"):
        compiler.build_kernels(tmp_path, compiler.find_compiler())


def test_a_full_disk_is_said_without_the_compilers_words(tmp_path):
    program = tmp_path / "g++"
    program.write_text('#!/bin/sh\necho "Fatal error: can\'t write 46 bytes: No space left on device" >&2; exit 1\n')
    program.chmod(0o755)
    with pytest.raises(build.BuildError, match=f"no space left in {tmp_path} or in .*; let PADDLE_U.* and TMPDIR") as e:
        compiler.run([str(program), "-c", "kernels.cpp", "-o", str(tmp_path / "draft" / "kernels.o")])
    assert "Fatal error" not in str(e.value)


def compiler_for(folder, target, order="__ORDER_LITTLE_ENDIAN__", pointer=8, macro="__unknown__"):
    """A compiler that says for what it compiles, and can no more."""
    program = folder / f"{target}-g++"
    macros = f"#define __BYTE_ORDER__ {order}\n#define __SIZEOF_POINTER__ {pointer}\n#define {macro} 1"
    program.write_text(f'#!/bin/sh\n[ "$1" = -dumpmachine ] && echo {target} || echo "{macros}"\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    "target, order, pointer",
    [
        ("arm-linux-gnueabihf", "__ORDER_LITTLE_ENDIAN__", 4),
        ("aarch64_be-linux-gnu", "__ORDER_BIG_ENDIAN__", 8),
        ("i686-linux-gnu", "__ORDER_LITTLE_ENDIAN__", 4),
    ],
)
def test_a_compiler_for_32_bits_or_big_endian_is_refused_by_name(target, order, pointer, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")
    monkeypatch.setenv("CXX", compiler_for(tmp_path, target, order, pointer))
    with pytest.raises(build.BuildError, match=f"64-bit little-endian machine.* compiles for {target}; set CXX"):
        build.kernel_library.__wrapped__()


def test_a_cross_compiler_makes_wheels_and_no_kernels_for_this_machine(tmp_path, monkeypatch):
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    name = compiler_for(tmp_path, f"{other}-linux-gnu", macro=f"__{other}__")
    assert compiler.machine_of(name) == other
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")
    monkeypatch.setenv("CXX", name)
    with pytest.raises(build.BuildError, match=f"for this machine, .* compiles for {other}; set CXX to another"):
        build.kernel_library.__wrapped__()


def test_each_machine_has_its_own_kernels_and_portable_ones(tmp_path):
    for machine, sets in (("aarch64", "neon"), ("riscv", None)):
        found = compiler_for(tmp_path, f"{machine}-linux-gnu", macro=f"__{machine}__")
        names = {unit.name for unit in compiler._units(found, [])}
        assert {"kernels_f32_kernels_portable", "kernels_int8_kernels_portable", "kernels_int8_tiles_plain"} <= names
        assert ("kernels_int8_kernels_neon_dotprod" in names) == (sets == "neon")
        assert not [name for name in names if "avx" in name or "amx" in name]


def test_what_is_compiled_for_int8_is_exact():
    units = compiler._units(compiler.find_compiler(), [])
    assert {unit.name for unit in units if "int8" in unit.source.parts} <= {
        unit.name for unit in units if compiler.EXACT[0] in unit.flags
    }
    assert len({unit.name for unit in units}) == len(units) > len(compiler.ISAS) + len(compiler.ISAS_INT8)


@pytest.fixture
def compiled_at_once(tmp_path, monkeypatch):
    """An empty cache, and a compiler that takes no time: two units, and a library that can be loaded."""
    good = build.kernel_library()
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")

    def compile_(folder, _, tell):
        tell(1, 2)
        shutil.copy(good, folder)
        tell(2, 2)

    monkeypatch.setattr(compiler, "build_kernels", compile_)
    return good


def test_a_listener_is_told_of_a_compilation_and_the_log_is_not(compiled_at_once, caplog):
    seen = []
    with build.listening(seen.append):
        build.kernel_library.__wrapped__()
    assert [(p.done, p.total) for p in seen] == [(0, 1), (1, 2), (2, 2)]
    assert {p.what for p in seen} == {"the runtime's kernels"} and not caplog.records


def test_without_a_listener_the_log_says_that_it_will_take_a_minute(compiled_at_once, caplog, tmp_path):
    build.kernel_library.__wrapped__()
    assert [record.message for record in caplog.records] == [
        f"compiling the runtime's kernels, once, about a minute; kept in {tmp_path / 'cache'}"
    ]
    build.kernel_library.__wrapped__()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_drawn_on_terminals_only(terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    bar = compilation_bar(stream)
    for done in range(3):
        bar(build.Progress("the kernels", done, 2))
    line = "compiling the kernels, once on this machine; this takes about a minute\n"
    bars = [f"\r[{'#' * n}{'.' * (30 - n)}] " for n in (0, 15, 30)]
    drawn = f"{bars[0]}0/2 {bars[1]}1/2 {bars[2]}2/2 \n"
    assert stream.getvalue() == line + drawn * terminal


@pytest.mark.parametrize("state", ["whole", "damaged", "of other sources", "not for this machine"])
def test_the_library_of_a_wheel_is_used_if_it_is_whole_and_of_these_sources(state, compiled_at_once, caplog):
    build.PREBUILT.mkdir()
    library = build.PREBUILT / compiler.KERNELS
    library.write_bytes(b"for another" if state == "not for this machine" else compiled_at_once.read_bytes())
    kept.write_stamp(library, sources="0" if state == "of other sources" else compiler.kernel_digest())
    if state == "damaged":
        library.write_bytes(library.read_bytes()[:-1])
    found = build.kernel_library.__wrapped__()
    assert (found == library) == (state == "whole")
    assert f"{library} is not used" in caplog.text or state == "whole"


@pytest.mark.parametrize("sanitizers", ["address,undefined", pytest.param("thread", marks=pytest.mark.slow)])
def test_the_kernels_pass_their_tests_under_sanitizers(sanitizers, monkeypatch):
    """The source for AVX-VNNI too, in the encoding of AVX-512: machines with the latter are easier to find."""
    isa = (*compiler.ISAS_INT8["avx_vnni"][:3], ("-mavx2", "-mfma", "-mavx512vl", "-mavx512vnni"))
    monkeypatch.setitem(compiler.ISAS_INT8, "avx_vnni", isa)
    flags = [
        "-std=c++17",
        "-O0",  # a third less to compile
        f"-fsanitize={sanitizers}",
        "-fno-sanitize-recover=all",
        "-ffp-contract=fast",
        "-pthread",
        "-DPU_AVX_VNNI_AS_AVX512",
    ]
    program = build.build_program(TESTS / "kernels_test.cpp", flags)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all tests passed" in done.stdout
