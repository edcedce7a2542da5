"""Files that are whole or not there, also after a crash of the machine."""

from __future__ import annotations

import os
import tempfile


def replace_file(path: str, content: bytes) -> None:
    """Write a file that is whole or not there, also after a crash of the machine."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        put_in_place(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def put_in_place(draft: str, path: str) -> None:
    """Give a finished file its name, once all of it is on the disk."""
    os.chmod(draft, 0o666 & ~_umask())
    _sync(draft)
    os.replace(draft, path)
    _sync(os.path.dirname(os.path.abspath(path)))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
