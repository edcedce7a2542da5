# SPDX-License-Identifier: Apache-2.0
"""`accelerate`: a pruned model that runs faster on x86 CPUs."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_model, give

ABOUT = "write a pruned model that runs faster on x86 CPUs; exit code 3 if it stays as it is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "prefix of the fast model")
    parser.add_argument("--int8", action="store_true", help="weights and activations in int8; needs --calibrate")
    parser.add_argument(
        "--calibrate",
        "--data",
        metavar="FILE",
        nargs="+",
        help="a .npy or .npz of inputs [n, ...] or [batches, n, "
        "...], some hundred samples; or the .ranges.json of training; or both",
    )
    parser.add_argument(
        "--calibration", choices=("minmax", "percentile", "mse"), help="how ranges come from the data; default: minmax"
    )
    parser.add_argument(
        "--equalize", action="store_true", help="balance weights between layers first, for nets with ReLU"
    )
    parser.add_argument("--skip", metavar="NAME", nargs="+", help="weights whose layers stay in float32")


def run(args: argparse.Namespace) -> int:
    from ..runtime import convert

    table = convert(args.model, args.output, int8=_int8(args))
    give(str(table))
    return 0 if table.converted else 3


def _int8(args: argparse.Namespace) -> Any:
    """What was asked for about int8; None without --int8."""
    from ..runtime.int8.options import from_files

    words = {word: getattr(args, word) for word in ("calibrate", "calibration", "equalize", "skip")}
    given = [f"--{word}" for word, value in words.items() if value]
    if not args.int8 and given:
        raise ValueError(f"{', '.join(given)} has no meaning without --int8; add it, or leave this out.")
    return from_files(words.pop("calibrate") or (), **words) if args.int8 else None
