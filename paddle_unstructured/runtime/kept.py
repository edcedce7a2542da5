# SPDX-License-Identifier: Apache-2.0
"""The folder of compiled libraries: whole, checked before each use, and written by nobody but its owner.

~/.cache/paddle_unstructured/          or $PADDLE_UNSTRUCTURED_CACHE
    kernels-0123456789abcdef/          one folder per version, of mode 0755 whatever the umask
        libpaddle_unstructured.so
        stamp.json                     the library's SHA-256, and what compiled it
    .building-k3xq7w/                  a draft; under the lock there are none but those of dead processes
    .lock                              held by the process that builds
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

from .compiler import BuildError

STAMP = "stamp.json"
_DRAFT, _LOCK = ".building-", ".lock"
_log = logging.getLogger(__name__)


def home() -> Path:
    """`PADDLE_UNSTRUCTURED_CACHE`, else ~/.cache/paddle_unstructured."""
    asked = os.environ.get("PADDLE_UNSTRUCTURED_CACHE") or os.path.join("~", ".cache", "paddle_unstructured")
    return Path(os.path.abspath(os.path.expanduser(asked)))


def find(name: str, library: str) -> Path | None:
    """A library that was kept before, if it is whole.

    Args:
        name: name of its folder.
        library: name of its file.

    Raises:
        BuildError: Somebody else may have written it.
    """
    folder = home() / name
    if not (folder / library).exists():
        return None
    for path in (home(), folder, folder / library, folder / STAMP):
        refuse_what_others_may_write(path)
    if stamp_of(folder / library) is None:
        _log.warning("%s is damaged and will not be loaded; it is compiled again.", folder / library)
        return None
    return folder / library


def keep(name: str, library: str, build: Callable[[Path], Any], **facts: str) -> Path:
    """Build a library into a draft, which gets its name when it is whole; another process may have been faster.

    Args:
        name: name of its folder.
        library: name of its file.
        build: makes the file in the folder that it is given.
        facts: what else its stamp says.

    Raises:
        BuildError: It cannot be built, or not be written.
    """
    try:
        make_home()
        refuse_what_others_may_write(home())
        with _locked() as alone:
            found = find(name, library)
            if found:
                return found
            if alone:
                _remove_drafts()
            return _put(home() / name, library, build, facts)
    except OSError as error:
        raise BuildError(
            f"what was compiled cannot be kept in {home()}: {error.strerror or error}; set PADDLE_UNSTRUCTURED_CACHE "
            "to a folder of yours with some megabytes of space."
        ) from error


def forget() -> None:
    """Remove every library that is kept."""
    for folder in home().glob("*-*"):
        if (folder / STAMP).is_file():
            shutil.rmtree(folder)


def stamp_of(library: Path) -> dict[str, str] | None:
    """What the file beside a library says of it; None if it is not about this very library, byte for byte."""
    try:
        stamp = json.loads((library.parent / STAMP).read_text(encoding="utf-8"))
        return stamp if stamp["sha256"] == _sha256(library) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def write_stamp(library: Path, **facts: str) -> None:
    """Write the file that `stamp_of` reads."""
    text = json.dumps({"sha256": _sha256(library), **facts}, indent=1) + "\n"
    (library.parent / STAMP).write_text(text, encoding="utf-8")


def refuse_what_others_may_write(path: Path) -> None:
    """Code is loaded only from what the user or root owns, and nobody else may write.

    Raises:
        BuildError: `path` is not such a file or folder, or is not there.
    """
    try:
        status = path.stat()
    except OSError as error:
        if path.name == STAMP:  # a library without a stamp counts as damaged
            return
        raise BuildError(f"{path} cannot be read: {error.strerror}.") from error
    elsewhere = "or set PADDLE_UNSTRUCTURED_CACHE to a folder of your own."
    if status.st_uid not in (os.geteuid(), 0):
        raise BuildError(
            f"{path} must belong to you (user {os.geteuid()}) or to root, because code is loaded from it, got user "
            f"{status.st_uid}; remove it, {elsewhere}"
        )
    if status.st_mode & 0o022:
        raise BuildError(
            f"{path} must be writable by its owner only, because code is loaded from it, got mode "
            f"{status.st_mode & 0o7777:04o}; if you trust what is in it run `chmod -R go-w {home()}`, {elsewhere}"
        )


def make_home() -> None:
    """Make the folder, if it is not there: of mode 0755, whatever the umask."""
    if not home().is_dir():
        home().parent.mkdir(parents=True, exist_ok=True)
        home().mkdir(exist_ok=True)
        home().chmod(0o755)


def _put(folder: Path, library: str, build: Callable[[Path], Any], facts: dict[str, str]) -> Path:
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home()))
    try:
        build(draft)
        write_stamp(draft / library, **facts)
        _open_to_readers(draft)
        if folder.exists():  # damaged; those who have it loaded keep it
            damaged = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home()))
            os.rename(folder, damaged / "damaged")
            shutil.rmtree(damaged, ignore_errors=True)
        os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder / library


def _open_to_readers(folder: Path) -> None:
    """Whatever the umask: what root compiled serves everybody. And on the disk, before it gets its name."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked() -> Iterator[bool]:
    """One builder at a time, as the kernel sees it: a killed one has let go. False where there are no such locks."""
    import fcntl

    descriptor = os.open(home() / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another process compiles into %s; waiting for it", home())
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _remove_drafts() -> None:
    for draft in home().glob(_DRAFT + "*"):
        shutil.rmtree(draft, ignore_errors=True)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
