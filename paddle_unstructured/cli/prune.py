# SPDX-License-Identifier: Apache-2.0
"""`prune`: a saved model is pruned at once, without training."""

from __future__ import annotations

import argparse
import math
from typing import Any

from .arguments import add_model, add_replace, add_selection, check_output, give, selection
from .budget import add_budget, budget, is_asked, refuse_words
from .calibration import KINDS, WORDS, add_image_words, are_made, calibration, note
from .reconstruction import pattern_beside, reconstructed

ABOUT = "prune a saved model at once, without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "prefix of the pruned model")
    add_replace(parser)
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--ratio", metavar="R", type=float, help="fraction of the selected weights to prune, in [0, 1]")
    much.add_argument("--threshold", metavar="T", type=float, help="prune weights with |w| below")
    add_budget(parser, much)
    parser.add_argument("--int8", action="store_true", help="with --target-ms or --speedup: time the model in int8")
    parser.add_argument("--pattern", metavar="P", help="2:4, 2x1 or 1x4, as for check; default: single weights")
    parser.add_argument(
        "--allocation",
        choices=("Global", "LAMP", "Uniform", "ERK"),
        action="append",
        help="default: Global, with --calibrate LAMP with a floor of 0.4; with --calibrate it may be given several "
        "times: each is tried, and that is taken whose outputs are nearest",
    )
    parser.add_argument("--rules", metavar="FILE", help="a YAML file of rules, instead of pattern and allocation")
    parser.add_argument(
        "--calibrate",
        metavar="DATA",
        help=f"compute the weights that stay anew, so that the outputs change as little as possible, from {KINDS}",
    )
    parser.add_argument(
        "--method",
        choices=("reconstruct", "recalibrate", "magnitude"),
        help="with --calibrate: recalibrate measures batch norms anew and leaves weights alone; default: reconstruct",
    )
    parser.add_argument(
        "--memory",
        metavar="GB",
        type=float,
        help="with --calibrate: gigabytes of inputs and activations in memory, default 0.25; what is more waits in "
        "files",
    )
    parser.add_argument(
        "--bits",
        metavar="N",
        type=int,
        help="with --calibrate: round weights to N bits, each so that the others make up for it; 8 is exact in int8",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=int,
        help="with --calibrate: steps of training the whole net at the end; default: 2000, or fewer where it is slow",
    )
    add_selection(parser, "prune")
    add_image_words(parser)


def run(args: argparse.Namespace) -> None:
    if not is_asked(args):
        refuse_words(args, "int8")
    check_output(args, "what it loses cannot be brought back")
    if args.calibrate is not None:
        return _reconstruct(args)
    if args.method not in (None, "magnitude"):
        raise ValueError(f"--method {args.method} needs inputs; give --calibrate DATA.")
    if is_asked(args):
        raise ValueError(
            "--target-ms and --speedup need inputs, to know what each layer is worth; give --calibrate DATA."
        )
    given = [
        f"--{word.replace('_', '-')}" for word in (*WORDS, "memory", "bits", "steps") if getattr(args, word) is not None
    ]
    if given:
        raise ValueError(f"{', '.join(given)} has no meaning without --calibrate; add it, or leave this out.")
    from ..export import export, open_model, save_checkpoint
    from ..pruner import UnstructuredPruner
    from ..reporting.report import sparsity_report

    words = {**_parts(args), **_allocations(args)[0]}
    if len(args.allocation or ()) > 1:
        raise ValueError(
            f"--allocation {', '.join(args.allocation)}: several are tried on inputs; give --calibrate DATA, or one."
        )
    model = open_model(args.model)
    pruner = UnstructuredPruner(model.program, scope=model.scope, place=model.place, select=selection(args), **words)
    pruner.step()
    if model.fetches:
        return give(str(export(model.program, model.feeds, model.fetches, args.output, pruner)))
    save_checkpoint(model, args.output)
    give(f"{sparsity_report(model.program, pruner=pruner)}\n\nwritten: {args.output}.json, {args.output}.pdparams")


def _reconstruct(args: argparse.Namespace) -> None:
    from ..export import export, open_model
    from ..reconstruction.reconstruct import ALLOCATION

    words = _parts(args)
    model = open_model(args.model)
    arrays = calibration(args, args.calibrate, model)
    method = args.method or "reconstruct"
    how: dict[str, Any] = {"method": method, "select": selection(args), "bits": args.bits, "steps": args.steps}
    timed = [{"allocation": budget(args, model, args.int8)}] if is_asked(args) else []
    choices = timed or _allocations(args, LAMP=ALLOCATION)
    how["memory"] = 0.25 if args.memory is None else args.memory
    how["made"] = are_made(args.calibrate)
    done = reconstructed(model, arrays, **how, **words, **choices[0])
    errors = [done.error]
    for choice in choices[1:]:
        other = reconstructed(open_model(args.model), arrays, **how, **words, **choice)
        errors.append(other.error)
        if _least(errors) == len(errors) - 1:
            done = other
    model = done.model
    written = export(model.program, model.feeds, model.fetches, args.output, done.pruner)
    give(f"{written}\n\n{done}{_tried(args.allocation, errors)}{note(args.calibrate)}")


def _tried(names: list[str] | None, errors: list[float]) -> str:
    """Which of several allocations was taken."""
    if names is None or len(names) < 2:
        return ""
    found = ", ".join(f"{name} {error:.4f}" for name, error in zip(names, errors))
    return f"\nby {found}: {names[_least(errors)]} is taken"


def _least(errors: list[float]) -> int:
    """Where the least error is; one that is no number is above all."""
    return min(range(len(errors)), key=lambda i: (math.isnan(errors[i]), errors[i]))


def _parts(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, in the words of `UnstructuredPruner`."""
    from .. import allocation

    if is_asked(args) and (args.allocation or args.rules):
        word = "--allocation" if args.allocation else "--rules"
        raise ValueError(f"{word} has no meaning with --target-ms or --speedup, which find a sparsity for each layer.")
    if not is_asked(args) and args.ratio is args.threshold is args.rules is None and ":" not in (args.pattern or ""):
        raise ValueError(
            "give --ratio, --threshold, --target-ms, --speedup, --rules or an n:m --pattern: how much is to be pruned?"
        )
    if args.threshold is not None and args.allocation is not None:
        raise ValueError(
            "--allocation has no meaning with --threshold, which is the same for every layer; leave one out."
        )
    pattern = pattern_beside(args.pattern, args.ratio, "--ratio")
    words: dict[str, Any] = {"ratio": args.ratio, "rules": args.rules, "pattern": pattern}
    if args.threshold is not None:
        words["allocation"] = allocation.Threshold(args.threshold)
    return {name: value for name, value in words.items() if value is not None}


def _allocations(args: argparse.Namespace, **ours: Any) -> list[dict[str, Any]]:
    """The word for each one that was asked for, `ours` by name; without any, that what `_parts` says is all."""
    from .. import allocation

    return [{"allocation": ours.get(name) or getattr(allocation, name)()} for name in args.allocation or ()] or [{}]
