# SPDX-License-Identifier: Apache-2.0
"""Batch norm statistics measured anew: pruning moves the activations that the old ones were taken from."""

from __future__ import annotations

from collections import Counter
from typing import Any, Iterable, Mapping

import numpy as np
import paddle

from ..arguments import instance
from ..graph.program import walk
from ..saved_model import Model
from .inputs import as_feed, batches_of

_NORMS = ("pd_op.batch_norm_", "pd_op.batch_norm", "pd_op.sync_batch_norm_")
_MEAN, _VARIANCE = 1, 2  # operands


def recalibrate(model: Model, batches: Iterable[Mapping[str, np.ndarray]]) -> int:
    """Set the running mean and variance of every batch norm to the average over some batches.

    mean = 1/K sum_k mean_k, variance = 1/K sum_k variance_k, of the K batches' own statistics, all layers in training
    mode at once; dropout stays off. For a norm inside a branch, K counts the batches that go through the branch.

    Args:
        model: An inference model; its scope is changed.
        batches: Feeds, input name -> array; cast to the inputs' dtypes.

    Returns:
        The number of batches.

    Raises:
        ValueError: There are no batches, or none for some norm; a batch that does not fit the inputs or is not finite;
            no batch norm, or one whose statistics a batch updates more than once. The scope is then as it was.
        TypeError: `batches` are no mappings.
    """
    instance("model", model, Model, rule="what `open_model` gave")
    batches = batches_of("recalibrate", batches)
    program = model.program.clone()
    norms = _norms(program)
    rates = {op.operand_source(i).name: 1.0 - op.attrs()["momentum"] for op in norms for i in (_MEAN, _VARIANCE)}
    pairs = [(op.operand_source(_MEAN).name, op.operand_source(_VARIANCE).name) for op in norms]
    graph, executor, count = model.graph, paddle.static.Executor(model.place), 0
    before = {name: graph.stored(name) for name in rates}
    sums = {name: np.zeros(array.shape, np.float64) for name, array in before.items()}
    seen = Counter({mean: 0 for mean, _ in pairs})
    try:
        for count, batch in enumerate(batches, 1):
            feed = as_feed("recalibrate", model, batch, count)
            for name, array in before.items():
                graph.store(name, np.full_like(array, -0.0))
            executor.run(program, feed=feed, scope=model.scope)
            for mean, variance in pairs:  # running = momentum * 0 + (1 - momentum) * the batch's
                if not np.signbit(graph.stored(variance)).all():  # -0.0 still where a branch was not taken
                    seen[mean] += 1
                    for name in (mean, variance):
                        sums[name] += graph.stored(name) / rates[name]
        _check_sums(count, seen, sums)
    except BaseException:
        for name, array in before.items():
            graph.store(name, array)
        raise
    for pair in pairs:
        for name in pair:
            graph.store(name, (sums[name] / seen[pair[0]]).astype(before[name].dtype))
    return count


def _norms(program: Any) -> list[Any]:
    """The batch norms of a Program, in training mode from now on."""
    norms = [op for op in walk(program.global_block()) if op.name() in _NORMS]
    if not norms:
        raise ValueError("`recalibrate` must be left out: the model has no batch norm.")
    uses = Counter(op.operand_source(_MEAN).name for op in norms)
    for op in norms:
        name = op.operand_source(_MEAN).name
        if uses[name] > 1 or _is_in_loop(program, op):
            raise ValueError(
                f"`recalibrate` must be left out: a batch updates {name} more than once, in a loop or by "
                "a norm that is used twice, and what an average over that would be is not defined."
            )
        if op.attrs()["momentum"] == 1.0:
            raise ValueError(f"`recalibrate` must be left out: {name} has momentum 1, so no batch changes it.")
        op.set_bool_attr("is_test", False)
        op.set_bool_attr("use_global_stats", False)
    return norms


def _is_in_loop(program: Any, op: Any) -> bool:
    while all(op.id() != outer.id() for outer in program.global_block().ops):
        op = op.get_parent_block().parent_op
        if op.name() == "pd_op.while":
            return True
    return False


def _check_sums(count: int, seen: Mapping[str, int], sums: Mapping[str, np.ndarray]) -> None:
    if not count:
        raise ValueError("`recalibrate` must give at least one batch of feeds, got none.")
    missed = [name for name, batches in seen.items() if not batches]
    if missed:
        raise ValueError(
            f"`recalibrate` must reach every batch norm: no batch goes through the branch of "
            f"{', '.join(missed)}; give one that does."
        )
    wrong = [name for name, total in sums.items() if not np.isfinite(total).all()]
    if wrong:
        raise ValueError(
            f"`recalibrate` must give finite statistics, but {', '.join(wrong)} would be NaN or infinite; "
            "look for NaN in the batches or the weights."
        )
