# SPDX-License-Identifier: Apache-2.0
"""Stdout is for results: what Paddle prints there, in Python or in C++, goes to stderr, or nowhere if it says nothing.

    command ──give──▶ the stdout of the process
    Paddle ──print, fd 1──▶ a file in memory ──without _NOISE──▶ stderr, when the command has ended

A file and not a pipe: a thread that reads a pipe needs the interpreter's lock, which who writes to it may hold.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Iterator, TextIO

# What Paddle 3 prints when `paddle.inference` opens a model: names of checks, passes in colours, a line per executor.
_NOISE = re.compile(
    rb"ReduceMeanCheckIfOneDNNSupport|(\x1b\[\d+m)+---.*|[IW]\d{4} .*(New Executor is Running|--- ).*|(\x1b\[\d*m)*\s*"
)
_STDOUT = 1
_results: TextIO | None = None  # where results go while stdout is closed to others


def results() -> TextIO:
    """The stream for what a command has found."""
    return _results or sys.stdout


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """While it lasts `results()` alone is the caller's stdout.

    The descriptor of the process is changed only where it is stdout: not under a test or in a notebook that captures.
    """
    global _results
    before, own = _results, sys.stdout
    if own is None:  # closed, as by >&-
        yield
        return
    if not _is_descriptor(own):
        _results = own
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _results = before
        return
    own.flush()
    kept = os.dup(_STDOUT)
    said = os.memfd_create("stdout") if hasattr(os, "memfd_create") else os.dup(2)
    os.dup2(said, _STDOUT)
    _results = mine = os.fdopen(kept, "w", encoding=own.encoding, errors=own.errors, closefd=False)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = before
        with suppress(Exception):  # C++ keeps what it has printed until its buffer is full
            ctypes.CDLL(None).fflush(None)
        with suppress(OSError):
            mine.close()
        os.dup2(kept, _STDOUT)
        os.close(kept)
        _pass_on(said)


def _is_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _STDOUT
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return False


def _pass_on(said: int) -> None:
    """Write to stderr what was said on stdout and is no noise."""
    with os.fdopen(said, "rb") as file, suppress(OSError):  # not seekable: it was stderr itself
        file.seek(0)
        for line in file:
            if not _NOISE.fullmatch(line.rstrip(b"\r\n")):
                os.write(2, line)
