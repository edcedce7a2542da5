# SPDX-License-Identifier: Apache-2.0
"""From a command line to flags that go together: completed, or refused with a message."""

from __future__ import annotations

import argparse
import logging
import os

import paddle
from checkpoints import State, find_checkpoint
from data import SPECS
from models import FITTING, SCALABLE
from options import build_parser, is_saved
from ranks import on_rank_0

from paddle_unstructured import distributed
from paddle_unstructured.formats.atomic import check_writable

log = logging.getLogger("train")

UNTRAINED = ("mnist", "cifar10")  # PaddleSlim's demo ignores --pretrained_model on these

# Of each command, never taken from a recorded run.
OWN = ("checkpoint", "last_epoch", "resume_epoch", "pretrained_model", "use_gpu", "is_distributed", "rank_timeout")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and complete the flags of train.py; a senseless combination ends the program with a message."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        args.is_distributed = is_distributed(args)
        if args.is_distributed:
            distributed.init(args.rank_timeout)
        if args.resume_epoch >= 0:
            argv = as_checkpoint(args, argv)
            args = parser.parse_args(argv)
        if args.checkpoint:
            parser.set_defaults(**on_rank_0(lambda: recorded(args)))
            args = parser.parse_args(argv)
        args.is_distributed = is_distributed(args)
    except ValueError as error:
        parser.error(str(error))
    complete(args)
    for rule in (check_machine, check_files, check_model, check_pruning):
        problem = rule(args)
        if problem:
            parser.error(problem)
    return args


def is_distributed(args: argparse.Namespace) -> bool:
    """As asked; else whether the launcher has started several ranks."""
    started = int(os.environ.get("PADDLE_TRAINERS_NUM", 1))
    return started > 1 if args.is_distributed is None else args.is_distributed


def as_checkpoint(args: argparse.Namespace, argv: list[str] | None) -> list[str]:
    """Return the flags with `--pretrained_model RUN --resume_epoch N` as `--checkpoint RUN --last_epoch N`."""
    if args.checkpoint or args.last_epoch >= 0:
        raise ValueError("--resume_epoch goes with --pretrained_model; --checkpoint goes with --last_epoch")
    if args.pretrained_model is None:
        raise ValueError(f"--resume_epoch {args.resume_epoch} needs the run to resume; add --pretrained_model")
    parser = argparse.ArgumentParser(add_help=False)
    for flag in ("--resume_epoch", "--pretrained_model"):
        parser.add_argument(flag)
    others = parser.parse_known_args(argv)[1]
    return [*others, "--checkpoint", str(args.pretrained_model), "--last_epoch", str(args.resume_epoch)]


def recorded(args: argparse.Namespace) -> dict:
    """Return the flags that the run to resume was started with; it goes on in the folder where it is now."""
    folder = find_checkpoint(args.checkpoint, args.last_epoch)
    settings = {**State.read(folder).settings, "model_path": str(folder.parent)}
    return {name: value for name, value in settings.items() if name in args and name not in OWN}


def complete(args: argparse.Namespace) -> None:
    """Fill in what depends on other flags, on the machine or on the launcher."""
    args.ranks = distributed.world_size()
    if args.use_gpu is None:
        args.use_gpu = has_gpu()
    if args.ce_test:
        args.seed, args.num_workers = 111, 0
    if args.model is None:
        args.model = "LeNet" if args.data == "digits" else FITTING[SPECS[args.data].kind][0]
    if args.lr_strategy is None:
        args.lr_strategy = "piecewise_decay" if args.step_epochs else "cosine_decay"
    args.step_epochs = args.step_epochs or [30, 60, 90]
    if args.num_workers is None:
        args.num_workers = min(4, os.cpu_count() or 1) if args.data in ("imagenet", "coco", "voc", "masks") else 0


def has_gpu() -> bool:
    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def check_machine(args: argparse.Namespace) -> str | None:
    ranks = int(os.environ.get("PADDLE_TRAINERS_NUM", 1))
    if ranks > 1 and not args.is_distributed:
        return f"the launcher has started {ranks} ranks, and each would train by itself; add --is_distributed True"
    if args.use_gpu and not has_gpu():
        return "--use_gpu needs a GPU and a paddle that is built for it, and one of them is missing; leave it out"
    return None


