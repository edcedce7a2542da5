# SPDX-License-Identifier: Apache-2.0
"""`main`: finds the command, runs it, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, redirect_stderr
from typing import Any, Iterator, Sequence

from .. import __version__
from ..needs_paddle import explained
from ..runtime.build import listening
from . import accelerate, benchmark, check, compress, decompress, export, lite, prune, report, tune
from .compilation_bar import compilation_bar
from .names import forget_names, in_users_names
from .results import only_results_on_stdout

COMMANDS = (report, check, prune, compress, decompress, export, lite, accelerate, benchmark, tune)
_ABOUT = """The command line: python -m paddle_unstructured COMMAND MODEL …

MODEL is an inference model (.json and .pdiparams; a legacy .pdmodel pair is translated) or a training checkpoint
(.json and .pdparams): the prefix of its files, one of them, or the folder that holds it.
"""


_PLACES = {"model": "MODEL", "a": "MODEL", "b": "OTHER", "other": "OTHER", "file": "FILE"}  # of words without a flag
_CALLED = {  # the library's argument -> the flags that may be meant
    "data": ("calibrate",),
    "ranges": ("calibrate",),
    "inputs": ("data", "calibrate"),
    "folder": ("data", "calibrate"),
    "ratio": ("prune",),
    "batches": ("calibrate", "data"),
    "shapes": ("shape",),
    "ms": ("target_ms",),
    "out": ("output",),
    "path": ("output",),
    "select": ("params",),
    "names": ("params",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words of the command line; default: those of the process.

    Returns:
        The exit code: 0; 1 where a check does not hold; 2 for anything that could not be done, said on stderr; 3 where
        a model was left as it is; 130 after Ctrl-C, 143 after SIGTERM.
    """
    args = _parser().parse_args(argv)
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's chatter at start-up says nothing about a model
    command = f"paddle_unstructured {args.command}"
    forget_names()
    with only_results_on_stdout(), warnings.catch_warnings(), _warnings_on_stderr(), listening(compilation_bar()):
        warnings.simplefilter("ignore")
        try:
            with explained():
                _import_paddle()
            with _sigterm_raises():
                return args.run(args) or 0
        except _Terminated:
            print(f"{command}: ended by SIGTERM; what was there before is unchanged", file=sys.stderr)
            return 128 + signal.SIGTERM
        except KeyboardInterrupt:  # what was not finished has not got its name
            print(f"{command}: interrupted; what was there before is unchanged", file=sys.stderr)
            return 130
        except (ValueError, TypeError, ImportError, OSError, RuntimeError, MemoryError) as error:
            print(f"{command}: error: {in_users_names(_in_flags(_in_words(error, args), args.flags))}", file=sys.stderr)
            return 2


class _Terminated(BaseException):
    """SIGTERM, as a container or a queue sends it: everything is put away as after Ctrl-C."""


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does; a second one ends the process, and so does one that is handled."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def ended(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise _Terminated

    signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _import_paddle() -> None:
    """Import Paddle in static mode, without the advice that it prints."""
    with redirect_stderr(io.StringIO()):
        import paddle
    paddle.enable_static()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paddle_unstructured", formatter_class=argparse.RawDescriptionHelpFormatter, description=_ABOUT
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.split(".")[-1]
        one = commands.add_parser(name, help=command.ABOUT, description=command.ABOUT)
        one.set_defaults(run=command.run)
        command.add_arguments(one)
        one.set_defaults(flags=_flags(one))
    return parser


def _flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What the library calls an argument -> what the command calls it."""
    flags = {action.dest: _long(action.option_strings) for action in parser._actions if action.option_strings}
    others = {name: next((flags[flag] for flag in called if flag in flags), "") for name, called in _CALLED.items()}
    return {**{name: flag for name, flag in others.items() if flag}, **flags, **_PLACES}


def _long(flags: Sequence[str]) -> str:
    return next((flag for flag in flags if flag.startswith("--")), flags[0])


def _in_flags(text: str, flags: dict[str, str]) -> str:
    return re.sub(r"`(\w+)`", lambda found: flags.get(found[1], found[0]), text)


def _in_words(error: Exception, args: argparse.Namespace) -> str:
    """What the operating system says without its number, behind the file's name and what asked for it."""
    if isinstance(error, OSError) and error.strerror:
        file = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return " ".join(filter(None, (_asking_for(file, args), file))) + f"{': ' * bool(file)}{error.strerror}"
    return str(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)


def _asking_for(file: str, args: argparse.Namespace) -> str:
    """The flag that names this file, what it is a part of, or what is to be made in it; "" where there is none."""
    real, found = os.path.realpath(file), [("", "")]
    for dest, flag in args.flags.items() if file else ():
        given = getattr(args, dest, None)
        for word in given if isinstance(given, list) else [given]:
            asked = os.path.realpath(word) if word and isinstance(word, str) else ""
            if asked and (_is_within(real, asked, ".") or _is_within(asked, real, ":")):
                found.append((asked, str(flag)))
    return max(found, key=lambda one: len(one[0]))[1]


def _is_within(path: str, whole: str, end: str) -> bool:
    """Whether a path is another one, is in that folder, or begins with it and `end`."""
    return f"{path}{os.sep}".startswith((f"{whole}{os.sep}", f"{whole}{end}"))


class _Plain(logging.Formatter):
    """Without paths of ours."""

    def format(self, record: logging.LogRecord) -> str:
        return in_users_names(super().format(record))


class _Once(logging.Filter):
    """Lets each message through once: several steps of one command may have the same to say."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        known = record.getMessage() in self._said
        self._said.add(record.getMessage())
        return not known


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """The library's warnings in plain words; Paddle has given the root logger a format of its own."""
    logger, handler = logging.getLogger(__package__.split(".")[0]), logging.StreamHandler()
    handler.setFormatter(_Plain("warning: %(message)s"))
    handler.addFilter(_Once())
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])
