# SPDX-License-Identifier: Apache-2.0
"""`benchmark`: two models timed in turns."""

from __future__ import annotations

import argparse
from dataclasses import replace

from .arguments import add_model, give, positive
from .calibration import file_or_images
from .inputs import add_inputs, shapes_of, translated

ABOUT = "time two models in turns, and compare what they return"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("other", metavar="OTHER", help="another model of the same inputs and outputs")
    parser.add_argument("--threads", metavar="N", type=positive, default=1, help="default: 1")
    parser.add_argument("--batch", metavar="N", type=positive, default=1, help="rows that are timed; default: 1")
    parser.add_argument("--rounds", metavar="N", type=positive, default=30, help="runs of each; default: 30")
    add_inputs(parser, "what to compare outputs on")


def run(args: argparse.Namespace) -> None:
    from ..export import open_model
    from ..runtime import benchmark

    opened = open_model(args.model)
    shapes, data = shapes_of(args, opened), file_or_images(args, opened)
    with translated(args.model) as model, translated(args.other) as other:
        result = benchmark(
            model, other, threads=args.threads, batch=args.batch, rounds=args.rounds, data=data, shapes=shapes
        )
    give(str(replace(result, names=(args.model, args.other))))
