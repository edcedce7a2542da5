# SPDX-License-Identifier: Apache-2.0
"""A budget in time, as `prune`, `accelerate` and `tune` ask for it."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import positive
from .inputs import parsed_shapes

WORDS = ("threads", "batch", "shape")  # of what is timed


def add_budget(parser: argparse.ArgumentParser, much: Any = None) -> None:
    """--target-ms or --speedup, and what is timed; `much`: a group of which only one may be given."""
    which = parser.add_mutually_exclusive_group() if much is None else much
    which.add_argument(
        "--target-ms", metavar="MS", type=float, help="prune until one run takes so long on this machine, converted"
    )
    which.add_argument("--speedup", metavar="X", type=float, help="the same, X times faster than the dense model")
    add_timed(parser)


def add_timed(parser: argparse.ArgumentParser) -> None:
    """What is timed."""
    group = parser.add_argument_group("what is timed")
    group.add_argument("--threads", metavar="N", type=positive, help="threads of one run, default 1")
    group.add_argument("--batch", metavar="N", type=positive, help="rows of one run, default 1")
    group.add_argument(
        "--shape",
        metavar="NAME=N,N,...",
        nargs="+",
        action="extend",
        help="shape of an input, default: that of the calibration data",
    )


def is_asked(args: argparse.Namespace) -> bool:
    """Whether a time is to be met."""
    return args.target_ms is not None or args.speedup is not None


def refuse_words(args: argparse.Namespace, *others: str) -> None:
    """Raise where words of a budget are given without one."""
    given = [f"--{word}" for word in (*WORDS, *others) if getattr(args, word)]
    if given:
        raise ValueError(
            f"{', '.join(given)} has no meaning without --target-ms or --speedup; add one, or leave it out."
        )


def budget(args: argparse.Namespace, model: Any, int8: Any) -> Any:
    """The `Budget` that was asked for."""
    from ..budget.budget import Budget

    return Budget(ms=args.target_ms, speedup=args.speedup, **timed(args, model), int8=int8)


def timed(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """What is timed, in the words of `Budget`."""
    return {"threads": args.threads or 1, "batch": args.batch or 1, "shapes": parsed_shapes(args.shape, model)}
