# SPDX-License-Identifier: Apache-2.0
"""The flags of train.py and what each of them takes; `rules.py` says how they go together."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Callable

from data import SPECS
from models import MODELS, SCALABLE

STRATEGIES = ("base", "gmp", "dense", "static")


class HelpWithDefaults(argparse.HelpFormatter):
    """Adds the default to the help of flags that have one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        shows = action.default not in (None, False, argparse.SUPPRESS)
        return f"{action.help} (default: %(default)s)" if shows else action.help


def boolean(text: str) -> bool:
    """Read True/False as PaddleSlim's commands write them."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be True or False, got {text!r}")
    return words[text.lower()]


def number(kind: Callable, low: float, high: float = float("inf")) -> Callable:
    """Return a reader of numbers in [low, high]."""

    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            what = "an integer" if kind is int else "a number"
            where = f"in [{low}, {high}]" if high != float("inf") else f"of at least {low}"
            raise argparse.ArgumentTypeError(f"must be {what} {where}, got {text!r}")
        return value

    return read


def block(text: str) -> str:
    """Read OUTPUTSxINPUTS, "1x4"; int8 kernels take four inputs at a time."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"must be OUTPUTSxINPUTS such as 1x4, got {text!r}")
    return text


def is_saved(path: Path) -> bool:
    """Whether a path is there, or is the prefix of a .pdparams or .pdiparams file that is."""
    if int(os.environ.get("PADDLE_TRAINER_ID", 0)) > 0:  # rank 0 reads, and may be on another machine
        return True
    return path.exists() or any(Path(f"{path}{ending}").is_file() for ending in (".pdparams", ".pdiparams"))


def existing(text: str) -> Path:
    """Read a path that must be there, or be the prefix of a file of weights that is."""
    path = Path(text)
    if not is_saved(path):
        raise argparse.ArgumentTypeError(f"must be what a run has saved, but there is no {text!r}")
    return path


def folder(text: str) -> str:
    """Read a folder that must be there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder, but there is no folder {text!r}")
    return text


def add_flag(group: argparse._ActionsContainer, name: str, help: str, default: bool | None = False) -> None:
    """Add a flag that works bare and as `--flag True`."""
    group.add_argument(name, nargs="?", const=True, type=boolean, default=default, metavar="BOOL", help=help)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of train.py, its flags in the order of the questions a run answers."""
    parser = argparse.ArgumentParser(
        description="Train a net, and prune it while it trains.",
        formatter_class=HelpWithDefaults,
    )
    add_data(parser.add_argument_group("data and model"))
    add_training(parser.add_argument_group("training"))
    add_pruning(parser.add_argument_group("pruning"))
    add_gmp(parser.add_argument_group("gradual magnitude pruning (--pruning_strategy gmp)"))
    add_files(parser.add_argument_group("what is read and written"))
    add_machine(parser.add_argument_group("machine"))
    return parser


def add_data(group: argparse._ActionsContainer) -> None:
    positive = number(int, 1)
    group.add_argument(
        "--data", choices=sorted(SPECS), default="digits", help="data set; PaddleSlim's default is imagenet"
    )
    group.add_argument("--data_dir", type=folder, help="folder with its files; default: where they usually are")
    group.add_argument(
        "--image_size",
        type=number(int, 32, 4096),
        help="height and width that images with masks or boxes are resized to, a multiple of 32; default: as published",
    )
    group.add_argument(
        "--model",
        choices=MODELS,
        help="architecture; MobileNet is MobileNetV1; default: LeNet on digits, HumanSeg for masks, YOLOv3 for "
        "boxes (or PicoDet), else MobileNet as PaddleSlim's",
    )
    group.add_argument(
        "--width", type=number(float, 0.01, 4), default=1.0, help=f"multiplies the channels of {', '.join(SCALABLE)}"
    )
    group.add_argument("--batch_size", type=positive, default=64, help="images per training step of each rank")
    group.add_argument("--batch_size_for_validation", type=positive, default=64, help="images per test batch")


def add_training(group: argparse._ActionsContainer) -> None:
    positive, zero_up = number(int, 1), number(float, 0)
    group.add_argument("--num_epochs", type=positive, default=120, help="epochs in all")
    group.add_argument("--lr", type=zero_up, default=0.1, help="peak learning rate")
    group.add_argument(
        "--lr_strategy",
        choices=("piecewise_decay", "cosine_decay", "linear_decay"),
        help="cosine, linear: from --lr to 0 over all epochs; piecewise: a tenth at each of --step_epochs; default: "
        "piecewise_decay if --step_epochs is given, else cosine_decay (PaddleSlim's is always piecewise_decay)",
    )
    group.add_argument(
        "--step_epochs",
        type=positive,
        nargs="+",
        action="extend",
        help="epochs at which piecewise_decay decays (default: 30 60 90)",
    )
    group.add_argument("--l2_decay", type=zero_up, default=3e-5, help="weight decay")
    group.add_argument("--momentum_rate", type=number(float, 0, 1), default=0.9, help="momentum of the optimizer")
    group.add_argument("--seed", type=number(int, 0), default=0, help="of initial weights, order and augmentation")


