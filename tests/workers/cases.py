# SPDX-License-Identifier: Apache-2.0
"""Trainings that are run by one rank on whole batches and by two ranks on halves."""

from __future__ import annotations

import functools
from typing import Any, Callable

import numpy as np
import paddle

from paddle_unstructured import (
    LAMP,
    Filter,
    GMPUnstructuredPruner,
    MeanActivation,
    Saliency,
    UnstructuredPruner,
    distributed,
)

BATCH, STEPS = 16, 12
Minimize = Callable[[Any, Any], Any]


def layers(x: Any) -> Any:
    """[n, 6] -> [n, 3], 6x12 + 12x8 + 8x3 weights."""
    x = paddle.tanh(paddle.nn.Linear(6, 12)(x))
    x = paddle.nn.functional.relu(paddle.nn.Linear(12, 8)(x))
    return paddle.nn.Linear(8, 3)(x)


def normed(x: Any) -> Any:
    """[n, 6] -> [n, 3] with a BatchNorm between."""
    return paddle.nn.Linear(5, 3)(paddle.nn.BatchNorm1D(5)(paddle.nn.Linear(6, 5)(x)))


def momentum() -> Any:
    return paddle.optimizer.Momentum(
        0.05, 0.9, weight_decay=paddle.regularizer.L2Decay(0.01), grad_clip=paddle.nn.ClipGradByGlobalNorm(0.05)
    )


def unclipped() -> Any:
    return paddle.optimizer.Momentum(0.05, 0.9, weight_decay=paddle.regularizer.L2Decay(0.01))


def gmp(program: Any) -> Any:
    configs = {
        "stable_iterations": 2,
        "pruning_iterations": 8,
        "tunning_iterations": 10,
        "resume_iteration": 0,
        "pruning_steps": 4,
        "initial_ratio": 0.2,
    }
    return GMPUnstructuredPruner(program, ratio=0.7, configs=configs)


ratio = functools.partial(UnstructuredPruner, ratio=0.5)
CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {  # optimizer, pruner
    "ratio": (unclipped, ratio),
    "gmp": (lambda: paddle.optimizer.Adam(0.02), gmp),
    "lamp": (momentum, functools.partial(UnstructuredPruner, ratio=0.6, allocation=LAMP())),
    "snip": (momentum, functools.partial(UnstructuredPruner, ratio=0.5, criterion=Saliency(batches=3))),
    "activations": (
        momentum,
        functools.partial(UnstructuredPruner, ratio=0.5, pattern=Filter(), criterion=MeanActivation(batches=3)),
    ),
}


class Training:
    """A Program in the current global scope, minimised and pruned; this rank's share of each batch."""

    def __init__(
        self,
        optimizer: Callable[[], Any],
        pruner: Callable[[Any], Any] | None,
        *,
        seed: int = 1,
        minimize: Minimize = distributed.minimize,
        net: Callable[[Any], Any] = layers,
    ) -> None:
        self.main, startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self.exe, self.steps = paddle.static.global_scope(), paddle.static.Executor(), 0
        paddle.seed(seed)
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, startup):
            self.loss = ((net(paddle.static.data("x", [None, 6])) - 1.0) ** 2).mean()
            minimize(optimizer(), self.loss)
        self.exe.run(startup)
        self.pruner = pruner(self.main) if pruner is not None else None

    def train(self, steps: int = STEPS) -> None:
        rank, world = distributed.rank(), distributed.world_size()
        for _ in range(steps):
            data = np.random.default_rng(self.steps).normal(size=(BATCH, 6)).astype("float32")
            share = data[rank * BATCH // world : (rank + 1) * BATCH // world]
            self.exe.run(self.main, feed={"x": share}, fetch_list=[self.loss])
            self.steps += 1
            if self.pruner is not None:
                self.pruner.step()

    def names(self) -> list[str]:
        block = self.main.global_block()
        found = [value.name for value in block.all_parameters()]
        return sorted(
            found + [op.attrs()["name"] for op in block.ops if op.name() == "pd_op.data" and op.result(0).persistable]
        )

    def get(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def put(self, name: str, array: np.ndarray) -> None:
        self.scope.find_var(name).get_tensor().set(np.ascontiguousarray(array), paddle.CPUPlace())

    def everything(self) -> dict[str, np.ndarray]:
        return {name: self.get(name) for name in self.names()}


def train(case: str, **how: Any) -> dict[str, np.ndarray]:
    """Run a case from its start to its end, in a scope of its own; every variable it leaves."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        training = Training(*CASES[case], **how)
        distributed.broadcast_state(training.main, pruner=training.pruner)
        training.train()
        return training.everything()
