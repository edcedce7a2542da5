# SPDX-License-Identifier: Apache-2.0
"""Whole models that the pruner pruned, and nets by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from chance_nets import chance
from nets import Net
from shrunk_nets import CPU, Saved

from paddle_unstructured import Filter, Uniform, UnstructuredPruner

pytestmark = pytest.mark.usefixtures("static")


MODELS = {
    "LeNet": (paddle.vision.models.LeNet, (-1, 1, 28, 28)),
    "MobileNetV1": (lambda: paddle.vision.models.MobileNetV1(scale=0.25, num_classes=10), (-1, 3, 32, 32)),
    "MobileNetV2": (lambda: paddle.vision.models.MobileNetV2(scale=0.35, num_classes=10), (-1, 3, 32, 32)),
    "ResNet-18": (lambda: paddle.vision.models.resnet18(num_classes=10), (-1, 3, 32, 32)),
}


def macs(program: Any) -> int:
    """Products of one image in convolutions and linear layers."""
    total = 0
    for op in program.global_block().ops:
        if "conv2d" in op.name() or op.name() == "pd_op.matmul":
            weight, out = op.operand_source(1).shape, op.result(0).shape
            total += int(np.prod(weight)) * (int(np.prod(out[2:])) if "conv" in op.name() else 1)
    return total


def hidden(param: Any) -> bool:
    return param.role == "conv2d" or (param.role == "linear" and param.shape[1] > 10)


def pruned_by(axis: str, ratio: float) -> Callable[[Net], None]:
    def prune(net: Net) -> None:
        for name, value in net.everything().items():  # as batch norms are: running means around 0, some biases < 0
            if value.ndim == 1 and ("norm" in name and name.endswith(("w_1", "b_0"))):
                net.put(name, np.random.default_rng(len(name)).normal(size=value.shape) * 0.3)
            elif value.ndim > 1:
                net.put(name, value * (2 / max(1, value[0].size)) ** 0.5 / 0.4)
        with paddle.static.scope_guard(net.scope):
            UnstructuredPruner(
                net.program,
                ratio=ratio,
                pattern=Filter(axis),
                allocation=Uniform(),
                scope=net.scope,
                place=CPU,
                select=hidden,
            ).step()

    return prune


# Numbers stored and products, of what there was. Half the filters of every convolution and hidden linear layer fall:
# a quarter is left where filters leave from both sides of a layer, more where they fall apart in additions.
LEFT = {
    ("LeNet", "output"): (0.26, 0.29),
    ("LeNet", "input"): (0.51, 0.51),
    ("MobileNetV1", "output"): (0.53, 0.56),
    ("MobileNetV1", "input"): (0.37, 0.32),
    ("MobileNetV2", "output"): (0.51, 0.60),
    ("MobileNetV2", "input"): (0.49, 0.45),
    ("ResNet-18", "output"): (0.45, 0.48),
    ("ResNet-18", "input"): (0.49, 0.49),
}
SLOW = [("ResNet-18", "input"), ("MobileNetV2", "input"), ("MobileNetV1", "output")]


@pytest.mark.parametrize(
    "model, axis", [pytest.param(*case, id="-".join(case), marks=[pytest.mark.slow] * (case in SLOW)) for case in LEFT]
)
def test_models_that_the_pruner_pruned_get_smaller_and_stay_right(tmp_path, model, axis):
    make, shape = MODELS[model]
    saved = Saved(lambda x: make()(x), tmp_path, shape=shape, prune=pruned_by(axis, 0.5))
    before, dense = macs(saved.program), Path(saved.path + ".pdiparams").stat().st_size
    removal = saved.remove()
    numbers, products = LEFT[model, axis]
    assert removal.numbers_after == sum(int(np.prod(shape)) for shape in saved.shapes().values())
    assert removal.numbers_after / removal.numbers_before < numbers and macs(saved.program) / before < products
    assert Path(saved.path + "_small.pdiparams").stat().st_size / dense < numbers + 0.01


@pytest.mark.parametrize("model, align", [("LeNet", 4), ("MobileNetV1", 8)])
def test_models_keep_multiples_of_what_they_are_aligned_to(tmp_path, model, align):
    make, shape = MODELS[model]
    saved = Saved(lambda x: make()(x), tmp_path, shape=shape, prune=pruned_by("output", 0.55))
    rows = saved.remove(align_channels=align).rows
    assert all(row.after % align == 0 or row.after == row.before for row in rows)
    assert sum(row.after < row.before for row in rows) >= len(rows) // 2
    assert any(f"aligned to {align}" in row.reason for row in rows)


# -- nets by chance


def some_zeros(seed: int) -> Callable[[Net], None]:
    def prune(net: Net) -> None:
        rng = np.random.default_rng(seed)
        for name, value in sorted(net.everything().items()):
            if value.ndim > 1:
                output, inputs = (1, 0) if value.ndim == 2 else (0, 1)
                value = np.moveaxis(value / np.sqrt(value[0].size), (output, inputs), (0, 1)).copy()
                value[rng.random(len(value)) < rng.choice([0, 0.3, 0.7, 1.0], p=[0.1, 0.4, 0.4, 0.1])] = 0
                value[:, rng.random(value.shape[1]) < rng.choice([0, 0.3])] = 0
                net.put(name, np.moveaxis(value, (0, 1), (output, inputs)))
            elif name.endswith("b_0"):
                net.put(name, value * rng.choice([-1, 0, 1], size=value.shape))

    return prune


@pytest.mark.parametrize("seed", [*range(14), *(pytest.param(s, marks=pytest.mark.slow) for s in range(14, 60))])
def test_nets_by_chance_stay_right(tmp_path, seed):
    saved = Saved(chance(seed), tmp_path, shape=(2, 3, 8, 8), prune=some_zeros(seed))
    align = int(np.random.default_rng(seed).choice([1, 1, 2, 4]))
    removal = saved.remove(align_channels=align, onednn=False)  # whose passes crash on some, before removal too
    assert removal.numbers_after < removal.numbers_before
