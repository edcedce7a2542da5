# SPDX-License-Identifier: Apache-2.0
"""Two linear layers, the optimizers they are trained with, and schedules: what tests of the pruner start from."""

from __future__ import annotations

from nets import Net, two_linears
from paddle import optimizer

TWO = ("linear_0.w_0", "linear_1.w_0")  # 24 + 12 weights


def sgd():
    return optimizer.SGD(0.1)


def momentum():
    return optimizer.Momentum(0.1, 0.9)


def adam():
    return optimizer.Adam(0.05)


def two(make_optimizer=momentum, **kwargs) -> Net:
    return Net(two_linears, [3, 4], make_optimizer, **kwargs)


def table(*sparsities: float):
    """A schedule written out; the last sparsity stays."""
    return lambda step: sparsities[min(step, len(sparsities) - 1)]
