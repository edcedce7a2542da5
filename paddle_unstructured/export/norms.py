"""Batch norm statistics measured anew: pruning moves the activations that the old ones were taken from."""
from __future__ import annotations

from typing import Iterable, Mapping

import numpy as np
import paddle

from ..graph.pir import walk
from .model import Model

_NORMS = ("pd_op.batch_norm_", "pd_op.batch_norm", "pd_op.sync_batch_norm_")


def recalibrate(model: Model, batches: Iterable[Mapping[str, np.ndarray]]) -> int:
    """Set the running mean and variance of every batch norm to the average over some batches.

    mean = 1/K sum_k mean_k, variance = 1/K sum_k variance_k, of the K batches' own statistics, all layers in training
    mode at once; dropout stays off.

    Args:
        model: An inference model; its scope is changed.
        batches: Feeds, input name -> array.

    Returns:
        K.

    Raises:
        ValueError: There are no batches, or no batch norm.
    """
    program = model.program.clone()
    norms = [op for op in walk(program.global_block()) if op.name() in _NORMS]
    if not norms:
        raise ValueError("`recalibrate` must be left out: the model has no batch norm.")
    for op in norms:
        op.set_bool_attr("is_test", False)
        op.set_bool_attr("use_global_stats", False)
    rates = {op.operand_source(i).name: 1.0 - op.attrs()["momentum"] for op in norms for i in (1, 2)}
    graph, executor, count = model.graph, paddle.static.Executor(model.place), 0
    before = {name: graph.stored(name) for name in rates}
    sums = {name: np.zeros(array.shape, np.float64) for name, array in before.items()}
    try:
        for count, feed in enumerate(batches, 1):
            for name, array in before.items():
                graph.store(name, np.zeros_like(array))
            executor.run(program, feed=dict(feed), scope=model.scope)
            for name, rate in rates.items():  # running = momentum * 0 + (1 - momentum) * the batch's
                sums[name] += graph.stored(name) / rate
        if not count:
            raise ValueError("`recalibrate` must give at least one batch of feeds, got none.")
    except BaseException:
        for name, array in before.items():
            graph.store(name, array)
        raise
    for name, total in sums.items():
        graph.store(name, (total / count).astype(before[name].dtype))
    return count