def check_files(args: argparse.Namespace) -> str | None:
    if args.pretrained_model and not is_saved(args.pretrained_model):
        if args.data not in UNTRAINED:
            return f"--pretrained_model must be what a run has saved, but there is no '{args.pretrained_model}'"
        log.warning(
            "there is no %s: training starts from scratch, as PaddleSlim's demo does on %s",
            args.pretrained_model,
            args.data,
        )
        args.pretrained_model = None
    if args.checkpoint and args.pretrained_model:
        return "--checkpoint resumes a run and --pretrained_model starts one; give one of them"
    if args.last_epoch >= 0 and not args.checkpoint:
        return f"--last_epoch {args.last_epoch} needs the run to resume; add --checkpoint"
    if args.last_epoch >= args.num_epochs:
        return f"--last_epoch must be below --num_epochs {args.num_epochs}, got {args.last_epoch}"
    try:
        if distributed.rank() == 0:  # which saves
            check_writable(args.model_path / "epoch_0")
    except OSError as error:
        return f"--model_path must be a folder that can be written to, got {args.model_path}: {error.strerror}"
    return None


def check_model(args: argparse.Namespace) -> str | None:
    if args.image_size and (args.image_size % 32 or SPECS[args.data].kind == "classification"):
        return (
            f"--image_size must be a multiple of 32, and is for masks and boxes, got {args.image_size} for {args.data}"
        )
    fitting = FITTING[SPECS[args.data].kind]
    if args.model not in fitting:
        return f"--model must be {' or '.join(fitting)} for --data {args.data}, got {args.model}"
    if args.teacher_weight and SPECS[args.data].kind == "detection":
        return f"--teacher_weight is for classes, of images or pixels; leave it out for --data {args.data}"
    if args.width != 1 and args.model not in SCALABLE:
        return f"--width is for {' and '.join(SCALABLE)} only, got {args.width} with --model {args.model}"
    return None


def check_pruning(args: argparse.Namespace) -> str | None:
    if args.pruning_mode == "threshold" and args.local_sparsity:
        return "--local_sparsity has no meaning with --pruning_mode threshold: a threshold is the same for every layer"
    if args.block and args.sparse_block != [1, 1]:
        return f"--sparse_block and --block {args.block} both say what is pruned together; give one of them"
    if args.pruning_strategy == "static" and not (args.recipe or args.pretrained_model or args.checkpoint):
        return "--pruning_strategy static keeps the zeros of trained weights; add --pretrained_model"
    if args.recipe:
        return check_recipe(args)
    if args.teacher_weight:
        return f"--teacher_weight {args.teacher_weight} is for --recipe; add --recipe best"
    if args.pruning_strategy != "gmp":
        return None
    if args.pruning_mode == "threshold":
        return "--pruning_strategy gmp raises a ratio; use --pruning_mode ratio, or --pruning_strategy base"
    if args.initial_ratio > args.ratio:
        return f"--initial_ratio must not exceed --ratio {args.ratio}, got {args.initial_ratio}"
    return split_epochs(args)


def check_recipe(args: argparse.Namespace) -> str | None:
    """The recipe decides when, where and at what rates; what it leaves open may be given."""
    decided = {
        f"--pruning_strategy {args.pruning_strategy}": args.pruning_strategy in ("dense", "static"),
        "--pruning_mode threshold": args.pruning_mode == "threshold",
        "--local_sparsity": args.local_sparsity,
        f"--lr_strategy {args.lr_strategy}": args.lr_strategy != "cosine_decay",
        "--stable_epochs": args.stable_epochs,
        "--pruning_epochs": args.pruning_epochs is not None,
        "--tunning_epochs": args.tunning_epochs is not None,
    }
    given = [flag for flag, is_given in decided.items() if is_given]
    args.pruning_strategy = "gmp"
    if not given and not args.pretrained_model and not args.checkpoint:
        return f"--recipe {args.recipe} fine-tunes a trained net; add --pretrained_model"
    return f"--recipe {args.recipe} decides that by itself; leave out {', '.join(given)}" if given else None


def split_epochs(args: argparse.Namespace) -> str | None:
    """Fill in the phases that were not given; they must fit into the run, or the ratio would not be reached."""
    rest = args.num_epochs - args.stable_epochs
    if args.pruning_epochs is None:
        args.pruning_epochs = (rest + 1) // 2 if args.tunning_epochs is None else rest - args.tunning_epochs
    if args.tunning_epochs is None:
        args.tunning_epochs = rest - args.pruning_epochs
    phases = (args.stable_epochs, args.pruning_epochs, args.tunning_epochs)
    if args.pruning_epochs < 1 or args.tunning_epochs < 0 or sum(phases) > args.num_epochs:
        return (
            "--stable_epochs, --pruning_epochs (at least 1) and --tunning_epochs must fit into "
            f"--num_epochs {args.num_epochs}, got {phases[0]} + {phases[1]} + {phases[2]}"
        )
    if args.ratio_steps_per_epoch:
        args.pruning_steps = args.ratio_steps_per_epoch * args.pruning_epochs
    return None
