# SPDX-License-Identifier: Apache-2.0
"""`prune`: a saved model is pruned at once, without training."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from .arguments import add_model, add_selection, give, selection

ABOUT = "prune a saved model at once, without training"
BATCH = 32  # samples that go through the model together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "prefix of the pruned model")
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--ratio", metavar="R", type=float, help="fraction of the selected weights to prune, in [0, 1]")
    much.add_argument("--threshold", metavar="T", type=float, help="prune weights with |w| below")
    parser.add_argument("--pattern", metavar="P", help="2:4, 2x1 or 1x4, as for check; default: single weights")
    parser.add_argument("--allocation", choices=("Global", "LAMP", "Uniform", "ERK"), help="default: Global")
    parser.add_argument("--rules", metavar="FILE", help="a YAML file of rules, instead of pattern and allocation")
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        help="some hundred inputs without labels, a .npy, or an .npz by input name: weights are found anew, so that "
        "outputs change as little as they can",
    )
    parser.add_argument(
        "--method",
        choices=("reconstruct", "recalibrate", "magnitude"),
        help="with --calibrate: recalibrate measures batch norms anew and leaves weights alone; default: reconstruct",
    )
    add_selection(parser, "prune")


def run(args: argparse.Namespace) -> None:
    if args.calibrate is None and args.method not in (None, "magnitude"):
        raise ValueError(f"--method {args.method} needs inputs; give --calibrate FILE.")
    if args.calibrate is not None:
        return _reconstruct(args)
    from ..export import export, open_model, save_checkpoint
    from ..pruner import UnstructuredPruner
    from ..reporting.report import sparsity_report

    words = _parts(args)
    model = open_model(args.model)
    pruner = UnstructuredPruner(model.program, scope=model.scope, place=model.place, select=selection(args), **words)
    pruner.step()
    if model.fetches:
        return give(str(export(model.program, model.feeds, model.fetches, args.output, pruner)))
    save_checkpoint(model, args.output)
    give(f"{sparsity_report(model.program, pruner=pruner)}\n\nwritten: {args.output}.json, {args.output}.pdparams")


def _reconstruct(args: argparse.Namespace) -> None:
    from ..export import export, open_model
    from ..reconstruction.reconstruct import reconstruct
    from ..runtime.int8.calibration_data import read_named

    words = _parts(args)
    model = open_model(args.model)
    if not model.fetches:
        raise ValueError(
            f"{args.model} must be an inference model to be run on data, not a checkpoint; leave out --calibrate."
        )
    arrays = read_named(args.calibrate, model)
    count = len(next(iter(arrays.values())))
    size = max([value.shape[0] for value in model.inputs.values() if value.shape[0] > 0], default=BATCH)
    whole = count - count % size if size != BATCH else count  # a model may take batches of one size only
    batches = [{name: array[i : i + size] for name, array in arrays.items()} for i in range(0, whole, size)]
    done = reconstruct(model, batches, method=args.method or "reconstruct", select=selection(args), **words)
    model = done.model
    give(f"{export(model.program, model.feeds, model.fetches, args.output, done.pruner)}\n\n{done}")


def _parts(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, in the words of `UnstructuredPruner`."""
    from .. import allocation
    from ..export import parse_pattern
    from ..patterns import NM, own_sparsity

    if args.ratio is args.threshold is args.rules is None and ":" not in (args.pattern or ""):
        raise ValueError("give --ratio, --threshold, --rules or an n:m --pattern: how much is to be pruned?")
    if args.threshold is not None and args.allocation is not None:
        raise ValueError(
            "--allocation has no meaning with --threshold, which is the same for every layer; leave one out."
        )
    pattern = args.pattern and parse_pattern(args.pattern)
    if isinstance(pattern, NM):  # a first convolution of three channels stays dense; the table says why
        pattern = replace(pattern, indivisible="skip")
    meant = own_sparsity(pattern) if pattern else None
    if None not in (meant, args.ratio) and args.ratio != meant:
        raise ValueError(
            f"--ratio {args.ratio:g} is not what --pattern {args.pattern} means, {meant:g}; leave --ratio out."
        )
    words: dict[str, Any] = {"ratio": args.ratio, "rules": args.rules, "pattern": pattern}
    if args.threshold is not None:
        words["allocation"] = allocation.Threshold(args.threshold)
    elif args.allocation is not None:
        words["allocation"] = getattr(allocation, args.allocation)()
    return {name: value for name, value in words.items() if value is not None}
