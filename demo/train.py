"""Train a classifier on a static-graph Program and prune it while it trains.

    python demo/train.py --data digits --pruning_strategy dense --num_epochs 30 --model_path runs/dense
    python demo/train.py --data digits --pruning_strategy gmp --ratio 0.9 --num_epochs 40 \\
        --pretrained_model runs/dense --model_path runs/gmp90
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import paddle
from tqdm import tqdm

import checkpoints
from checkpoints import BadCheckpoint, State
from data import SPECS, MissingData, Source, batches, load_source
from inference import export
from metrics import Average, measure_accuracy
from options import parse_args
from paddle_unstructured import GMPUnstructuredPruner, UnstructuredPruner, sparsity_report
from programs import FEEDS, Classifier, build_classifier, parameters

log = logging.getLogger("train")


@dataclass
class Run:
    """Everything that one training run holds in its hands."""

    args: argparse.Namespace
    exe: paddle.static.Executor
    net: Classifier
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

    return cosine if args.lr_strategy == "cosine_decay" else piecewise


def make_pruner(
    args: argparse.Namespace, program: paddle.static.Program, place, steps_per_epoch: int
) -> UnstructuredPruner | None:
    """Build the pruner that the flags describe; None for a dense run."""
    if args.pruning_strategy == "dense":
        return None
    shared = dict(
        ratio=args.ratio,
        place=place,
        prune_params_type=args.prune_params_type,
        local_sparsity=args.local_sparsity,
        sparse_block=args.sparse_block if args.sparse_block != [1, 1] else None,
    )
    if args.pruning_strategy == "base":
        return UnstructuredPruner(program, args.pruning_mode, threshold=args.threshold, **shared)
    configs = {
        "stable_iterations": args.stable_epochs * steps_per_epoch,
        "pruning_iterations": args.pruning_epochs * steps_per_epoch,
        "tunning_iterations": args.tunning_epochs * steps_per_epoch,
        "resume_iteration": -1,  # a checkpoint brings its own step
        "pruning_steps": args.pruning_steps,
        "initial_ratio": args.initial_ratio,
    }
    return GMPUnstructuredPruner(program, configs=configs, **shared)


def seed_everything(seed: int, deterministic: bool) -> None:
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)
    if deterministic and paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_cudnn_deterministic": True})


def check_free(args: argparse.Namespace, last_epoch: int) -> None:
    """Refuse a --model_path with later checkpoints: a resume could not tell them from this run's."""
    later = [epoch for epoch in checkpoints.epochs(args.model_path) if epoch > last_epoch]
    if later:
        raise BadCheckpoint(
            f"`--model_path` {args.model_path} must not hold checkpoints of another run, but it holds epochs {later}; "
            f"resume that run with --checkpoint {args.model_path}, or choose another folder"
        )


def prepare(args: argparse.Namespace) -> Run:
    """Read the data, build the Programs and put the weights in place."""
    folder = checkpoints.find_checkpoint(args.checkpoint, args.last_epoch) if args.checkpoint else None
    state = State.read(folder) if folder else State(vars(args))
    check_free(args, state.epoch)
    train, test = (load_source(args.data, args.data_dir, split) for split in ("train", "test"))
    steps = len(train) // args.batch_size
    if steps == 0:
        raise ValueError(f"--batch_size must be at most {len(train)}, the number of training images")

    seed_everything(args.seed, args.ce_test)
    place = paddle.CUDAPlace(0) if args.use_gpu else paddle.CPUPlace()
    exe = paddle.static.Executor(place)
    lr = paddle.optimizer.lr.LambdaDecay(args.lr, learning_rate(args, steps))
    decay = paddle.regularizer.L2Decay(args.l2_decay)
    optimizer = paddle.optimizer.Momentum(lr, args.momentum_rate, weight_decay=decay)
    spec = SPECS[args.data]
    net = build_classifier(
        args.model, image_shape=spec.image_shape, classes=spec.classes, width=args.width, optimizer=optimizer
    )
    exe.run(net.startup)
    if args.pretrained_model:
        weights = checkpoints.find_weights(args.pretrained_model)
        checkpoints.load_weights(weights, parameters(net.test), place)
        log.info("starting from %s", weights)
    pruner = make_pruner(args, net.train, place, steps)
    if folder:
        continue_from(folder, net, pruner, state, args)
        lr.step(state.step)
    return Run(args, exe, net, lr, pruner, train, test, state)


