"""The command line: python -m paddle_unstructured COMMAND MODEL …

MODEL is an inference model (.json and .pdiparams; a legacy .pdmodel pair is translated) or a training checkpoint
(.json and .pdparams): the prefix of its files, one of them, or the folder that holds it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable, Iterator, Sequence

from . import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0; 1 where a check does not hold; 2 for anything that could not be done, said on stderr.
    """
    args = _parser().parse_args(argv)
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's chatter at start-up says nothing about a model
    with warnings.catch_warnings(), _warnings_on_stderr():
        warnings.simplefilter("ignore")
        try:
            import paddle

            paddle.enable_static()
            return args.run(args) or 0
        except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
            print(f"paddle_unstructured {args.command}: error: {_in_words(error)}", file=sys.stderr)
            return 2


def _in_words(error: Exception) -> str:
    """What the operating system says without its number, behind the file's name."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """The library's warnings in plain words; Paddle has given the root logger a format of its own."""
    logger, handler = logging.getLogger(__package__), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


def report(args: argparse.Namespace) -> None:
    from .export import open_model
    from .export.checks import choose_params
    from .reporting.report import sparsity_report

    model = open_model(args.model)
    if args.params:
        choose_params(model.graph.params(), args.params)
    if args.html:
        from .reporting.html import html_report

        page = html_report(model.program, model.scope, title=args.model, select=_select(args))
        return _give(page, args.output)
    found = sparsity_report(model.program, model.scope, select=_select(args))
    _give(found.to_json() if args.json else str(found), args.output)


def check(args: argparse.Namespace) -> int:
    from .export import check as check_model
    from .export import open_model

    model = open_model(args.model)
    result = check_model(
        model.program, model.scope, pattern=args.pattern, sparsity=args.sparsity, params=args.params, each=args.each
    )
    _give(json.dumps(result.to_dict(), indent=2) if args.json else str(result))
    return 0 if result.holds else 1


def prune(args: argparse.Namespace) -> None:
    from .export import export as write
    from .export import open_model, save_checkpoint
    from .pruner import UnstructuredPruner
    from .reporting.report import sparsity_report

    words = _parts(args)
    model = open_model(args.model)
    pruner = UnstructuredPruner(model.program, scope=model.scope, place=model.place, select=_select(args), **words)
    pruner.step()
    if model.fetches:
        return _give(str(write(model.program, model.feeds, model.fetches, args.output, pruner)))
    save_checkpoint(model, args.output)
    _give(f"{sparsity_report(model.program, pruner=pruner)}\n\nwritten: {args.output}.json, {args.output}.pdparams")


def _parts(args: argparse.Namespace) -> dict[str, Any]:
    """What `prune` was asked for, in the words of `UnstructuredPruner`."""
    from . import allocation
    from .export import parse_pattern
    from .patterns import NM

    if args.ratio is args.threshold is args.rules is None and ":" not in (args.pattern or ""):
        raise ValueError("give --ratio, --threshold, --rules or an n:m --pattern: how much is to be pruned?")
    if args.threshold is not None and args.allocation is not None:
        raise ValueError(
            "--allocation has no meaning with --threshold, which is the same for every layer; leave one out."
        )
    pattern = args.pattern and parse_pattern(args.pattern)
    if isinstance(pattern, NM):  # a first convolution of three channels stays dense; the table says why
        pattern = replace(pattern, indivisible="skip")
    meant = getattr(pattern, "sparsity", None)
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


def compress(args: argparse.Namespace) -> None:
    from .export import compress as compress_model

    _give(str(compress_model(args.model, args.output, values=args.values, level=args.level)))


def decompress(args: argparse.Namespace) -> None:
    from .export import decompress as decompress_model

    decompress_model(args.file, args.output)
    print(f"written: {args.output}")


def export(args: argparse.Namespace) -> None:
    from .export import export_model

    _give(
        str(
            export_model(
                args.model,
                args.output,
                to=args.to,
                weights=args.weights,
                masks=args.masks,
                recalibrate=args.recalibrate,
                shrink=args.shrink,
                align_channels=args.align_channels,
            )
        )
    )


def lite(args: argparse.Namespace) -> None:
    from .export import lite_report, open_model

    model = open_model(args.model)
    found = lite_report(model.program, model.scope, threshold=args.threshold)
    _give(found.to_json() if args.json else str(found))


def accelerate(args: argparse.Namespace) -> None:
    from .runtime import convert

    _give(str(convert(args.model, args.output, int8=_int8(args))))


def _int8(args: argparse.Namespace) -> Any:
    """What `accelerate` was asked for about int8; None without --int8."""
    from .runtime.int8.options import from_files

    words = {word: getattr(args, word) for word in ("calibrate", "calibration", "equalize", "skip")}
    given = [f"--{word}" for word, value in words.items() if value]
    if not args.int8 and given:
        raise ValueError(f"{', '.join(given)} has no meaning without --int8; add it, or leave this out.")
    return from_files(words.pop("calibrate") or (), **words) if args.int8 else None


def benchmark(args: argparse.Namespace) -> None:
    from .runtime import benchmark as compare

    _give(
        str(compare(args.model, args.other, threads=args.threads, batch=args.batch, rounds=args.rounds, data=args.data))
    )


def _give(text: str, path: str | None = None) -> None:
    if path is None:
        try:
            print(text, flush=True)
        except BrokenPipeError:  # who reads it has seen enough, as `head` does; nothing more can be written at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"written: {path}")


