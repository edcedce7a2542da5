# SPDX-License-Identifier: Apache-2.0
"""What several commands take and give: a model, a selection of weights, a file for the result."""

from __future__ import annotations

import argparse
import errno
import os
from typing import Any

from ..formats.atomic import replace_file
from .results import results


def add_model(parser: argparse.ArgumentParser, output: str = "") -> None:
    """MODEL, and -o OUT if the command writes one; `output` says what OUT is."""
    parser.add_argument("model", metavar="MODEL", help="prefix of the files, one of them, or their folder")
    if output:
        add_output(parser, output)


def add_output(parser: argparse.ArgumentParser, about: str) -> None:
    """-o OUT, which must be given."""
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help=about)


def add_replace(parser: argparse.ArgumentParser) -> None:
    """--replace, for commands that write a model as it was read, but for what it holds."""
    parser.add_argument("--replace", action="store_true", help="-o may be MODEL itself, which is lost then")


def check_output(args: argparse.Namespace, why: str) -> None:
    """See that the model can be written, and in no place of MODEL's unless --replace says so; before minutes are spent.

    Args:
        args: `model`, `output` and `replace`, if the command has it.
        why: what would be lost, a clause.
    """
    from ..saved_model import check_other, check_out, find_model

    check_out(args.output)
    if not getattr(args, "replace", False):
        way = "; --replace does it all the same" if hasattr(args, "replace") else ""
        check_other(find_model(args.model), args.output, why + way)


def add_json(parser: Any) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="for machines")


def add_selection(parser: argparse.ArgumentParser, what: str) -> None:
    """--params and --conv1x1-only: which weights a command is about; read by `selection`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--params", metavar="REGEX", help=f"{what} the weights of these names only")
    which.add_argument("--conv1x1-only", action="store_true", help=f"{what} the weights of 1x1 convolutions only")


def selection(args: argparse.Namespace) -> Any:
    """The weights that were chosen, for `select`."""
    from ..selection import all_weights, conv1x1_only, named

    if args.params:
        return named(args.params)
    return conv1x1_only if args.conv1x1_only else all_weights


def positive(text: str) -> int:
    """A whole number of 1 or more, for `type`."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text!r}")
    return int(text)


def give(text: str, path: str | None = None) -> None:
    """Print the result, or write it to a file and say so."""
    if path is None:
        try:
            print(text, file=results(), flush=True)
        except BrokenPipeError:  # who reads it has seen enough, as `head` does; nothing more can be written at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), results().fileno())
        return
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise FileNotFoundError(errno.ENOENT, "its folder is not there; make it first", path)
    replace_file(path, text)
    print(f"written: {path}", file=results())
