# SPDX-License-Identifier: Apache-2.0
"""`lite`: which layers Paddle Lite would run sparse."""

from __future__ import annotations

import argparse

from .arguments import add_json, add_model, give

ABOUT = "which layers Paddle Lite would run sparse, and why not the others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--threshold", metavar="S", type=float, default=0.6, help="its --sparse_threshold; default: 0.6"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from ..export import lite_report, open_model

    model = open_model(args.model)
    found = lite_report(model.program, model.scope, threshold=args.threshold)
    give(found.to_json() if args.json else str(found))
