# SPDX-License-Identifier: Apache-2.0
"""A folder for the while, where the system keeps such: gone at the end, or, after a kill, when the next one is made.

In it lies `.alive`, whose lock says that the process lives. It is locked before it gets this name, so that nobody takes
a folder that was just made for one of the dead.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from typing import Iterator

from .locks import lock_of

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

_FULL = (errno.ENOSPC, errno.EFBIG)
_PREFIX, _ALIVE = "paddle_unstructured_", ".alive"


@contextmanager
def scratch() -> Iterator[str]:
    """A folder where the system keeps what is needed for a while; gone at the end. A full disk there is said."""
    _remove_dead(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, full_disk_said(folder):
        alive = lock_of(os.path.join(folder, f"{_ALIVE}.new"))
        try:
            if alive is not None:
                os.rename(os.path.join(folder, f"{_ALIVE}.new"), os.path.join(folder, _ALIVE))
            yield folder
        finally:
            if alive is not None:
                os.close(alive)


@contextmanager
def full_disk_said(folder: str) -> Iterator[None]:
    """What fails where no space is left says that, whatever the writer, or the reader of half a file, says."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        is_said = isinstance(error, OSError) and error.errno in _FULL and error.filename != folder
        if not is_said and stopped_at_limit(folder):
            said = "a file that is kept meanwhile is larger than this process may write (ulimit -f); allow more"
            raise OSError(errno.EFBIG, said, folder) from error
        if shutil.disk_usage(folder).free >= 1 << 20 or is_said:
            raise
        said = "no space left for what is kept meanwhile; let TMPDIR name a folder with more"
        raise OSError(errno.ENOSPC, said, folder) from error


def stopped_at_limit(folder: str) -> bool:
    """Whether a file in a folder is as large as this process may write at most; Paddle's writers do not say it."""
    if resource is None:
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return limit != resource.RLIM_INFINITY and any(
        entry.is_file() and entry.stat().st_size >= limit for entry in os.scandir(folder)
    )


def _remove_dead(place: str) -> None:
    """Remove this user's folders whose processes are gone."""
    with suppress(OSError):
        for entry in os.scandir(place):
            is_ours = re.fullmatch(_PREFIX + r"[a-z0-9_]{8}", entry.name) and entry.is_dir(follow_symlinks=False)
            alive = os.path.join(entry.path, _ALIVE)
            if not is_ours or not os.path.isfile(alive) or entry.stat().st_uid != os.geteuid():
                continue
            lock = lock_of(alive)
            if lock is not None:
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(lock)
