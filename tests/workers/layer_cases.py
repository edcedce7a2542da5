# SPDX-License-Identifier: Apache-2.0
"""Trainings of an nn.Layer that are run by one rank on whole batches and by two ranks on halves."""

from __future__ import annotations

import functools
from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

from paddle_unstructured import LAMP, Filter, MeanActivation, Polynomial, Saliency, UnstructuredPruner, distributed

BATCH, STEPS = 16, 10


def momentum(parameters: Any) -> Any:
    clip = nn.ClipGradByGlobalNorm(0.05)
    return paddle.optimizer.Momentum(0.05, 0.9, parameters, weight_decay=0.01, grad_clip=clip)


def adam(parameters: Any) -> Any:
    return paddle.optimizer.Adam(0.02, parameters=parameters)


ramp = Polynomial(final=0.7, initial=0.2, begin_step=1, end_step=8, updates=4)
spec = {"input_spec": [InputSpec([None, 6])]}
CASES: dict[str, tuple[Callable[[Any], Any], Callable[..., Any]]] = {  # optimizer, pruner
    "gmp": (adam, functools.partial(UnstructuredPruner, schedule=ramp)),
    "lamp": (momentum, functools.partial(UnstructuredPruner, ratio=0.6, allocation=LAMP())),
    "snip": (momentum, functools.partial(UnstructuredPruner, ratio=0.5, criterion=Saliency(batches=3))),
    "activations": (
        momentum,
        functools.partial(UnstructuredPruner, ratio=0.5, pattern=Filter(), criterion=MeanActivation(batches=3), **spec),
    ),
}


class Training:
    """A Layer, wrapped as one of several ranks where there are; this rank's share of each batch."""

    def __init__(self, case: str, wrap: Callable[[nn.Layer], Any], *, seed: int = 1) -> None:
        paddle.seed(seed)
        optimizer, pruner = CASES[case]
        with paddle.utils.unique_name.guard():
            self.model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
            self.wrapped = wrap(self.model)
            self.optimizer = optimizer(self.model.parameters())
            self.pruner = pruner(self.wrapped, optimizer=self.optimizer)

    def train(self, steps: int = STEPS, disturb: Callable[[], Any] = lambda: None) -> None:
        rank, world = distributed.rank(), distributed.world_size()
        for _ in range(steps):
            data = np.random.default_rng(self.pruner.steps).normal(size=(BATCH, 6)).astype("float32")
            share = data[rank * BATCH // world : (rank + 1) * BATCH // world]
            ((self.wrapped(paddle.to_tensor(share)) - 1.0) ** 2).mean().backward()
            self.optimizer.step()
            self.optimizer.clear_grad()
            disturb()
            self.pruner.step()

    def everything(self) -> dict[str, np.ndarray]:
        """Weights, masks and what the optimizer keeps."""
        masks = {f"{name} mask": mask for name, mask in self.pruner.state_dict()["masks"].items()}
        state = self.optimizer.state_dict().items()  # with a number behind each name that counts optimizers
        kept = {name.rpartition("_")[0]: value.numpy() for name, value in state if name.startswith("linear")}
        return {**{name: value.numpy() for name, value in self.model.state_dict().items()}, **masks, **kept}
