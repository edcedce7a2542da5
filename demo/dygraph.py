# SPDX-License-Identifier: Apache-2.0
"""Train the same nets as train.py, with its flags and on its data, in dynamic mode: an nn.Layer is pruned.

    python demo/dygraph.py --data digits --pruning_strategy dense --num_epochs 30 --model_path runs/dense
    python demo/dygraph.py --data digits --pruning_strategy gmp --ratio 0.9 --num_epochs 40 \\
        --pretrained_model runs/dense --model_path runs/gmp90
    python -m paddle.distributed.launch --nproc_per_node 2 demo/dygraph.py --is_distributed True --data digits ...

`--pretrained_model` takes runs of train.py, too: weights have the names that Paddle gives them, and files fit both.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import checkpoints
import interrupts
import numpy as np
import paddle
from checkpoints import MASKS, MODEL, BadCheckpoint, State, atomic_folder
from data import BadData, MissingData, Source, batches, spec_of
from detection import Detection
from inference import BEFORE_NMS
from metrics import Average, judge
from models import build_model
from paddle.static import InputSpec
from ranks import on_rank_0
from rules import parse_args
from run import find_state, learning_rate, make_pruner, make_recipe, read_data, seed_everything
from tasks import Task
from train import best_of, how_to_resume, log_to_stdout, record

from paddle_unstructured import UnstructuredPruner, distributed, quantize_aware, sparsity_report
from paddle_unstructured.export import export
from paddle_unstructured.training.quantized_layers import LayersQuantized
from paddle_unstructured.training.recipe import Recipe

log = logging.getLogger("train")
TEACHER = "teacher"  # .pdparams in a checkpoint


@dataclass
class Run:
    """Everything that one training run holds in its hands.

    `forward` is the model, or what averages its gradients over the ranks; `teacher` shows it what to answer, and
    `recipe` mixes that into the loss; `aware` is what has been made of it to compute in 8 bits.
    """

    args: argparse.Namespace
    task: Task
    model: paddle.nn.Layer
    forward: Callable
    teacher: paddle.nn.Layer | None
    recipe: Recipe | None
    aware: LayersQuantized | None
    optimizer: paddle.optimizer.Optimizer
    lr: paddle.optimizer.lr.LRScheduler
    pruner: UnstructuredPruner | None
    train: Source
    test: Source
    state: State


def prepare(args: argparse.Namespace) -> Run:
    """Read the data, build the model, and put weights and masks in place."""
    folder, state = on_rank_0(lambda: find_state(args))
    train, test, steps = read_data(args)
    seed_everything(args.seed + distributed.rank(), args.ce_test)
    paddle.set_device(f"gpu:{distributed.device_id()}" if args.use_gpu else "cpu")
    spec = spec_of(args)
    model, teacher = build(args), build(args) if args.teacher_weight else None
    lr = paddle.optimizer.lr.LambdaDecay(args.lr, learning_rate(args, steps))
    decay = paddle.regularizer.L2Decay(args.l2_decay)
    optimizer = paddle.optimizer.Momentum(lr, args.momentum_rate, model.parameters(), weight_decay=decay)
    if args.pretrained_model:
        on_rank_0(lambda: start_from(args.pretrained_model, model, teacher))
    elif args.pruning_strategy == "base" and not folder:
        log.warning("the first step prunes untrained weights; --pretrained_model starts from trained ones")
    aware = quantize_aware(model) if args.quantize_aware else None
    pruner = make_pruner(args, model, None, steps)
    if pruner is not None:
        pruner.watch(optimizer)
    if folder:
        kept = on_rank_0(lambda: resume(folder, model, pruner, teacher))
        optimizer.set_state_dict(kept)
        log.info("resuming %s after epoch %d", folder, state.epoch)
        state.settings = vars(args)
        lr.step(state.step)
    if args.ranks > 1:
        distributed.broadcast_state(model, pruner=pruner)
        if teacher is not None:
            distributed.broadcast_state(teacher)
    forward = paddle.DataParallel(model) if args.ranks > 1 else model
    recipe = make_recipe(args, steps) if args.teacher_weight else None
    return Run(
        args, spec.task(args.model), model, forward, teacher, recipe, aware, optimizer, lr, pruner, train, test, state
    )


def build(args: argparse.Namespace) -> paddle.nn.Layer:
    """The net, its weights named as Paddle names those of the first net."""
    spec = spec_of(args)
    with paddle.utils.unique_name.guard():
        return build_model(args.model, image_shape=spec.image_shape, classes=spec.classes, width=args.width)


def start_from(saved: Path, *models: paddle.nn.Layer | None) -> None:
    """Put saved weights in place of the initial ones."""
    weights = checkpoints.find_weights(saved)
    for model in models:
        if model is not None:
            load_weights(model, weights)
    log.info("starting from %s", weights)


def named(model: paddle.nn.Layer) -> dict[str, paddle.Tensor]:
    """What a model keeps, by the names that Paddle gives it in any mode; what rounds it has the names of its layers."""
    state = model.state_dict()
    return {name if name.endswith("_range") else tensor.name: tensor for name, tensor in state.items()}


def load_weights(model: paddle.nn.Layer, file: Path) -> None:
    """Set the model's weights from a .pdparams file; one that does not fit is refused, and nothing is changed."""
    try:
        saved = {name: np.asarray(value) for name, value in paddle.load(str(file), return_numpy=True).items()}
    except Exception as error:  # whatever pickle meets in a file that is not ours
        raise BadCheckpoint(f"{file} must be a .pdparams file, but it cannot be read: {error}") from error
    wanted = named(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    fitting = "use the --data, --model and --width it was saved with"
    checkpoints.check(file, shapes, {name: value.shape for name, value in saved.items()}, fitting)
    for name, tensor in wanted.items():
        tensor.set_value(saved[name])


def save(folder: Path, run: Run) -> None:
    """Write everything that a resumed run needs."""
    with atomic_folder(folder) as fresh:
        paddle.save({name: tensor.numpy() for name, tensor in named(run.model).items()}, f"{fresh / MODEL}.pdparams")
        paddle.save(run.optimizer.state_dict(), f"{fresh / MODEL}.pdopt")
        if run.teacher is not None:
            paddle.save({name: t.numpy() for name, t in named(run.teacher).items()}, f"{fresh / TEACHER}.pdparams")
        if run.pruner is not None:
            run.pruner.save(fresh / MASKS)
        run.state.write(fresh)


def resume(folder: Path, model: paddle.nn.Layer, pruner, teacher: paddle.nn.Layer | None) -> dict:
    """Restore weights, masks and teacher; return what the optimizer has kept, the learning rate with it."""
    if (pruner is not None) != (folder / MASKS).is_file():
        raise BadCheckpoint(f"`--checkpoint` {folder} is of another --pruning_strategy; repeat that of its run")
    load_weights(model, folder / f"{MODEL}.pdparams")
    if teacher is not None:
        load_weights(teacher, folder / f"{TEACHER}.pdparams")
    if pruner is not None:
        pruner.load(folder / MASKS)
    return paddle.load(str(folder / f"{MODEL}.pdopt"), return_numpy=True)


def train_epoch(run: Run, epoch: int) -> dict:
    """Train on every batch of one epoch; return the epoch's averages."""
    args, task, started = run.args, run.task, time.perf_counter()
    average = Average(1 + len(task.names))
    place = {"rank": distributed.rank(), "ranks": distributed.world_size()}
    loader = batches(run.train, args.batch_size, shuffle=(args.seed, epoch), num_workers=args.num_workers, **place)
    rate = run.lr()
    run.model.train()
    for number, (images, *labels) in enumerate(loader, 1):
        interrupts.stop_if_asked()
        outputs = run.forward(images)
        loss, *others = task.measure(outputs, labels)
        taught(run, images, outputs, loss).backward()
        run.optimizer.step()  # pruned weights are exactly zero again
        run.optimizer.clear_grad()
        if run.pruner is not None:
            run.pruner.step()
        run.lr.step()
        run.state.step += 1
        distributed.progress(run.state.step)
        mean = average.add([float(loss), *map(float, others)], args.batch_size)
        if not math.isfinite(mean[0]):
            raise FloatingPointError(f"the loss is {mean[0]} in epoch {epoch}, step {number}; lower --lr {args.lr}")
    loss, *others = map(float, average.gather().mean)
    seconds = round(time.perf_counter() - started, 2)
    return {"epoch": epoch, "lr": rate, "loss": loss, **dict(zip(task.names, others)), "seconds": seconds}


def taught(run: Run, images: paddle.Tensor, outputs, loss: paddle.Tensor) -> paddle.Tensor:
    """The loss to minimise: with the teacher's part in it, if there is one."""
    if run.teacher is None:
        return loss
    run.teacher.eval()
    with paddle.no_grad():
        shown = run.teacher(images)
    return run.recipe.loss(loss, outputs, shown)


def measure(run: Run) -> dict[str, float]:
    """Judge every test image once: the task's metrics, and "images"."""
    args, task = run.args, run.task
    run.model.eval()
    with paddle.no_grad():
        return judge(
            lambda images: [answer.numpy() for answer in task.answers(run.model(images))],
            task=task,
            source=run.test,
            batch_size=args.batch_size_for_validation,
            num_workers=args.num_workers,
        )


@contextlib.contextmanager
def answering(net: paddle.nn.Layer, answer: Callable) -> Iterator[None]:
    """For a while a net gives what `answer` makes of its outputs; the pruner still knows it."""
    forward = net.forward

    def answered(images):
        return answer(forward(images))

    net.forward = answered
    try:
        yield
    finally:
        del net.forward


def finish_epoch(run: Run, row: dict) -> None:
    """Test, remember the best epoch, save: each when it is due. Rank 0 saves."""
    if run.args.ranks > 1:
        distributed.average_statistics(run.model)
    if not record(run, row, measure):
        return
    if run.args.ranks > 1:
        distributed.same_everywhere(run.model)  # warns if not
    if distributed.rank() == 0:
        save(run.args.model_path / f"epoch_{row['epoch']}", run)


def train(run: Run) -> None:
    """Run the epochs that are left, then export the inference model: image -> answers."""
    for epoch in range(run.state.epoch + 1, run.args.num_epochs):
        finish_epoch(run, train_epoch(run, epoch))
    if distributed.rank() == 0:
        sum_up(run)


def sum_up(run: Run) -> None:
    """Export the model, and say what has come of the run."""
    shape = [None, *spec_of(run.args).image_shape]
    several = {
        "inference": run.task.answers,
        **({BEFORE_NMS: run.task.found} if isinstance(run.task, Detection) else {}),
    }
    for name, answer in several.items():
        with atomic_folder(run.args.model_path / name) as fresh:
            with answering(run.model, answer):
                words = ([InputSpec(shape, name="image")], fresh / MODEL, run.pruner)
                if run.aware is not None:  # in float32 again, and the ranges beside it
                    run.aware.export(*words, unfinished=True)
                else:
                    export(run.model, *words, unfinished=True)
            run.state.write(fresh)
    if run.pruner is not None:
        log.info("%s", sparsity_report(run.model, pruner=run.pruner))
    if run.state.best:
        log.info("%s", best_of(run))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    log_to_stdout()
    try:
        try:
            run = prepare(args)
        except (MissingData, ValueError, TypeError) as error:
            sys.exit(f"dygraph.py: error: {error}")
        interrupts.wait_for_a_step("dygraph.py")
        try:
            train(run)
        except BadData as error:
            sys.exit(f"dygraph.py: error: {error}; {how_to_resume(args)}")
    except KeyboardInterrupt:
        interrupts.end(f"dygraph.py: interrupted; {how_to_resume(args)}")


if __name__ == "__main__":
    main()
