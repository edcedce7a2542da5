# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, also after a kill, a full disk or a crash of the machine.

What is written is written aside, in a folder `.NAME.xxxxxxxx.writing` beside its place that is locked while its process
lives; synced; then named. Files that belong together are named together: once all of them are whole the folder is
renamed to `.NAME.xxxxxxxx.whole`, and from then on whoever comes next, reader or writer, names what a killed process
has left there. What else the dead have left is removed by the next writer.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from typing import Any, Iterator

from .locks import lock_of, locked

_WRITING, _WHOLE = ".writing", ".whole"  # endings of folders
_OLD, _ALIVE = ".old", ".alive"  # in them: what is replaced, and the file whose lock says that the writer lives


def replace_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file that is whole or not there; text as UTF-8. Folders are made, links written through.

    Raises:
        ValueError: `path` is a folder, a device or another thing that is no file.
        OSError: It cannot be written; what was there before is still there.
    """
    with aside(path) as draft, open(draft, "wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def aside(path: str | os.PathLike[str]) -> Iterator[str]:
    """A path to write under; files whose names begin with it are moved to where they begin with `path`, all or none.

    Args:
        path: a file, or the prefix of several that belong together. Its folders are made.

    Raises:
        ValueError: A file would stand in the place of a folder, a device or another thing that is no file.
        OSError: It cannot be written; what was there before is still there.
    """
    real = os.path.realpath(path)
    if not os.path.isdir(real):  # beside a folder of that name there may be files that begin with it
        _check_regular(real)
    folder, name = os.path.split(real)
    with _in_words(real):
        os.makedirs(folder, exist_ok=True)
        with locked(folder):
            _clean(folder, name)
            draft = tempfile.mkdtemp(dir=folder, prefix=f".{name}.", suffix=_WRITING)
            alive = lock_of(os.path.join(draft, _ALIVE))
        try:
            yield os.path.join(draft, name)
            _name(draft, folder)
        finally:
            for left in (draft, draft[: -len(_WRITING)] + _WHOLE):
                shutil.rmtree(left, ignore_errors=True)
            if alive is not None:
                os.close(alive)


def finish(path: str | os.PathLike[str]) -> None:
    """Before files are read: name what a killed process had written whole.

    Args:
        path: their prefix, or a folder: all in it.

    Raises:
        ValueError: Such files are there, and cannot be moved; says how to do it.
    """
    real = os.path.realpath(path)
    folder, name = (real, None) if os.path.isdir(real) else os.path.split(real)
    if _left(folder, name, _WHOLE):
        with locked(folder):  # whoever is alive and at it is done now
            for draft in _left(folder, name, _WHOLE):
                try:
                    _finish(draft, folder)
                except OSError as error:
                    raise ValueError(
                        f"{path} is half old and half new, because its writer was killed; the new files that are "
                        f"lacking are in {draft}, and could not be moved ({error.strerror}): "
                        f"find {draft} -maxdepth 1 -type f -exec mv {{}} {folder} ';'"
                    ) from error


def check_readable(path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless a path is a file: a device or a pipe may never end.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is a folder, a device or a pipe.
    """
    kind = _kind(os.stat(path).st_mode)
    if kind:
        raise ValueError(f"{os.fspath(path)} must be a file to be read, and is {kind}; give another path.")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise unless a file can be written, as far as the system knows before it is; nothing is made.

    Raises:
        OSError: A folder on the way is none, or may not be written to.
    """
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, f"it cannot be written: {folder} is no folder", real)
    if not os.access(folder, os.W_OK | os.X_OK):
        may_not = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(may_not, f"it cannot be written: {os.strerror(may_not)}", real)


def _name(draft: str, folder: str) -> None:
    """Give the finished files their names, once all of them are on the disk."""
    for file in _files(draft):
        target = os.path.realpath(os.path.join(folder, file))
        _check_regular(target)
        os.chmod(os.path.join(draft, file), _mode(target))
        sync(os.path.join(draft, file))
    with locked(folder):
        whole = draft[: -len(_WRITING)] + _WHOLE
        os.chmod(draft, 0o755)  # others may finish it
        os.rename(draft, whole)
        sync(folder)
        _move(whole, folder)
    sync(folder)


def _move(whole: str, folder: str) -> None:
    """Move the files of a folder to their places: all of them, or, if that fails, none."""
    old, moved = os.path.join(whole, _OLD), []
    os.makedirs(old, exist_ok=True)
    try:
        for file in _files(whole):
            target, kept = os.path.realpath(os.path.join(folder, file)), os.path.join(old, file)
            with suppress(OSError):  # no old file, or a file system without links
                os.link(target, kept)
            moved.append((target, kept))
            _replace(os.path.join(whole, file), target)
    except BaseException:
        for target, kept in moved[:-1]:
            if os.path.exists(kept):
                os.replace(kept, target)
            else:
                os.unlink(target)
        raise


def _replace(source: str, target: str) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = f"{target}.{os.path.basename(os.path.dirname(source))}"  # behind a link to another disk
        try:
            shutil.copy2(source, copy)
            sync(copy)
            os.replace(copy, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(copy)
        os.unlink(source)


def _finish(whole: str, folder: str) -> None:
    """Move what a dead process left, if it is dead."""
    lock = lock_of(os.path.join(whole, _ALIVE))
    if lock is None:
        return
    try:
        for file in _files(whole):
            _replace(os.path.join(whole, file), os.path.realpath(os.path.join(folder, file)))
        sync(folder)
        shutil.rmtree(whole)
    finally:
        os.close(lock)


def _clean(folder: str, name: str) -> None:
    """Finish or remove what dead processes left, as far as that is allowed; the folder is locked."""
    with suppress(OSError):
        for draft in _left(folder, name, _WHOLE):
            _finish(draft, folder)
        for draft in _left(folder, name, _WRITING):
            lock = lock_of(os.path.join(draft, _ALIVE))
            if lock is not None:
                shutil.rmtree(draft, ignore_errors=True)
                os.close(lock)


def _files(draft: str) -> list[str]:
    return sorted(set(os.listdir(draft)) - {_OLD, _ALIVE})


def _left(folder: str, name: str | None, ending: str) -> list[str]:
    pattern = re.compile((r"\..+\." if name is None else re.escape(f".{name}.")) + r"[a-z0-9_]{8}" + re.escape(ending))
    try:
        return [os.path.join(folder, entry) for entry in sorted(os.listdir(folder)) if pattern.fullmatch(entry)]
    except OSError:
        return []


def _check_regular(path: str) -> None:
    """Raise ValueError where something stands that is no file."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # nothing yet, or not to be known: writing will tell
    kind = _kind(mode)
    if kind:
        raise ValueError(f"{path} must be a file to be written, and is {kind}; give another path.")


def _kind(mode: int) -> str:
    """What is no file, in a word; empty for a file."""
    kinds = {stat.S_ISREG: "", stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((word for test, word in kinds.items() if test(mode)), "a device")


def _mode(target: str) -> int:
    """The mode of the file that is replaced, or as a new file gets it."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


@contextmanager
def _in_words(real: str) -> Iterator[None]:
    """What the system says of a full disk, with the place and what has become of the old file; nothing of drafts."""
    folder, name = os.path.split(real)
    said: dict[int, Any] = {
        errno.ENOSPC: "no space left",
        errno.EDQUOT: "no space left (quota)",
        errno.EFBIG: "the file is larger than this process may write (ulimit -f)",
    }
    try:
        yield
    except OSError as error:
        if error.errno in said:
            unchanged = "nothing was written, what was there before is unchanged"
            raise OSError(error.errno, f"{said[error.errno]}; {unchanged}", folder) from error
        if not os.fspath(error.filename or "").startswith(os.path.join(folder, f".{name}.")):
            raise
        raise OSError(error.errno, f"it cannot be written: {error.strerror}", real) from error


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
