# SPDX-License-Identifier: Apache-2.0
"""`decompress`: the model of a small file again."""

from __future__ import annotations

import argparse

from .arguments import add_output, give

ABOUT = "write the model of a small file again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what compress has written")
    add_output(parser, "prefix of the model")


def run(args: argparse.Namespace) -> None:
    from ..export import decompress

    decompress(args.file, args.output)
    give(f"written: {args.output}")
