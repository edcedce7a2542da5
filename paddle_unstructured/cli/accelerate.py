# SPDX-License-Identifier: Apache-2.0
"""`accelerate`: a pruned model that runs faster on x86 CPUs; pruned before, or on the way."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import Any, Iterator

from ..formats.scratch import scratch
from .arguments import add_model, check_output, give
from .budget import add_budget, budget, is_asked, refuse_words
from .calibration import KINDS, WORDS, add_image_words, are_made, calibration, note
from .names import stands_for
from .reconstruction import pattern_beside, reconstructed

ABOUT = "write a pruned model that runs faster on x86 CPUs, whole or in parts; exit code 3 if it stays as it is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "prefix of the fast model")
    parser.add_argument("--int8", action="store_true", help="weights and activations in int8; needs --calibrate")
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="convolutions in bfloat16, for processors with AMX; its error is told on --calibrate, or on random inputs",
    )
    parser.add_argument(
        "--calibrate",
        "--data",
        metavar="DATA",
        nargs="+",
        action="extend",
        help=f"{KINDS}; or the .ranges.json of training; or both",
    )
    parser.add_argument(
        "--calibration",
        choices=("best", "minmax", "percentile", "mse"),
        help="how ranges come from the data; default: best",
    )
    parser.add_argument(
        "--equalize", action="store_true", help="balance weights between layers first, for nets with ReLU"
    )
    parser.add_argument(
        "--skip", metavar="NAME", nargs="+", action="extend", help="weights whose layers stay in float32"
    )
    parser.add_argument(
        "--most-error",
        type=float,
        metavar="E",
        help="keep layers in float32, those first that hurt most for what int8 saves, until the error of the outputs "
        "is E; 1 keeps none; default: 0.1",
    )
    parser.add_argument("--report", action="store_true", help="say what int8 costs, layer by layer")
    much = parser.add_mutually_exclusive_group()
    much.add_argument(
        "--prune",
        metavar="R",
        type=float,
        help="prune this part of the weights first, without training, on the same data",
    )
    add_budget(parser, much)
    parser.add_argument(
        "--pattern", metavar="P", help="with --prune, --target-ms or --speedup: 1x4 (for int8), 2x1; or by itself: 2:4"
    )
    add_image_words(parser)


def _code(table: Any) -> int:
    """3 if nothing was converted."""
    return 0 if table.converted or table.parts else 3


def run(args: argparse.Namespace) -> int:
    from ..runtime import Bf16, convert
    from ..runtime.conversion import ONE_WAY

    check_output(args, ONE_WAY)
    known = ("calibration", "equalize", "skip", "most_error", "report")
    words = {word: getattr(args, word) for word in known}
    int8 = {word: value for word, value in words.items() if value is not None and value is not False}  # 0 is a value
    prunes = args.prune is not None or args.pattern is not None or is_asked(args)
    if not is_asked(args):
        refuse_words(args)
    elif args.most_error is not None:
        raise ValueError("--most-error has no meaning with --target-ms or --speedup: layers in float32 take longer.")
    if args.int8 and args.bf16:
        raise ValueError("--bf16 has no meaning with --int8: a model is rounded to one or the other; leave one out.")
    if args.bf16 and is_asked(args):
        raise ValueError("--bf16 has no meaning with --target-ms or --speedup, whose times are of float32 or int8.")
    if not args.int8:
        given = [f"--{word.replace('_', '-')}" for word in int8]
        given += ["--calibrate"] if args.calibrate and not prunes and not args.bf16 else []
        if given:
            raise ValueError(f"{', '.join(given)} has no meaning without --int8; add it, or leave this out.")
    files = [file for file in args.calibrate or () if not file.endswith(".json")]
    if args.bf16 and args.calibrate and (len(files) > 1 or len(files) < len(args.calibrate)):
        raise ValueError(f"--calibrate takes one file or folder of data with --bf16, got {', '.join(args.calibrate)}.")
    plain = len(files) == 1 and files[0].endswith((".npy", ".npz"))  # which `convert` reads by itself
    if (not prunes and plain) or not files:
        _refuse_image_words(args)
    if not prunes:
        if (args.int8 or args.bf16) and files and not plain:
            int8["data"] = _samples(args, files)
        data = int8.get("data", files[0] if files else None)
        table = convert(args.model, args.output, int8=_int8(args, int8), bf16=Bf16(data) if args.bf16 else None)
        give(f"{table}{note(files[0]) if files else ''}")
        return _code(table)
    with _pruned(args, files) as (model, how, done):
        arrays = how["data"]
        if args.int8:
            int8.update(how)
            int8.update({"most_error": 1.0} if is_asked(args) else {})  # the whole of it is what was timed
        table = convert(model, args.output, int8=_int8(args, int8), bf16=Bf16(arrays) if args.bf16 else None)
        give(f"{done}{note(files[0])}\n\n{table}")
    return _code(table)


@contextmanager
def _pruned(args: argparse.Namespace, files: list[str]) -> Iterator[tuple[str, Any, Any]]:
    """The model as --prune and --pattern want it, in a folder for the while; its samples and ranges; what was done."""
    from ..export import export, open_model
    from ..runtime.int8.ranges import read_ranges

    pattern = pattern_beside(args.pattern, args.prune, "--prune")
    if args.prune is None and not is_asked(args) and ":" not in args.pattern:
        raise ValueError(
            f"--pattern {args.pattern} does not say how much is to be pruned; give --prune R, --target-ms or --speedup."
        )
    if len(files) != 1:
        flag = "--target-ms" if args.target_ms else "--speedup" if args.speedup else "--prune"
        raise ValueError(f"{flag} needs inputs to prune on; give --calibrate DATA.")
    model = open_model(args.model)
    arrays = calibration(args, files[0], model)
    how: dict[str, Any] = {"data": arrays}
    if args.int8 and len(args.calibrate) > 1:  # with the weights as they are: the pruned ones are others
        how["ranges"] = read_ranges(_file_of_ranges(args), model.files.params)
    bits = 8 if args.int8 and not args.equalize else None  # which gives outputs other scales, and grids
    words = {"ratio": args.prune, "pattern": pattern, "bits": bits}
    if is_asked(args):
        known = {word: getattr(args, word) for word in ("calibration", "equalize", "skip") if getattr(args, word)}
        words["allocation"] = budget(args, model, bool(args.int8) and _int8(args, {**how, **known}))
    words = {name: value for name, value in words.items() if value is not None}
    done = reconstructed(model, arrays, made=are_made(files[0]), **words)
    with scratch() as folder:
        made = stands_for(f"{folder}/model", args.model)
        export(done.model.program, done.model.feeds, done.model.fetches, made, done.pruner)
        yield made, how, done


def _samples(args: argparse.Namespace, files: list[str]) -> Any:
    from ..export import open_model

    if len(files) > 1:
        raise ValueError(f"--calibrate takes one file of data and one of ranges (.json), got {', '.join(files)}.")
    return calibration(args, files[0], open_model(args.model))


def _refuse_image_words(args: argparse.Namespace) -> None:
    given = [f"--{word.replace('_', '-')}" for word in WORDS if getattr(args, word) is not None]
    if given:
        raise ValueError(f"{', '.join(given)} has no meaning without a folder of images for --calibrate.")


def _int8(args: argparse.Namespace, words: dict[str, Any]) -> Any:
    """What was asked for about int8; None without --int8."""
    from ..runtime.int8.options import Int8, from_files

    if not args.int8:
        return None
    if "data" not in words:
        return from_files(args.calibrate or (), **words)
    return Int8(**{"ranges": _file_of_ranges(args), **words})


def _file_of_ranges(args: argparse.Namespace) -> str | None:
    ranges = [file for file in args.calibrate if file.endswith(".json")]
    if len(ranges) > 1:
        raise ValueError(f"--calibrate takes one file of ranges (.json), got {', '.join(ranges)}.")
    return ranges[0] if ranges else None
