# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C between two steps, and an end that waits for nobody.

An exception that rises wherever the signal happens to arrive may rise in Python that Paddle's C++ has called, and one
that leaves a loop in the middle leaves Paddle's reader threads at work: either can abort the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_pressed = threading.Event()


def wait_for_a_step(name: str) -> None:
    """From now on Ctrl-C ends the run `name` at the next `stop_if_asked()`; pressed once more, at once."""

    def press(number: int, frame: object) -> None:
        if _pressed.is_set():
            os._exit(130)
        _pressed.set()
        os.write(2, f"{name}: stopping after this step; Ctrl-C once more stops at once\n".encode())

    _pressed.clear()
    signal.signal(signal.SIGINT, press)


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed."""
    if _pressed.is_set():
        raise KeyboardInterrupt


def end(message: str) -> None:
    """Say the last word and end with exit code 130, without Paddle's part of the usual end."""
    print(message, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)
