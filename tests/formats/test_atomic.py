# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: killed writers, full disks, links, devices."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddle_unstructured.formats.atomic import aside, check_writable, finish, replace_file

ROOT = str(Path(__file__).resolve().parents[2])


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def write_pair(prefix: Path, a: str, b: str) -> None:
    with aside(prefix) as draft:
        Path(draft + ".a").write_text(a)
        Path(draft + ".b").write_text(b)


def read_pair(prefix: Path) -> tuple[str, str]:
    finish(prefix)
    return Path(f"{prefix}.a").read_text(), Path(f"{prefix}.b").read_text()


def test_a_file_is_written_with_its_folders_and_nothing_else_is_left(tmp_path):
    replace_file(tmp_path / "deep" / "folder" / "file", "gr\u00fcn")
    assert (tmp_path / "deep" / "folder" / "file").read_bytes() == "gr\u00fcn".encode()
    assert names(tmp_path / "deep" / "folder") == ["file"]


def test_files_that_begin_alike_are_named_together(tmp_path):
    write_pair(tmp_path / "m", "1", "1")
    write_pair(tmp_path / "m", "2", "2")
    assert read_pair(tmp_path / "m") == ("2", "2") and names(tmp_path) == ["m.a", "m.b"]


def test_a_new_file_gets_the_mode_of_new_files_and_an_old_one_keeps_its_own(tmp_path):
    before = os.umask(0o027)
    try:
        replace_file(tmp_path / "file", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    (tmp_path / "file").chmod(0o604)
    replace_file(tmp_path / "file", b"2")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604


@pytest.mark.parametrize("where", ["body", "os.fsync", "os.replace", "os.rename"])
def test_an_error_leaves_what_was_there_and_no_draft(tmp_path, monkeypatch, where):
    write_pair(tmp_path / "m", "1", "1")

    def fail(*_):
        raise OSError("stop")

    with pytest.raises(OSError, match="stop"), aside(tmp_path / "m") as draft:
        Path(draft + ".a").write_text("2")
        if where == "body":
            fail()
        monkeypatch.setattr(where, fail)
    monkeypatch.undo()
    assert read_pair(tmp_path / "m") == ("1", "1") and names(tmp_path) == ["m.a", "m.b"]


@pytest.mark.parametrize("before", [True, False])
def test_an_error_between_two_names_brings_the_old_files_back(tmp_path, monkeypatch, before):
    if before:
        write_pair(tmp_path / "m", "1", "1")
    real, calls = os.replace, []

    def second_fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr("os.replace", second_fails)
    with pytest.raises(KeyboardInterrupt):
        write_pair(tmp_path / "m", "2", "2")
    assert names(tmp_path) == (["m.a", "m.b"] if before else [])
    assert not before or read_pair(tmp_path / "m") == ("1", "1")


# -- links, devices, folders


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "target.a").write_text("1")
    os.symlink(tmp_path / "there" / "target.a", tmp_path / "m.a")
    write_pair(tmp_path / "m", "2", "2")
    assert (tmp_path / "m.a").is_symlink() and (tmp_path / "there" / "target.a").read_text() == "2"
    os.symlink("nothing-yet", tmp_path / "file")
    replace_file(tmp_path / "file", "3")
    assert (tmp_path / "file").is_symlink() and (tmp_path / "nothing-yet").read_text() == "3"


