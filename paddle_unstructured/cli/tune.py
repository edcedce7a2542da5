# SPDX-License-Identifier: Apache-2.0
"""`tune`: what each layer of a model takes at each sparsity, on this machine."""

from __future__ import annotations

import argparse

from .arguments import add_model, add_selection, give, selection
from .budget import add_timed, timed
from .calibration import KINDS, WORDS, add_image_words, calibration
from .inputs import shapes_of
from .reconstruction import batches_of, pattern_beside

ABOUT = "measure what each layer takes at each sparsity on this machine, once; --target-ms reads it again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--pattern", metavar="P", help="2:4, 2x1 or 1x4, as for check; default: single weights")
    parser.add_argument("--int8", action="store_true", help="of the model in int8; needs --calibrate")
    parser.add_argument("--calibrate", metavar="DATA", help=f"what is run; default: random numbers; {KINDS}")
    parser.add_argument("--again", action="store_true", help="measure although it was measured before")
    add_timed(parser)
    add_selection(parser, "time")
    add_image_words(parser)


def run(args: argparse.Namespace) -> None:
    from ..budget.budget import Budget
    from ..export import open_model
    from ..export.inputs import random_inputs
    from ..saved_model import check_outputs, in_inference_mode

    if args.int8 and args.calibrate is None:
        raise ValueError("--int8 needs inputs to find ranges on; give --calibrate DATA.")
    given = [f"--{word.replace('_', '-')}" for word in WORDS if getattr(args, word) is not None]
    if args.calibrate is None and given:
        raise ValueError(f"{', '.join(given)} has no meaning without --calibrate; add it, or leave this out.")
    pattern, model = pattern_beside(args.pattern, None, ""), open_model(args.model)
    check_outputs(model)
    what = timed(args, model)
    shapes_of(argparse.Namespace(shape=None if args.shape is None else [], data=args.calibrate), model)
    if args.calibrate is None:
        batches = [random_inputs(model, what["batch"], 0, what["shapes"])]
    else:
        batches = batches_of(model, calibration(args, args.calibrate, model))
    tuned = Budget(speedup=2.0, **what, int8=args.int8).tuned(
        in_inference_mode(model),
        [(batch, "fit") for batch in batches],
        pattern=pattern,
        select=selection(args),
        again=args.again,
    )
    give(str(tuned))
