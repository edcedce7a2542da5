# SPDX-License-Identifier: Apache-2.0
"""Small training Programs for the bench, each in a scope of its own, under legacy Programs and PIR alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn as nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))
from models import MobileNet, ResNet50  # noqa: E402

NETS = {  # name -> (layers, image side)
    "MobileNetV1": (lambda: MobileNet(3, 1000, strides=(2, 2, 2, 2, 2)), 64),
    "ResNet-50": (lambda: ResNet50(3, 1000, stem_stride=4), 64),
    "MobileNetV1 width 0.25": (lambda: MobileNet(3, 10, width=0.25, strides=(2, 2, 2, 2, 2)), 32),
}


def pruners(side: str) -> tuple[Any, Any]:
    """(UnstructuredPruner, GMPUnstructuredPruner): both sides take the same words."""
    if side == "slim":
        from paddleslim.prune import GMPUnstructuredPruner, UnstructuredPruner
    else:
        from paddle_unstructured import GMPUnstructuredPruner, UnstructuredPruner
    return UnstructuredPruner, GMPUnstructuredPruner


class Trainer:
    """A training Program, its scope, and a pruner: made before `minimize`, as in PaddleSlim's demo, or after it.

    Args:
        layers: Makes the layers.
        shape: Of one input, without the batch.
        classes: Of the labels; None trains the mean square of the output instead.
        pruner: Program -> pruner, or None.
        optimizer: Makes the optimizer.
        after: Make the pruner after `minimize` and the startup Program: ours wants weights that have values.
    """

    def __init__(
        self,
        layers: Callable,
        shape: tuple,
        classes: int | None,
        *,
        pruner: Callable | None = None,
        optimizer: Callable | None = None,
        after: bool = False,
        seed: int = 1,
    ) -> None:
        optimizer = optimizer or (lambda: paddle.optimizer.Momentum(0.01, 0.9, weight_decay=1e-4))
        self.scope, self.pruner, self.shape, self.classes = paddle.static.Scope(), None, shape, classes
        self.program, startup = paddle.static.Program(), paddle.static.Program()
        self.exe = paddle.static.Executor(paddle.CPUPlace())
        paddle.seed(seed)
        with paddle.static.scope_guard(self.scope):
            with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.program, startup):
                out = layers()(paddle.static.data("x", [None, *shape]))
                self.loss = self._loss(out)
                made = pruner(self.program) if pruner and not after else None
                optimizer().minimize(self.loss, no_grad_set=made.no_grad_set if made else None)
            self.exe.run(startup)
            self.pruner = pruner(self.program) if pruner and after else made
        self.feed = self._feed(1)

    def _loss(self, out: Any) -> Any:
        if self.classes is None:
            return ((out - 1.0) * (out - 1.0)).mean()
        return nn.functional.cross_entropy(out, paddle.static.data("label", [None, 1], "int64"))

    def _feed(self, batch: int) -> dict:
        random = np.random.RandomState(0)
        feed = {"x": random.standard_normal((batch, *self.shape)).astype("float32")}
        if self.classes is not None:
            feed["label"] = random.randint(0, self.classes, (batch, 1)).astype("int64")
        return feed

    def batch(self, size: int) -> Trainer:
        self.feed = self._feed(size)
        return self

    def run(self, step: bool = True) -> None:
        """One training step, and the pruner's step() after it."""
        with paddle.static.scope_guard(self.scope):
            self.exe.run(self.program, feed=self.feed, fetch_list=[self.loss])
            if step and self.pruner is not None:
                self.pruner.step()

    def call(self, name: str, *args: Any) -> Any:
        """A method of the pruner."""
        with paddle.static.scope_guard(self.scope):
            return getattr(self.pruner, name)(*args)

    def get(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def put(self, name: str, values: Any) -> None:
        self.scope.find_var(name).get_tensor().set(np.asarray(values, "float32"), paddle.CPUPlace())

    def zeros(self, *names: str) -> int:
        return sum(int((self.get(name) == 0).sum()) for name in names)

    def masked(self, *names: str) -> int:
        return sum(int((self.get(f"{name}_mask") == 0).sum()) for name in names)
