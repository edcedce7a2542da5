# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's GMP and this library's on a segmentation net: one code, one set of weights, data, order and rates.

    PYTHONPATH=benchmarks python -m versus.masks [--folder RUNS] [--seeds 0 1]    # about two minutes for each

PP-HumanSeg-Lite, as benchmarks/boxes_and_masks.py trained it densely into RUNS: 75 % of its 1x1 convolutions fall
within two epochs more. PaddleSlim gets legacy Programs in an environment of its own, this library PIR. A line is mIoU
of the training net on all test scenes, and the zeros of the 1x1 convolutions.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .environment import ROOT, python_of, variables

EPOCHS, BATCH, PEAK, SIZE, WIDTH = 2, 16, 0.025, 64, 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "benchmark_scenes", help="of boxes_and_masks.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--worker", choices=("ours", "slim"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        with contextlib.redirect_stdout(io.StringIO()):  # PaddleSlim prints
            found = trained(args.worker, args.folder, args.seeds[0])
        print(json.dumps(found))
        return
    import paddle

    for seed in args.seeds:
        for side in ("ours", "slim"):
            words = ["-m", "versus.masks", "--worker", side, "--folder", str(args.folder), "--seeds", str(seed)]
            command = [python_of(side, paddle.__version__), *words]
            ran = subprocess.run(command, env=variables(side), stdout=subprocess.PIPE, text=True, check=True)
            print(json.dumps({"side": side, "seed": seed, **json.loads(ran.stdout.splitlines()[-1])}), flush=True)


def trained(side: str, folder: Path, seed: int) -> dict[str, Any]:
    """Train and judge one side's net."""
    import paddle
    from data import SPECS, load_source
    from models import build_model

    from .sides import gmp_configs
    from .training import for_test, parameters

    paddle.enable_static()
    paddle.seed(seed)
    spec = replace(SPECS["scenes"], image_shape=(3, SIZE, SIZE))
    train, test = (load_source("scenes", str(folder / "scenes"), split, SIZE) for split in ("train", "test"))
    steps = EPOCHS * (len(train) // BATCH)
    place, program, startup = paddle.CPUPlace(), paddle.static.Program(), paddle.static.Program()
    exe = paddle.static.Executor(place)
    words = {"ratio": 0.75, "prune_params_type": "conv1x1_only", "configs": gmp_configs(steps), "place": place}
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        image = paddle.static.data("image", [None, *spec.image_shape], "float32")
        logits = build_model("HumanSeg", image_shape=spec.image_shape, classes=spec.classes, width=WIDTH)(image)
        tested, answers = for_test(program, logits)
        mask = paddle.static.data("mask", [None, SIZE, SIZE], "int64")
        loss = paddle.nn.functional.cross_entropy(logits, mask, axis=1)  # every pixel of a scene counts
        rate = paddle.optimizer.lr.CosineAnnealingDecay(PEAK, steps)
        optimizer = paddle.optimizer.Momentum(rate, 0.9, weight_decay=paddle.regularizer.L2Decay(3e-5))
        if side == "slim":
            from paddleslim.prune import GMPUnstructuredPruner

            pruner = GMPUnstructuredPruner(program, **words)
            optimizer.minimize(loss, no_grad_set=pruner.no_grad_set)
        else:
            optimizer.minimize(loss)
    exe.run(startup)
    stored = paddle.load(str(max(folder.glob(f"HumanSeg_{seed}_start/epoch_*")) / "model.pdparams"))
    scope = paddle.static.global_scope()
    for name in [value.name for value in parameters(tested)]:
        scope.find_var(name).get_tensor().set(np.asarray(stored[name]), place)
    if side == "ours":
        from paddle_unstructured import GMPUnstructuredPruner as OurPruner

        pruner = OurPruner(program, **words)
    for epoch in range(EPOCHS):
        order = np.random.RandomState(1000 * seed + epoch).permutation(len(train))
        for indices in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
            images, masks = train.fetch(indices, None)
            exe.run(program, feed={"image": images, "mask": masks}, fetch_list=[loss])
            pruner.step()
            rate.step()
    if side == "slim":
        pruner.update_params()
    score = spec.task("HumanSeg").score()
    for first in range(0, len(test), BATCH):
        images, *masks = test.fetch(np.arange(first, min(first + BATCH, len(test))), None)
        score.add(exe.run(tested, feed={"image": images}, fetch_list=[answers]), masks)
    pointwise = [
        array
        for value in parameters(tested)
        if (array := np.asarray(scope.find_var(value.name).get_tensor())).ndim == 4 and array.shape[2:] == (1, 1)
    ]
    zeros = sum(int((array == 0).sum()) for array in pointwise) / sum(array.size for array in pointwise)
    return {"miou": round(score.result()["miou"], 4), "zeros": round(zeros, 4)}


if __name__ == "__main__":
    main()
