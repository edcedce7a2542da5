# SPDX-License-Identifier: Apache-2.0
"""One training run before its first step: data, Programs, weights, pruner, learning rate."""

from __future__ import annotations

import argparse
import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import checkpoints
import numpy as np
import paddle
from checkpoints import BadCheckpoint, State
from data import Source, load_source, spec_of
from programs import Trained, build_net, parameters
from ranks import on_rank_0
from teacher import make_teacher

from paddle_unstructured import GMPUnstructuredPruner, UnstructuredPruner, distributed
from paddle_unstructured.training.recipe import Recipe

log = logging.getLogger("train")


@dataclass
class Run:
    """Everything that one training run holds in its hands."""

    args: argparse.Namespace
    exe: paddle.static.Executor
    net: Trained
    lr: paddle.optimizer.lr.LRScheduler
    pruner: UnstructuredPruner | None
    train: Source
    test: Source
    state: State


def learning_rate(args: argparse.Namespace, steps_per_epoch: int) -> Callable[[int], float]:
    """Return step → factor of --lr; a function of the step alone, so that a resumed run sees the same rates."""
    total = args.num_epochs * steps_per_epoch

    def cosine(step: int) -> float:
        return (1 + math.cos(math.pi * min(step / total, 1))) / 2

    def piecewise(step: int) -> float:
        return 0.1 ** sum(step >= epoch * steps_per_epoch for epoch in args.step_epochs)

    def linear(step: int) -> float:
        return 1 - min(step / total, 1)

    return {"cosine_decay": cosine, "linear_decay": linear, "piecewise_decay": piecewise}[args.lr_strategy]


def make_pruner(
    args: argparse.Namespace, program: paddle.static.Program, place, steps_per_epoch: int
) -> UnstructuredPruner | None:
    """Build the pruner that the flags describe; None for a dense run."""
    if args.pruning_strategy == "dense":
        return None
    if args.pruning_strategy == "static":
        return keep_zeros(UnstructuredPruner(program, ratio=0.0, place=place), args)
    asked = {"ratio": args.ratio, "pattern": args.block}
    shared = {
        "place": place,
        "prune_params_type": args.prune_params_type,
        "local_sparsity": args.local_sparsity,
        "sparse_block": args.sparse_block if args.sparse_block != [1, 1] else None,
    }
    if args.recipe:
        return make_recipe(args, steps_per_epoch).pruner(program, **shared)
    if args.pruning_strategy == "base":
        return UnstructuredPruner(program, args.pruning_mode, threshold=args.threshold, **asked, **shared)
    configs = {
        "stable_iterations": args.stable_epochs * steps_per_epoch,
        "pruning_iterations": args.pruning_epochs * steps_per_epoch,
        "tunning_iterations": args.tunning_epochs * steps_per_epoch,
        "resume_iteration": 0,  # a checkpoint brings its own step
        "pruning_steps": args.pruning_steps,
        "initial_ratio": args.initial_ratio,
    }
    return GMPUnstructuredPruner(program, configs=configs, **asked, **shared)


def keep_zeros(pruner: UnstructuredPruner, args: argparse.Namespace) -> UnstructuredPruner:
    """Take the zeros of the weights as masks; a resumed run brings its own."""
    if args.pretrained_model:
        pruner.set_static_masks()
    return pruner


def make_recipe(args: argparse.Namespace, steps_per_epoch: int) -> Recipe:
    steps = args.num_epochs * steps_per_epoch
    if steps < 2:
        raise ValueError(
            f"--num_epochs must give a recipe at least 2 steps, got {steps}; raise it, or lower --batch_size"
        )
    return Recipe(ratio=args.ratio, steps=steps, pattern=args.block, weight=args.teacher_weight)


def seed_everything(seed: int, deterministic: bool) -> None:
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)
    if deterministic and paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_cudnn_deterministic": True})


def check_free(args: argparse.Namespace, last_epoch: int) -> None:
    """Refuse a --model_path with later checkpoints: a resume could not tell them from this run's."""
    later = sorted(epoch for epoch in checkpoints.epochs(args.model_path) if epoch > last_epoch)
    if later:
        raise BadCheckpoint(
            f"`--model_path` must not hold later checkpoints than this run begins with, but {args.model_path} holds "
            f"epochs {later}; go on after them with --checkpoint {args.model_path}, or choose another folder"
        )