def continue_from(folder: Path, net: Classifier, pruner, state: State, args: argparse.Namespace) -> None:
    """Restore a checkpoint, and say which flags differ from those it was written with."""
    checkpoints.resume(folder, net.train, pruner)
    log.info("resuming %s after epoch %d", folder, state.epoch)
    free = {"checkpoint", "last_epoch", "model_path", "pretrained_model", "data_dir", "use_gpu", "num_workers"}
    for name, value in vars(args).items():
        before = state.settings.get(name, value)
        if name not in free and before != value:
            log.warning("--%s was %s in the resumed run and is now %s", name, before, value)
    state.settings = vars(args)


def train_epoch(run: Run, epoch: int) -> dict:
    """Run every batch of one epoch through the training Program; return the epoch's averages."""
    args, average, started = run.args, Average(), time.perf_counter()
    loader = batches(run.train, args.batch_size, shuffle=(args.seed, epoch), num_workers=args.num_workers)
    rate = run.lr()
    with tqdm(loader, desc=f"epoch {epoch}", disable=None, leave=False, dynamic_ncols=True) as bar:
        for number, feed in enumerate(bar, 1):
            metrics = run.exe.run(run.net.train, feed=dict(zip(FEEDS, feed)), fetch_list=list(run.net.metrics))
            if run.pruner is not None:
                run.pruner.step()
            run.lr.step()
            run.state.step += 1
            loss, top1, top5 = average.add(metrics, args.batch_size)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss} in epoch {epoch}, step {number}; lower --lr {args.lr}")
            shown = dict(loss=f"{loss:.4f}", top1=f"{top1:.4f}", sparsity=f"{sparsity(run):.4f}")
            bar.set_postfix(shown, refresh=False)
            if bar.disable and number % args.log_period == 0:
                log.info("epoch %d step %d/%d %s", epoch, number, len(loader), spell(shown))
    seconds = time.perf_counter() - started
    return {"epoch": epoch, "lr": rate, "loss": loss, "top1": top1, "top5": top5, "seconds": round(seconds, 2)}


def sparsity(run: Run) -> float:
    return run.pruner.sparsity() if run.pruner is not None else 0.0


def spell(values: dict) -> str:
    return " ".join(f"{name} {value}" for name, value in values.items())


def due(period: int, run: Run, epoch: int) -> bool:
    """True every `period` epochs and after the last one."""
    return (epoch + 1) % period == 0 or epoch + 1 == run.args.num_epochs


def finish_epoch(run: Run, row: dict) -> None:
    """Test, remember the best epoch, save: each when it is due."""
    state, args, epoch = run.state, run.args, row["epoch"]
    row["sparsity"] = sparsity(run)
    if due(args.test_period, run, epoch):
        row.update({f"test_{name}": value for name, value in measure(run).items()})
    state.epoch = epoch
    state.history.append(row)
    log.info(spell({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()}))
    if is_best(run, row):
        state.best = {"epoch": epoch, "top1": row["test_top1"]}
    elif not due(args.model_period, run, epoch):
        return
    checkpoints.save(args.model_path / f"epoch_{epoch}", run.net.train, state, run.pruner)


def measure(run: Run) -> dict[str, float]:
    return measure_accuracy(
        run.exe,
        run.net.test,
        image=FEEDS[0],
        probabilities=run.net.probabilities,
        source=run.test,
        batch_size=run.args.batch_size_for_validation,
        num_workers=run.args.num_workers,
    )


def is_best(run: Run, row: dict) -> bool:
    """Tell whether this epoch is the best among those at the target sparsity."""
    if "test_top1" not in row or (run.pruner is not None and not run.pruner.target_reached()):
        return False
    return run.state.best is None or row["test_top1"] > run.state.best["top1"]


def train(run: Run) -> None:
    """Run the epochs that are left, then export the inference model."""
    args = run.args
    for epoch in range(run.state.epoch + 1, args.num_epochs):
        finish_epoch(run, train_epoch(run, epoch))
    export(args.model_path / "inference", run.net, run.exe, run.state)
    if run.pruner is not None:
        log.info("%s", sparsity_report(run.net.train, pruner=run.pruner))
    log.info("best at the target sparsity: %s", run.state.best)
    log.info("checkpoints and inference model are in %s", args.model_path)


def log_to_stdout() -> None:
    """Print plain log lines; paddle has already given the root logger a format of its own."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("train", "paddle_unstructured"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    log_to_stdout()
    paddle.enable_static()
    try:
        run = prepare(args)
    except (MissingData, ValueError, TypeError) as error:
        sys.exit(f"train.py: error: {error}")
    train(run)


if __name__ == "__main__":
    main()
