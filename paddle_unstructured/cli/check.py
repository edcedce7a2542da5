# SPDX-License-Identifier: Apache-2.0
"""`check`: whether a pattern or a sparsity holds."""

from __future__ import annotations

import argparse
import json

from .arguments import add_json, add_model, give

ABOUT = "check a pattern or a sparsity; exit code 1 if it does not hold"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--pattern",
        metavar="P",
        help="2:4 (kept:of, along inputs), 2x1 (outputs x inputs, blocks), 1x4 (as int8 kernels multiply)",
    )
    parser.add_argument("--sparsity", metavar="S", type=float, help="at least this fraction of zeros, in [0, 1]")
    parser.add_argument("--params", metavar="REGEX", help="names of the weights to check; default: all")
    parser.add_argument("--each", action="store_true", help="ask the sparsity of every param, not of all together")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ..export import check, open_model

    model = open_model(args.model)
    result = check(
        model.program, model.scope, pattern=args.pattern, sparsity=args.sparsity, params=args.params, each=args.each
    )
    give(json.dumps(result.to_dict(), indent=2) if args.json else str(result))
    return 0 if result.holds else 1
