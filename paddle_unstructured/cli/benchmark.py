"""`benchmark`: two models timed in turns."""

from __future__ import annotations

import argparse

from .arguments import add_model, give

ABOUT = "time two models in turns, and compare what they return"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("other", metavar="OTHER", help="another model of the same inputs and outputs")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="default: 1")
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="default: 1")
    parser.add_argument("--rounds", metavar="N", type=int, default=30, help="runs of each; default: 30")
    parser.add_argument(
        "--data", metavar="FILE", help="a .npy or .npz of inputs, to compare outputs on; default: random"
    )


def run(args: argparse.Namespace) -> None:
    from ..runtime import benchmark

    result = benchmark(
        args.model, args.other, threads=args.threads, batch=args.batch, rounds=args.rounds, data=args.data
    )
    give(str(result))