def prepare(args: argparse.Namespace) -> Run:
    """Read the data, build the Programs and put weights and masks in place: those that rank 0 has read or made."""
    folder, state = on_rank_0(lambda: find_state(args))
    train, test, steps = read_data(args)

    seed_everything(args.seed + distributed.rank(), args.ce_test)
    place = paddle.CUDAPlace(distributed.device_id()) if args.use_gpu else paddle.CPUPlace()
    exe = paddle.static.Executor(place)
    lr = paddle.optimizer.lr.LambdaDecay(args.lr, learning_rate(args, steps))
    teach = make_teacher(args, exe, place, make_recipe(args, steps)) if args.teacher_weight else None
    net = build(args, lr, teach)
    exe.run(net.startup)
    if args.pretrained_model:
        on_rank_0(lambda: start_from(args.pretrained_model, net, place))
    elif args.pruning_strategy == "base" and not folder:
        log.warning("the first step prunes untrained weights; --pretrained_model starts from trained ones")
    pruner = make_pruner(args, net.train, place, steps)
    if folder:
        on_rank_0(lambda: continue_from(folder, net, pruner, state, args))
        lr.step(state.step)
    distributed.broadcast_state(net.train, pruner=pruner)
    return Run(args, exe, net, lr, pruner, train, test, state)


def find_state(args: argparse.Namespace) -> tuple[Path | None, State]:
    """Return the checkpoint to go on from, if one is asked for, and how far the run is."""
    folder = checkpoints.find_checkpoint(args.checkpoint, args.last_epoch) if args.checkpoint else None
    state = State.read(folder) if folder else State(vars(args))
    check_free(args, state.epoch)
    return folder, state


def read_data(args: argparse.Namespace) -> tuple[Source, Source, int]:
    """Return the training images, the test images and the steps of one epoch."""
    spec_of(args).task(args.model).score()  # whatever it needs is there
    train, test = (load_source(args.data, args.data_dir, split, args.image_size) for split in ("train", "test"))
    if args.batch_size * args.ranks > len(train):
        raise ValueError(
            f"--batch_size must be at most {len(train) // args.ranks}, each rank's part of the training images, "
            f"got {args.batch_size}"
        )
    return train, test, len(train) // (args.batch_size * args.ranks)


def build(args: argparse.Namespace, lr: paddle.optimizer.lr.LRScheduler, teach: Callable | None) -> Trained:
    """Build the Programs of the model, with Momentum to train it, and a teacher's part in the loss if there is one."""
    decay = paddle.regularizer.L2Decay(args.l2_decay)
    optimizer = paddle.optimizer.Momentum(lr, args.momentum_rate, weight_decay=decay)
    words = {**spec_of(args).words(args.model), "width": args.width, "quantize_aware": args.quantize_aware}
    return build_net(args.model, **words, optimizer=optimizer, teach=teach)


def start_from(saved: Path, net: Trained, place) -> None:
    """Put saved weights in place of the initial ones."""
    weights = checkpoints.find_weights(saved)
    checkpoints.load_weights(weights, parameters(net.test), place)
    log.info("starting from %s", weights)


def continue_from(folder: Path, net: Trained, pruner, state: State, args: argparse.Namespace) -> None:
    """Restore a checkpoint, and say which flags differ from those it was written with."""
    checkpoints.resume(folder, net.train, pruner)
    log.info("resuming %s after epoch %d", folder, state.epoch)
    free = {
        "checkpoint",
        "last_epoch",
        "resume_epoch",
        "model_path",
        "pretrained_model",
        "data_dir",
        "use_gpu",
        "num_workers",
        "is_distributed",
        "rank_timeout",
    }
    for name, value in vars(args).items():
        before = state.settings.get(name, value)
        if name not in free and before != value:
            log.warning("--%s was %s in the resumed run and is now %s", name, before, value)
    state.settings = vars(args)
