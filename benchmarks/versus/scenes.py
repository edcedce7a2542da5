# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's GMP and this library's on nets for masks and boxes: one code, one set of weights, data, order and rates.

    PYTHONPATH=benchmarks python -m versus.scenes [--folder RUNS] [--nets HumanSeg YOLOv3] [--seeds 0 1] [--orders 0]
        [--sides ours slim alike rounded no-floor]

Nets as benchmarks/boxes_and_masks.py trained them densely into RUNS: 75 % of their 1x1 convolutions fall within as many
epochs, at the same rate, as its other rows have. PaddleSlim gets legacy Programs in an environment of its own, this
library PIR. "alike" is this library with PaddleSlim's rises and counts and no floor; "rounded" the same with the counts
that the ratio says, a weight or two more at each rise: what chance makes; "no-floor" is ours without a floor. A line is
mIoU or mAP of the training net on all test scenes, the zeros of the 1x1 convolutions, and the processor's seconds of
the training. HumanSeg takes about two minutes for each seed, YOLOv3 three.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from boxes_and_masks import BATCH, NETS, SIZE, Net

from .environment import ROOT, python_of, variables

KNOWN = {net.model: net for net in NETS}
SIDES = ("ours", "slim", "alike", "rounded", "no-floor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "benchmark_scenes", help="of boxes_and_masks.py")
    parser.add_argument("--nets", nargs="+", choices=KNOWN, default=["HumanSeg", "YOLOv3"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--orders", type=int, nargs="+", default=[0], help="of the data; others say what is chance")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours", "slim"])
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        with contextlib.redirect_stdout(io.StringIO()):  # PaddleSlim prints
            found = trained(args.worker, KNOWN[args.nets[0]], args.folder, args.seeds[0], args.orders[0])
        print(json.dumps(found))
        return
    import paddle

    for net, seed, order, side in product(args.nets, args.seeds, args.orders, args.sides):
        words = ["--worker", side, "--folder", str(args.folder), "--nets", net, "--seeds", str(seed)]
        words += ["--orders", str(order)]
        own = "slim" if side == "slim" else "ours"
        command = [python_of(own, paddle.__version__), "-m", "versus.scenes", *words]
        ran = subprocess.run(command, env=variables(own), stdout=subprocess.PIPE, text=True, check=True)
        line = json.loads(ran.stdout.splitlines()[-1])
        print(json.dumps({"net": net, "side": side, "seed": seed, "order": order, **line}), flush=True)


def trained(side: str, net: Net, folder: Path, seed: int, order: int) -> dict[str, Any]:
    """Train and judge one side's net."""
    import paddle
    from data import SPECS, load_source
    from models import build_model

    from .sides import gmp_configs, slim_count, slim_rises
    from .training import for_test, parameters

    paddle.enable_static()
    paddle.seed(seed)
    spec = replace(SPECS[net.data], image_shape=(3, SIZE, SIZE))
    task = spec.task(net.model)
    score = task.score()
    train, test = (load_source(net.data, str(folder / "scenes"), split, SIZE) for split in ("train", "test"))
    steps = net.epochs * (len(train) // BATCH)
    place, program, startup = paddle.CPUPlace(), paddle.static.Program(), paddle.static.Program()
    exe = paddle.static.Executor(place)
    words = {"ratio": 0.75, "prune_params_type": "conv1x1_only", "configs": gmp_configs(steps), "place": place}
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        image = paddle.static.data("image", [None, *spec.image_shape], "float32")
        outputs = build_model(net.model, image_shape=spec.image_shape, classes=spec.classes, width=net.width)(image)
        planes = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        tested, planes = for_test(program, planes)
        labels = [paddle.static.data(each.name, [None, *each.shape], each.dtype) for each in task.labels]
        loss = task.measure(outputs, labels)[0]
        rate = paddle.optimizer.lr.CosineAnnealingDecay(net.rate / 2, steps)
        optimizer = paddle.optimizer.Momentum(rate, 0.9, weight_decay=paddle.regularizer.L2Decay(3e-5))
        if side == "slim":
            from paddleslim.prune import GMPUnstructuredPruner

            pruner = GMPUnstructuredPruner(program, **words)
            optimizer.minimize(loss, no_grad_set=pruner.no_grad_set)
        else:
            optimizer.minimize(loss)
    exe.run(startup)
    started = max((folder / f"{net.model}_{seed}_start").glob("epoch_*"), key=lambda epoch: int(epoch.name[6:]))
    stored = paddle.load(str(started / "model.pdparams"))
    scope = paddle.static.global_scope()
    for name in [value.name for value in parameters(tested)]:
        scope.find_var(name).get_tensor().set(np.asarray(stored[name]), place)
    pointwise = [v.name for v in parameters(tested) if len(v.shape) == 4 and tuple(v.shape[2:]) == (1, 1)]
    if side != "slim":
        from paddle_unstructured import Global, GMPUnstructuredPruner, UnstructuredPruner

        floorless = Global(floor=0.0)
    if side in ("ours", "no-floor"):
        pruner = GMPUnstructuredPruner(program, allocation=None if side == "ours" else floorless, **words)
    elif side != "slim":
        rises, ratio = slim_rises(words.pop("configs")), words.pop("ratio")
        weights = sum(np.asarray(stored[name]).size for name in pointwise)

        def ramp(step: int) -> float:
            asked = rises(step, ratio)
            return slim_count(asked, weights) if side == "alike" else asked

        pruner = UnstructuredPruner(program, schedule=ramp, allocation=floorless, **words)
    begun = time.process_time()
    for epoch in range(net.epochs):
        rows = np.random.RandomState(1000 * seed + 100 * order + epoch).permutation(len(train))
        for indices in rows[: len(rows) // BATCH * BATCH].reshape(-1, BATCH):
            images, *wanted = train.fetch(indices, None)
            fed = {each.name: array for each, array in zip(task.labels, wanted)}
            exe.run(program, feed={"image": images, **fed}, fetch_list=[loss])
            pruner.step()
            rate.step()
    seconds = time.process_time() - begun
    if side == "slim":
        pruner.update_params()
    for first in range(0, len(test), BATCH):
        images, *wanted = test.fetch(np.arange(first, min(first + BATCH, len(test))), None)
        score.add(answers(task, exe.run(tested, feed={"image": images}, fetch_list=planes)), wanted)
    arrays = [np.asarray(scope.find_var(name).get_tensor()) for name in pointwise]
    zeros = sum(int((array == 0).sum()) for array in arrays) / sum(array.size for array in arrays)
    metric = score.result()[task.metric]
    return {task.metric: round(metric, 4), "zeros": round(zeros, 4), "seconds": round(seconds, 1)}


def answers(task: Any, planes: list[np.ndarray]) -> Any:
    """A net's outputs as the score takes them; eagerly, since legacy Programs lack some of what decodes boxes."""
    import nms
    import paddle

    with paddle.base.dygraph.guard(paddle.CPUPlace()):
        tensors = [paddle.to_tensor(plane) for plane in planes]
        if hasattr(task, "found"):
            return nms.choose(*(each.numpy() for each in task.found(tensors)))
        return [each.numpy() for each in task.answers(tensors[0])]


if __name__ == "__main__":
    main()
