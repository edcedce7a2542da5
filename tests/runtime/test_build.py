"""Compiling the kernels: found again, and a clear word where it cannot be done. The kernels' own tests, sanitized."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from paddle_unstructured.runtime import build

TESTS = Path(__file__).parent / "kernels"


def test_the_library_is_compiled_once():
    build.kernel_library.cache_clear()
    first = build.kernel_library()
    changed = first.stat().st_mtime_ns
    build.kernel_library.cache_clear()
    assert build.kernel_library() == first and first.stat().st_mtime_ns == changed


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.BuildError, match="install g\\+\\+"):
        build.find_compiler()


def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "FLAGS", ("-fno-such-flag",))
    with pytest.raises(build.BuildError, match="no-such-flag"):
        build.build_kernels(tmp_path, build.find_compiler())


@pytest.mark.parametrize("sanitizers", ["address,undefined", pytest.param("thread", marks=pytest.mark.slow)])
def test_the_kernels_pass_their_tests_under_sanitizers(sanitizers, monkeypatch):
    """The source for AVX-VNNI too, in the encoding of AVX-512: machines with the latter are easier to find."""
    isa = (*build.ISAS8["avx_vnni"][:3], ("-mavx2", "-mfma", "-mavx512vl", "-mavx512vnni"))
    monkeypatch.setitem(build.ISAS8, "avx_vnni", isa)
    flags = [
        "-std=c++17",
        "-O1",
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