def add_pruning(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--pruning_strategy",
        choices=STRATEGIES,
        default="base",
        help="base: prune after the first step; gmp: raise the sparsity step by step; dense: do not prune; "
        "static: keep the zeros of --pretrained_model",
    )
    group.add_argument(
        "--recipe",
        choices=("best",),
        help="best: fine-tune --pretrained_model to --ratio as docs/recipe.md says; decides schedule and allocation",
    )
    group.add_argument(
        "--teacher_weight",
        type=number(float, 0, 1),
        default=0.0,
        help="with --recipe: part of the loss in which --pretrained_model teaches; 0.5 is usual",
    )
    group.add_argument(
        "--pruning_mode",
        choices=("ratio", "threshold"),
        default="ratio",
        help="ratio: prune the --ratio smallest; threshold: prune all below --threshold",
    )
    group.add_argument("--ratio", type=number(float, 0, 1), default=0.55, help="sparsity to reach, a fraction")
    group.add_argument("--threshold", type=number(float, 0), default=0.01, help="magnitude below which weights go")
    group.add_argument(
        "--prune_params_type", choices=("conv1x1_only",), help="prune only these; default: all that can be pruned"
    )
    add_flag(
        group,
        "--quantize_aware",
        "compute with 8-bit weights and activations; the inference model gets the ranges for accelerate --int8",
    )
    add_flag(group, "--local_sparsity", "every layer gets the same sparsity, instead of one ranking of all weights")
    group.add_argument(
        "--sparse_block",
        type=number(int, 1),
        nargs=2,
        default=[1, 1],
        metavar=("M", "N"),
        help="weights that are pruned together: M along axis 0 times N along axis 1",
    )
    group.add_argument(
        "--block",
        type=block,
        metavar="OUTxIN",
        help="weights that are pruned together: 1x4 (or 2x4) for int8, 4 inputs of 1 (or 2) outputs at one kernel "
        "position, where layers narrower than a block stay dense; others, 2x1 say, span the whole kernel window",
    )


def add_gmp(group: argparse._ActionsContainer) -> None:
    zero_up = number(int, 0)
    group.add_argument("--stable_epochs", type=zero_up, default=0, help="epochs before pruning starts")
    group.add_argument(
        "--pruning_epochs",
        type=zero_up,
        help="epochs in which sparsity rises; default: half the rest, 60 of 120 as PaddleSlim's",
    )
    group.add_argument("--tunning_epochs", type=zero_up, help="epochs at the final sparsity; default: what is left")
    group.add_argument("--pruning_steps", type=number(int, 1), default=120, help="mask updates in the rising phase")
    group.add_argument(
        "--ratio_steps_per_epoch", type=number(int, 1), help="the same per epoch, instead of --pruning_steps"
    )
    group.add_argument("--initial_ratio", type=number(float, 0, 1), default=0.15, help="sparsity of the first update")


def add_files(group: argparse._ActionsContainer) -> None:
    positive = number(int, 1)
    group.add_argument(
        "--pretrained_model",
        type=Path,
        help="start from these weights: a run (its best epoch, or else its latest), epoch_N or .pdparams",
    )
    group.add_argument(
        "--checkpoint",
        type=existing,
        help="resume this run: its --model_path or an epoch_N in it; flags that are not given are the recorded ones",
    )
    group.add_argument(
        "--last_epoch",
        type=number(int, -1),
        default=-1,
        help="last finished epoch, counted from 0, to resume after; -1: the latest saved",
    )
    group.add_argument(
        "--resume_epoch",
        type=number(int, -1),
        default=-1,
        help="with --pretrained_model RUN: as --checkpoint RUN --last_epoch N, in the words of PaddleSlim's README",
    )
    group.add_argument(
        "--model_path", type=Path, default=Path("models"), help="checkpoints and inference model go here"
    )
    group.add_argument("--model_period", type=positive, default=10, help="epochs between checkpoints")
    group.add_argument("--test_period", type=positive, default=5, help="epochs between tests")
    group.add_argument("--log_period", type=positive, default=100, help="steps between log lines (without a terminal)")


def add_machine(group: argparse._ActionsContainer) -> None:
    add_flag(group, "--use_gpu", "train on a GPU; default: if there is one", default=None)
    group.add_argument(
        "--num_workers",
        type=number(int, 0),
        help="processes that prepare batches; default: 4 for imagenet, coco, voc and masks, else 0 (PaddleSlim's: 32)",
    )
    add_flag(
        group,
        "--is_distributed",
        "train on all ranks that paddle.distributed.launch starts; default: if it has started several",
        default=None,
    )
    group.add_argument(
        "--rank_timeout",
        type=number(float, 1),
        default=600,
        help="seconds after which a rank that finishes no step and no test batch is ended",
    )
    add_flag(group, "--ce_test", "for continuous evaluation: seed 111, no workers, deterministic GPU kernels")
