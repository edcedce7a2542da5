# SPDX-License-Identifier: Apache-2.0
"""The command line: python -m paddle_unstructured COMMAND MODEL …

One file per command: `ABOUT` is its one line, `add_arguments(parser)` what may be said, `run(args)` what is done. They
import Paddle only when they run, so that --help is there at once.
"""

from .command_line import main

__all__ = ["main"]
