# SPDX-License-Identifier: Apache-2.0
"""Train a net on a static-graph Program and prune it while it trains.

    python demo/train.py --data digits --pruning_strategy dense --num_epochs 30 --model_path runs/dense
    python demo/train.py --data digits --pruning_strategy gmp --ratio 0.9 --num_epochs 40 \\
        --pretrained_model runs/dense --model_path runs/gmp90
    python -m paddle.distributed.launch --nproc_per_node 2 demo/train.py --is_distributed True --data digits ...
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import shlex
import sys
import time
from typing import Callable

import checkpoints
import interrupts
import metrics
import paddle
from data import BadData, MissingData, batches, spec_of
from inference import export
from metrics import Average
from rules import parse_args
from run import Run, prepare

from paddle_unstructured import distributed, sparsity_report

try:
    from tqdm import tqdm
except ImportError:
    sys.exit('train.py: error: the demo needs tqdm; pip install -e ".[demo]"')

log = logging.getLogger("train")


def train_epoch(run: Run, epoch: int) -> dict:
    """Run every batch of one epoch through the training Program; return the epoch's averages."""
    args, average, started = run.args, Average(len(run.net.metrics)), time.perf_counter()
    place = {"rank": distributed.rank(), "ranks": distributed.world_size()}
    loader = batches(run.train, args.batch_size, shuffle=(args.seed, epoch), num_workers=args.num_workers, **place)
    rate, hidden = run.lr(), None if distributed.rank() == 0 else True
    with tqdm(loader, desc=f"epoch {epoch}", disable=hidden, leave=False, dynamic_ncols=True) as bar:
        for number, feed in enumerate(bar, 1):
            interrupts.stop_if_asked()
            found = run.exe.run(run.net.train, feed=dict(zip(run.net.feeds, feed)), fetch_list=list(run.net.metrics))
            if run.pruner is not None:
                run.pruner.step()
            run.lr.step()
            run.state.step += 1
            distributed.progress(run.state.step)
            loss, *others = average.add(found, args.batch_size)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} in epoch {epoch}, step {number}; lower --lr {args.lr}")
            first = {name: f"{value:.4f}" for name, value in list(zip(run.net.task.names, others))[:1]}
            shown = {"loss": f"{loss:.4f}", **first, "sparsity": f"{sparsity(run):.4f}"}
            bar.set_postfix(shown, refresh=False)
            if bar.disable and number % args.log_period == 0:
                log.info("epoch %d step %d/%d %s", epoch, number, len(loader), spell(shown))
    seconds = time.perf_counter() - started
    loss, *others = average.gather().mean
    named = dict(zip(run.net.task.names, others))
    return {"epoch": epoch, "lr": rate, "loss": loss, **named, "seconds": round(seconds, 2)}


def sparsity(run: Run) -> float:
    return run.pruner.sparsity() if run.pruner is not None else 0.0


def spell(values: dict) -> str:
    return " ".join(f"{name} {value}" for name, value in values.items())


def due(period: int, run: Run, epoch: int) -> bool:
    """True every `period` epochs and after the last one."""
    return (epoch + 1) % period == 0 or epoch + 1 == run.args.num_epochs


def finish_epoch(run: Run, row: dict) -> None:
    """Test, remember the best epoch, save: each when it is due. Rank 0 saves."""
    distributed.average_statistics(run.net.train)
    if not record(run, row, measure):
        return
    distributed.same_everywhere(run.net.train)  # warns if not
    if distributed.rank() == 0:
        checkpoints.save(run.args.model_path / f"epoch_{row['epoch']}", run.net.train, run.state, run.pruner)


def record(run: Run, row: dict, measure: Callable[[Run], dict[str, float]]) -> bool:
    """Test if that is due, write the epoch down and say it; whether its weights are to be saved."""
    state, args, epoch = run.state, run.args, row["epoch"]
    row["sparsity"] = sparsity(run)
    if due(args.test_period, run, epoch):
        row.update({f"test_{name}": value for name, value in measure(run).items()})
    state.epoch = epoch
    state.history.append(row)
    log.info(spell({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()}))
    if is_best(run, row):
        metric = metric_of(run)
        state.best = {"epoch": epoch, metric: row[f"test_{metric}"]}
        return True
    return due(args.model_period, run, epoch)


