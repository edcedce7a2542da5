# SPDX-License-Identifier: Apache-2.0
"""Locks that end with their process, also with one that is killed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Iterator

try:
    import fcntl
except ImportError:  # Windows: nobody knows who is alive, so what is left lies there
    fcntl = None  # type: ignore[assignment]


def lock_of(path: str, *, wait: bool = False) -> int | None:
    """A descriptor that holds the lock of a folder or file; None if another process has it, or there are no locks.

    Args:
        path: a folder, or a file, which is made if it is not there.
        wait: whether to wait until the other process is done.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return descriptor
    except OSError:
        os.close(descriptor)
        return None


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """One process at a time, where the file system knows locks."""
    lock = lock_of(folder, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
