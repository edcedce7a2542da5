# SPDX-License-Identifier: Apache-2.0
"""The folder of compiled libraries: warm without a compiler, never a damaged file, nobody else's code."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddle_unstructured.runtime import build, compiler, kept

ROOT = Path(__file__).resolve().parents[2]
WHOLE = b"a library"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def good() -> Path:
    """The kernels, compiled for all tests."""
    return build.kernel_library()


@pytest.fixture
def warm(good, home, monkeypatch) -> Path:
    """The kernels in a cache of the test's own; what compiles them again is a copy."""
    shutil.copytree(good.parent, home / good.parent.name)
    home.chmod(0o755)
    monkeypatch.setattr(compiler, "build_kernels", lambda folder, _, tell=None: shutil.copy(good, folder))
    build.kernel_library.cache_clear()
    yield home / good.parent.name / good.name
    build.kernel_library.cache_clear()


def make(content: bytes = WHOLE, name: str = "lib.so"):
    """A `build` that writes a file instead of compiling one."""
    return lambda folder: (folder / name).write_bytes(content)


def never(folder: Path) -> None:
    raise AssertionError("it was kept before")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_built_is_found_again(home):
    assert kept.find("kernels-1", "lib.so") is None
    path = kept.keep("kernels-1", "lib.so", make(), compiler="g++ 12")
    assert path == home / "kernels-1" / "lib.so" == kept.find("kernels-1", "lib.so")
    assert kept.stamp_of(path)["compiler"] == "g++ 12"
    assert kept.keep("kernels-1", "lib.so", never) == path


def test_a_warm_cache_needs_no_compiler(warm, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert build.kernel_library() == warm


@pytest.mark.parametrize("damage", ["cut short", "empty", "one bit", "garbage", "no stamp", "bad stamp", "other stamp"])
def test_a_damaged_library_is_compiled_again(damage, warm, caplog):
    whole = warm.read_bytes()
    stamp = warm.parent / kept.STAMP
    if damage == "no stamp":
        stamp.unlink()
    elif damage.endswith("stamp"):
        stamp.write_text("[" * 100_000 if damage == "bad stamp" else '{"sha256": "0"}')
    else:
        bad = {"cut short": whole[:-4096], "empty": b"", "garbage": b"garbage"}
        warm.write_bytes(bad.get(damage, whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]))
    assert build.kernel_library() == warm and warm.read_bytes() == whole
    assert f"{warm} is damaged and will not be loaded" in caplog.text
    assert kept.stamp_of(warm) is not None


def test_a_damaged_library_without_a_compiler_is_not_loaded(warm, monkeypatch):
    warm.write_bytes(warm.read_bytes()[:1000])
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.BuildError, match=r"install g\+\+.*A wheel of paddle_unstructured brings"):
        build.kernel_library()


def test_whatever_the_umask_others_can_read_and_nobody_can_write(home):
    before = os.umask(0o077)
    try:
        path = kept.keep("kernels-1", "lib.so", make())
        os.umask(0)
        other = kept.keep("kernels-2", "lib.so", make())
    finally:
        os.umask(before)
    assert [mode(folder) for folder in (home, path.parent, other.parent)] == [0o755] * 3
    assert {mode(file) for folder in (path.parent, other.parent) for file in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("bits", [0o002, 0o020, 0o1022])
@pytest.mark.parametrize("place", [".", "kernels-1", "kernels-1/lib.so", "kernels-1/stamp.json"])
def test_what_others_may_write_is_refused_by_name(place, bits, home):
    kept.keep("kernels-1", "lib.so", make())
    path = home / place
    path.chmod(mode(path) | bits)
    with pytest.raises(build.BuildError, match=rf"{path} must be writable by its owner only.*chmod -R go-w {home}"):
        kept.find("kernels-1", "lib.so")


def test_nothing_is_built_into_a_folder_that_others_may_write(home):
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(build.BuildError, match="must be writable by its owner only"):
        kept.keep("kernels-1", "lib.so", never)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", [".", "kernels-1", "kernels-1/lib.so", "kernels-1/stamp.json"])
def test_what_another_user_owns_is_refused_by_name(place, home):
    kept.keep("kernels-1", "lib.so", make())
    os.chown(home / place, 12345, -1)
    with pytest.raises(build.BuildError, match=rf"{home / place} must belong to you .* or to root.*got user 12345"):
        kept.find("kernels-1", "lib.so")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_what_root_compiled_serves_another_user(home, tmp_path):
    kept.keep("kernels-1", "lib.so", make())
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):  # of pytest; the last is its own with several workers
        folder.chmod(mode(folder) | 0o011)
    child = os.fork()
    if child == 0:
        try:
            os.setuid(12345)
            found = kept.find("kernels-1", "lib.so")
            os._exit(0 if found and found.read_bytes() == WHOLE else 1)
        finally:  # whatever it is, pytest must not go on in the child
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_drafts_of_dead_processes_are_removed(home):
    draft = home / ".building-dead"
    draft.mkdir(parents=True)
    (draft / "half.o").write_bytes(b"half")
    home.chmod(0o755)
    kept.keep("kernels-1", "lib.so", make())
    assert sorted(path.name for path in home.iterdir()) == [".lock", "kernels-1"]


def test_a_build_that_fails_leaves_nothing(home):
    def fail(folder: Path) -> None:
        (folder / "half.o").write_bytes(b"half")
        raise build.BuildError("no")

    with pytest.raises(build.BuildError, match="^no$"):
        kept.keep("kernels-1", "lib.so", fail)
    assert [path.name for path in home.iterdir()] == [".lock"]


def test_two_processes_compile_once(home, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from paddle_unstructured.runtime import kept\n"
        "def build(folder):\n"
        "    with open(sys.argv[1], 'a') as file: file.write('built\\n')\n"
        "    time.sleep(0.3); (folder / 'lib.so').write_bytes(b'a library')\n"
        "print(kept.keep('kernels-1', 'lib.so', build))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {process.communicate(timeout=60)[0].strip() for process in both} == {str(home / "kernels-1" / "lib.so")}
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_killed_build_keeps_nobody_waiting(home):
    code = (
        "import time; from paddle_unstructured.runtime import kept\n"
        "kept.keep('kernels-1', 'lib.so', lambda folder: time.sleep(100))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until = time.monotonic() + 60
    while not list(home.glob(".building-*")) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(list(home.glob(".building-*"))) == 1
    kept.keep("kernels-1", "lib.so", make())
    assert list(home.glob(".building-*")) == []


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(build.BuildError, match="cannot be kept in .*; set PADDLE_UNSTRUCTURED_CACHE to a folder of"):
        kept.keep("kernels-1", "lib.so", make())


def test_the_cache_is_where_it_was_when_the_process_goes_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", "cache")
    assert kept.home() == tmp_path / "cache"  # the operator names the kernels by their whole path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_CACHE", "~/kernels")
    assert kept.home() == tmp_path / "kernels"


def test_forgotten_libraries_are_compiled_again(home):
    kept.keep("kernels-1", "lib.so", make())
    kept.forget()
    assert kept.find("kernels-1", "lib.so") is None
