# SPDX-License-Identifier: Apache-2.0
"""Made inputs in the place of data: what batch norms remember of the data makes them look like it in every layer."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from ..export.recalibration import recalibrate
from ..graph.program import walk
from ..graph.values import kind_of
from ..saved_model import Model
from .reconstruct import ENOUGH, LARGEST
from .samples import portions, rows_within

_log = logging.getLogger(__name__)

_LEAST = 1e-12  # of an epsilon
_FLOOR = 0.01  # of V, for v and v': made inputs may hardly vary in a channel, and its change is not of that size then


@contextmanager
def norms_of_made_inputs(model: Model, batches: Sequence[Mapping[str, np.ndarray]]) -> Iterator[None]:
    """Let every batch norm have the statistics of made inputs, so that its outputs have those of the data of training.

    Made inputs go through a net as no data does: in deeper layers means and variances are far from the remembered
    ones, M and V, and what a weight is worth cannot be told. With the made inputs' own, m and v, every norm gives each
    channel the mean and deviation that it had in training. Where a norm has others at the end, m' and v', since layers
    before it were pruned and it was measured anew, the change is carried over:

        M' = M + (m' - m) sqrt(V / v)        V' = V v' / v

    (epsilon is part of all variances; v and v' are at least V / 100).

    Without batch norms nothing happens; nor, as a warning says, where they cannot be measured, such as one that a batch
    would update more than once. After an error they are what they were.

    Args:
        model: an inference model; its norms are changed while this lasts.
        batches: feeds.

    Source: Li et al. 2016, arXiv:1603.04779 (statistics of the inputs at hand in the place of the remembered ones).
    """
    norms = _norms(model)
    remembered = _statistics(model, norms)
    rows = max(rows_within(model, batches, LARGEST, max), ENOUGH)  # samples may be large
    try:
        recalibrate(model, portions(model, batches, rows))
    except ValueError as error:  # which has changed nothing
        if norms:
            why = str(error).removeprefix("`recalibrate` must be left out: ")
            _log.warning(
                "made inputs go through the net as no data does, since batch norms cannot be measured: %s", why
            )
        norms = []
    made = _statistics(model, norms)
    try:
        yield
    except BaseException:
        for name, array in remembered.items():
            model.graph.store(name, array)
        raise
    now = _statistics(model, norms)
    for mean, variance, epsilon in norms:
        old, was, new = (found[variance].astype(np.float64) + epsilon for found in (remembered, made, now))
        was, new = (np.maximum(each, _FLOOR * old) for each in (was, new))
        shift = (now[mean] - made[mean].astype(np.float64)) * np.sqrt(old / was)
        _store(model, mean, remembered[mean] + shift)
        _store(model, variance, np.maximum(old * new / was - epsilon, 0.0))


def _norms(model: Model) -> list[tuple[str, str, float]]:
    """Mean, variance and epsilon of each batch norm; once where several ops share them."""
    found: dict[str, tuple[str, str, float]] = {}
    for op in walk(model.program.global_block()):
        if kind_of(op) in ("batch_norm", "sync_batch_norm"):
            mean, variance = (op.operand_source(i).name for i in (1, 2))
            found[mean] = (mean, variance, max(float(op.attrs()["epsilon"]), _LEAST))
    return list(found.values())


def _statistics(model: Model, norms: Sequence[tuple[str, str, float]]) -> dict[str, np.ndarray]:
    return {name: model.graph.stored(name) for mean, variance, _ in norms for name in (mean, variance)}


def _store(model: Model, name: str, array: Any) -> None:
    model.graph.store(name, array.astype(model.graph.stored(name).dtype))
