# SPDX-License-Identifier: Apache-2.0
"""`compress`: a model as one small file."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from .arguments import add_model, give
from .inputs import translated

ABOUT = "write a model into one small file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "the file")
    parser.add_argument(
        "--values",
        choices=("fp32", "bf16", "fp16", "int8", "int4"),
        default="fp32",
        help="precision of the weights that are kept; default: fp32, exact to the bit",
    )
    parser.add_argument("--level", metavar="N", type=int, default=19, help="of zstd, 1 to 22; default: 19")


def run(args: argparse.Namespace) -> None:
    from ..export import compress

    with nullcontext(args.model) if args.model.endswith(".pdparams") else translated(args.model) as model:
        give(str(compress(model, args.output, values=args.values, level=args.level)))
