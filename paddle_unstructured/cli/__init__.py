# SPDX-License-Identifier: Apache-2.0
"""The command line: python -m paddle_unstructured COMMAND MODEL …

One file per command: `ABOUT` is its one line, `add_arguments(parser)` what may be said, `run(args)` what is done. They
import Paddle only when they run, so that --help is there at once.
"""

from __future__ import annotations

import sys
from typing import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; Ctrl-C while its parts are still being imported ends as quietly as later on."""
    try:
        from .command_line import main as run
    except KeyboardInterrupt:
        print("paddle_unstructured: interrupted; nothing was begun", file=sys.stderr)
        return 130
    return run(argv)