def _select(args: argparse.Namespace) -> Any:
    from .selection import all_weights, conv1x1_only, named

    if args.params:
        return named(args.params)
    return conv1x1_only if args.conv1x1_only else all_weights


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paddle_unstructured", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(run: Callable[[argparse.Namespace], int | None], about: str, output: str = "") -> Any:
        one = commands.add_parser(run.__name__, help=about, description=about)
        one.set_defaults(run=run)
        one.add_argument("model", metavar="MODEL", help="prefix of the files, one of them, or their folder")
        if output:
            one.add_argument("-o", "--output", metavar="OUT", required=True, help=output)
        return one

    one = command(report, "count the zeros of every param")
    form = one.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for machines")
    form.add_argument("--html", action="store_true", help="one self-contained page with pictures")
    one.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    _add_selection(one, "count as selected")

    one = command(check, "check a pattern or a sparsity; exit code 1 if it does not hold")
    one.add_argument("--pattern", metavar="P", help="2:4 (kept:of, along inputs) or 2x1 (outputs x inputs, blocks)")
    one.add_argument("--sparsity", metavar="S", type=float, help="at least this fraction of zeros, in [0, 1]")
    one.add_argument("--params", metavar="REGEX", help="names of the weights to check; default: all")
    one.add_argument("--each", action="store_true", help="ask the sparsity of every param, not of all together")
    one.add_argument("--json", action="store_true", help="for machines")

    one = command(prune, "prune a saved model at once, without training", "prefix of the pruned model")
    much = one.add_mutually_exclusive_group()
    much.add_argument("--ratio", metavar="R", type=float, help="fraction of the selected weights to prune, in [0, 1]")
    much.add_argument("--threshold", metavar="T", type=float, help="prune weights with |w| below")
    one.add_argument("--pattern", metavar="P", help="2:4 or 2x1, as for check; default: single weights")
    one.add_argument("--allocation", choices=("Global", "LAMP", "Uniform", "ERK"), help="default: Global")
    one.add_argument("--rules", metavar="FILE", help="a YAML file of rules, instead of pattern and allocation")
    _add_selection(one, "prune")

    one = command(compress, "write a model into one small file", "the file")
    one.add_argument(
        "--values",
        choices=("fp32", "bf16", "fp16", "int8"),
        default="fp32",
        help="precision of the weights that are kept; default: fp32, exact to the bit",
    )
    one.add_argument("--level", metavar="N", type=int, default=19, help="of zstd, 1 to 22; default: 19")

    one = commands.add_parser(
        "decompress", help="write the model of a small file again", description="write the model of a small file again"
    )
    one.set_defaults(run=decompress)
    one.add_argument("file", metavar="FILE", help="what compress has written")
    one.add_argument("-o", "--output", metavar="OUT", required=True, help="prefix of the model")

    one = command(export, "write an inference model, checked, for where it runs", "prefix of the model, or the file")
    one.add_argument(
        "--to",
        choices=("paddle", "int8", "onnx"),
        default="paddle",
        help="int8: weights in int8, for Paddle; default: paddle",
    )
    one.add_argument("--weights", metavar="FILE", help="a .pdparams file, instead of the model's own weights")
    one.add_argument("--masks", metavar="FILE", help="what pruner.save() has written: applied, and checked")
    one.add_argument("--recalibrate", metavar="FILE", help="an .npz of inputs [batches, ...] for batch norms")
    one.add_argument("--shrink", action="store_true", help="remove channels whose filters are zero")
    one.add_argument("--align-channels", metavar="N", type=int, default=1, help="with --shrink; default: 1")

    one = command(lite, "which layers Paddle Lite would run sparse, and why not the others")
    one.add_argument("--threshold", metavar="S", type=float, default=0.6, help="its --sparse_threshold; default: 0.6")
    one.add_argument("--json", action="store_true", help="for machines")

    one = command(accelerate, "write a pruned model that runs faster on x86 CPUs", "prefix of the fast model")
    one.add_argument("--int8", action="store_true", help="weights and activations in bytes; needs --calibrate")
    one.add_argument(
        "--calibrate",
        metavar="FILE",
        nargs="+",
        help="a .npy or .npz of inputs [n, ...] or [batches, n, "
        "...], some hundred samples; or the .ranges.json of training; or both",
    )
    one.add_argument(
        "--calibration", choices=("minmax", "percentile", "mse"), help="how ranges come from the data; default: minmax"
    )
    one.add_argument("--equalize", action="store_true", help="balance weights between layers first, for nets with ReLU")
    one.add_argument("--skip", metavar="NAME", nargs="+", help="weights whose layers stay in floats")

    one = command(benchmark, "time two models in turns, and compare what they return")
    one.add_argument("other", metavar="OTHER", help="another model of the same inputs and outputs")
    one.add_argument("--threads", metavar="N", type=int, default=1, help="default: 1")
    one.add_argument("--batch", metavar="N", type=int, default=1, help="default: 1")
    one.add_argument("--rounds", metavar="N", type=int, default=30, help="runs of each; default: 30")
    one.add_argument("--data", metavar="FILE", help="a .npy or .npz of inputs, to compare outputs on; default: random")
    return parser


def _add_selection(parser: argparse.ArgumentParser, what: str) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--params", metavar="REGEX", help=f"{what} the weights of these names only")
    which.add_argument("--conv1x1-only", action="store_true", help=f"{what} the weights of 1x1 convolutions only")
