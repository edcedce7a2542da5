# SPDX-License-Identifier: Apache-2.0
"""`export`: an inference model, checked, for where it runs."""

from __future__ import annotations

import argparse

from .arguments import add_model, add_replace, check_output, give, positive
from .inputs import add_inputs, inputs_of

ABOUT = "write an inference model, checked, for where it runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "prefix of the model, or the file")
    add_replace(parser)
    parser.add_argument(
        "--to",
        choices=("paddle", "int8", "onnx"),
        default="paddle",
        help="int8: weights in int8, for Paddle; default: paddle",
    )
    parser.add_argument("--weights", metavar="FILE", help="a .pdparams file, instead of the model's own weights")
    parser.add_argument("--masks", metavar="FILE", help="what pruner.save() has written: applied, and checked")
    parser.add_argument("--recalibrate", metavar="FILE", help="an .npz of inputs [batches, ...] for batch norms")
    parser.add_argument("--shrink", action="store_true", help="remove channels whose filters are zero")
    add_inputs(parser, "what the written model is tried on, for int8 and onnx")
    parser.add_argument("--align-channels", metavar="N", type=positive, help="with --shrink; default: 1")


def run(args: argparse.Namespace) -> None:
    from ..export import export_model, open_model

    if args.align_channels is not None and not args.shrink:
        raise ValueError("--align-channels has no meaning without --shrink; add it, or leave this out.")
    check_output(args, "what it was cannot be brought back")
    tried_on = {} if args.to == "paddle" else inputs_of(args, open_model(args.model))
    written = export_model(
        args.model,
        args.output,
        to=args.to,
        weights=args.weights,
        masks=args.masks,
        recalibrate=args.recalibrate,
        shrink=args.shrink,
        align_channels=args.align_channels or 1,
        **tried_on,
    )
    give(str(written))