def measure(run: Run) -> dict[str, float]:
    return metrics.measure(
        run.exe,
        run.net.test,
        image=run.net.feeds[0],
        answers=run.net.answers,
        task=run.net.task,
        source=run.test,
        batch_size=run.args.batch_size_for_validation,
        num_workers=run.args.num_workers,
    )


def is_best(run: Run, row: dict) -> bool:
    """Tell whether this epoch is the best among those at the target sparsity."""
    metric = metric_of(run)
    if f"test_{metric}" not in row or (run.pruner is not None and not run.pruner.target_reached()):
        return False
    return run.state.best is None or row[f"test_{metric}"] > run.state.best[metric]


def metric_of(run: Run) -> str:
    """What epochs are compared by."""
    return spec_of(run.args).task(run.args.model).metric


def train(run: Run) -> None:
    """Run the epochs that are left, then export the inference model."""
    for epoch in range(run.state.epoch + 1, run.args.num_epochs):
        finish_epoch(run, train_epoch(run, epoch))
    if distributed.rank() == 0:
        sum_up(run)


def sum_up(run: Run) -> None:
    """Export the model, and say what has come of the run."""
    args = run.args
    export(args.model_path / "inference", run.net, run.exe, run.state, run.pruner)
    if run.pruner is not None:
        log.info("%s", sparsity_report(run.net.test, pruner=run.pruner))
        if not run.pruner.target_reached():
            log.warning("the sparsity is %.4f and not the one asked for; train for more epochs", sparsity(run))
    if run.state.best:
        log.info("%s", best_of(run))
    log.info("checkpoints and the inference model (of the last epoch) are in %s", args.model_path)


def best_of(run: Run) -> str:
    best, metric = run.state.best, metric_of(run)
    named = "accuracy" if metric == "top1" else metric
    return f"best test {named} at the final sparsity: {best[metric]:.4f} in epoch {best['epoch']}"


class _Plain(logging.Formatter):
    """Files by the names that they will have: what is being written is in a hidden folder until it is whole."""

    def format(self, record: logging.LogRecord) -> str:
        return re.sub(r"\.(\w+)\.writing/", r"\1/", super().format(record))


def log_to_stdout() -> None:
    """Print plain log lines; paddle has already given the root logger a format of its own."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Plain("%(message)s"))
    told = logging.INFO if distributed.rank() == 0 else logging.WARNING
    for name, level in (("train", told), ("paddle_unstructured", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def how_to_resume(args: argparse.Namespace) -> str:
    """What to say after Ctrl-C: the command that goes on after the last epoch that was written."""
    saved = checkpoints.epochs(args.model_path)
    if not saved:
        return "no epoch had been written, so the same command begins anew"
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(args.ranks)] if args.ranks > 1 else []
    words = ["python", *launcher, sys.argv[0], "--checkpoint", str(args.model_path)]  # the run knows its other flags
    return f"to go on after epoch {max(saved)}: {shlex.join(words)}"


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    log_to_stdout()
    paddle.enable_static()
    try:
        try:
            run = prepare(args)
        except (MissingData, ValueError, TypeError) as error:
            sys.exit(f"train.py: error: {error}")
        interrupts.wait_for_a_step("train.py")
        try:
            train(run)
        except BadData as error:
            sys.exit(f"train.py: error: {error}; {how_to_resume(args)}")
        except OSError as error:  # a disk that is full, say
            reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
            sys.exit(f"train.py: error: {reason}; {how_to_resume(args)}")
    except KeyboardInterrupt:
        interrupts.end(f"train.py: interrupted; {how_to_resume(args)}")


if __name__ == "__main__":
    main()