def test_a_link_to_another_disk_is_written_through(tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    target = other / f"paddle_unstructured_{os.getpid()}"
    target.write_text("1")
    try:
        os.symlink(target, tmp_path / "m.a")
        write_pair(tmp_path / "m", "2", "2")
        assert (tmp_path / "m.a").is_symlink() and target.read_text() == "2"
        assert [entry for entry in os.listdir(other) if entry.startswith(target.name)] == [target.name]
    finally:
        target.unlink()


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device", "a socket"])
@pytest.mark.parametrize("through_link", [False, True])
def test_what_is_no_file_is_refused_and_stays_as_it_is(tmp_path, kind, through_link):
    path = tmp_path / "out"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path = Path("/dev/null")
    mode = path.stat().st_mode
    if through_link:
        os.symlink(path, tmp_path / "link")
    with pytest.raises(ValueError, match=f"must be a file to be written, and is {kind}; give another path"):
        replace_file(tmp_path / "link" if through_link else path, "text")
    assert path.stat().st_mode == mode and not [n for n in names(tmp_path) if n.startswith(".")]


# -- full disks


def test_a_file_that_is_larger_than_allowed_is_said(tmp_path):
    replace_file(tmp_path / "file", b"old")
    code = f"""
import resource, signal
from paddle_unstructured.formats.atomic import replace_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
replace_file({str(tmp_path / "file")!r}, bytes(5000))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 1 and "the file is larger than this process may write (ulimit -f)" in found.stderr
    assert (tmp_path / "file").read_bytes() == b"old" and names(tmp_path) == ["file"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (1000, 1000)


def test_a_full_disk_is_said_with_its_place(tmp_path, monkeypatch):
    replace_file(tmp_path / "file", b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=f"no space left.*what was there before is unchanged.*{tmp_path.name}"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_a_place_is_looked_at_before_there_is_anything_to_write(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "folder" / "model")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="it cannot be written: .*file is no folder"):
        check_writable(tmp_path / "file" / "model")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OSError, match="it cannot be written: Permission denied.*model"):
        check_writable(tmp_path / "new" / "model")


@pytest.mark.parametrize("fails", ["tempfile.mkdtemp", "os.rename"])
def test_what_cannot_be_written_is_named_and_no_draft_of_it(tmp_path, monkeypatch, fails):
    def fail(*args, **words):
        draft = args[0] if args else f"{tmp_path}/.file.abcd1234.writing"
        raise OSError(errno.EROFS, "Read-only file system", draft)

    monkeypatch.setattr(fails, fail)
    with pytest.raises(OSError, match="it cannot be written: Read-only file system") as found:
        replace_file(tmp_path / "file", b"new")
    assert found.value.filename == str(tmp_path / "file") and names(tmp_path) == []


# -- the dead and the living


def left_by_the_dead(prefix: Path, ending: str) -> Path:
    """What a killed process has left, with a new .b in it."""
    draft = prefix.with_name(f".{prefix.name}.abcd1234{ending}")
    draft.mkdir()
    (draft / ".alive").write_text("")
    (draft / f"{prefix.name}.b").write_text("new")
    return draft


def test_what_a_killed_writer_had_not_finished_is_removed_by_the_next(tmp_path):
    write_pair(tmp_path / "m", "1", "1")
    left_by_the_dead(tmp_path / "m", ".writing")
    left_by_the_dead(tmp_path / "other", ".writing")
    assert read_pair(tmp_path / "m") == ("1", "1")
    write_pair(tmp_path / "m", "2", "2")
    assert names(tmp_path) == [".other.abcd1234.writing", "m.a", "m.b"]


@pytest.mark.parametrize("reader", ["m", "."])
def test_what_a_killed_writer_had_finished_is_named_by_the_next_reader(tmp_path, reader):
    (tmp_path / "m.a").write_text("new")  # it came as far as that
    (tmp_path / "m.b").write_text("old")
    left_by_the_dead(tmp_path / "m", ".whole")
    finish(tmp_path / reader)
    assert read_pair(tmp_path / "m") == ("new", "new") and names(tmp_path) == ["m.a", "m.b"]


def test_a_reader_that_may_not_write_says_how_to_finish(tmp_path, monkeypatch):
    left_by_the_dead(tmp_path / "m", ".whole")

    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(ValueError, match=r"half old and half new.*in .*\.whole, and could not be moved.*-exec mv"):
        finish(tmp_path / "m")


def test_the_draft_of_a_living_writer_is_left_alone(tmp_path):
    with aside(tmp_path / "m") as mine:
        Path(mine + ".a").write_text("mine")
        write_pair(tmp_path / "m", "theirs", "theirs")
        assert os.path.isfile(mine + ".a")
    assert read_pair(tmp_path / "m") == ("mine", "theirs")


def test_a_writer_may_write_into_the_draft_of_another(tmp_path):
    with aside(tmp_path / "m") as draft:
        write_pair(Path(draft), "1", "1")
    assert read_pair(tmp_path / "m") == ("1", "1") and names(tmp_path) == ["m.a", "m.b"]


@pytest.mark.parametrize("seed", range(4))
def test_a_writer_killed_at_any_moment_leaves_the_old_pair_or_the_new_one(tmp_path, seed):
    code = f"""
import sys
sys.path.insert(0, {ROOT!r})
from pathlib import Path
from paddle_unstructured.formats.atomic import aside
for i in range(100_000):
    with aside({str(tmp_path / "m")!r}) as draft:
        for end in (".a", ".b"):
            Path(draft + end).write_text(str(i) * 100)
    print(i, flush=True)
"""
    for turn in range(8):
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(0.0013 * (turn * 4 + seed))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        a, b = read_pair(tmp_path / "m")
        assert a == b != ""
    write_pair(tmp_path / "m", "2", "2")
    assert names(tmp_path) == ["m.a", "m.b"]
