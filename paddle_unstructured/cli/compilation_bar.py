# SPDX-License-Identifier: Apache-2.0
"""A line and a bar for the minute in which the runtime's kernels are compiled."""

from __future__ import annotations

import sys
from typing import TextIO

from ..runtime.build import Listener, Progress

_WIDTH = 30


def compilation_bar(stream: TextIO | None = None) -> Listener:
    """What `runtime.build.listening` takes.

    Args:
        stream: where it goes, default: stderr. The bar is drawn on terminals only, the line everywhere.
    """
    out = stream or sys.stderr

    def show(progress: Progress) -> None:
        if progress.done == 0:
            out.write(f"compiling {progress.what}, once on this machine; this takes about a minute\n")
        if out.isatty():
            filled = _WIDTH * progress.done // progress.total
            end = "\n" if progress.done == progress.total else ""
            out.write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {progress.done}/{progress.total} {end}")
        out.flush()

    return show
