# SPDX-License-Identifier: Apache-2.0
"""Prune one layer at a time, ask for the score, and give the layer its weights back."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import replace
from itertools import groupby
from math import isfinite
from typing import Any, Callable, Iterable, Iterator, Sequence, Union

import numpy as np
import paddle

from .. import arguments
from ..allocation import Quota, by_rank
from ..arguments import StrPath, flag, fraction, function, name_of, names, wrong_kind
from ..compat.paddleslim import to_criterion, to_pattern, to_select
from ..criteria import Criterion, as_watching, magnitude, scores, source_of
from ..graph import Graph, Param, open_any
from ..graph.in_place import mask_
from ..masking.plan import information
from ..masking.update import PrunedLayer, as_scored, is_sound
from ..patterns import Element, Pattern
from ..reporting.report import check_initialized
from ..selection import Select, judge
from .table import SensitivityRow, SensitivityTable, resumed

SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

_log = logging.getLogger(__name__)


def sensitivity(
    program: Any,
    evaluate: Callable[[], float],
    sparsities: Sequence[float] = SPARSITIES,
    params: Sequence[Union[str, Param]] | None = None,
    *,
    scope: Any = None,
    place: Any = None,
    criterion: Criterion = magnitude,
    pattern: Pattern | str = Element(),
    select: Select | None = None,
    path: StrPath | None = None,
    progress: bool = True,
    input_spec: Sequence[Any] | None = None,
) -> SensitivityTable:
    """Measure how the score drops when one layer at a time is pruned to each sparsity.

    The cut is the pruner's: the lowest scored round(sparsity * n) of the layer's n stored weights fall, on the device.
    After each measurement the layer gets its weights back bit for bit, also when `evaluate` raises or the user presses
    Ctrl-C.

    Args:
        program: A PIR Program, training or inference, with or without a pruner; it is not changed. Or an nn.Layer.
        evaluate: () -> score of the weights in the scope, higher = better; the same weights should score the same. It
            must not train.
        sparsities: Each in (0, 1].
        params: Params, or their names. Default: every weight that the pattern does not leave alone.
        scope: scope that holds the weights; default: the global scope.
        place: The device. Default: Paddle's current one.
        criterion: weight -> score of a weight; not one that looks at gradients or outputs.
        pattern: shape of what falls together; also in words, "2:4".
        select: rule instead of `params`: Param -> bool, or (bool, reason).
        path: A file that gets the table after every measurement. If it is there already, only what it lacks is
            measured: the rest of an interrupted analysis, or further sparsities.
        progress: Show a bar, if tqdm is installed.
        input_spec: InputSpecs of a Layer's inputs, to trace it with; see `UnstructuredPruner`.

    Raises:
        ValueError: A value out of range, or more than the pattern can take; nothing to analyse; weights without a
            value; a score that is not a finite number; an `evaluate` that trains; a file of other weights, params,
            criterion or pattern, or with sparsities that are not asked for.
        TypeError: Something that is not a Program, scope or function.

    Example:
        >>> table = sensitivity(program, accuracy, path="sensitivity.json")  # doctest: +SKIP
        >>> allocate_by_sensitivity(table, target=0.75)  # doctest: +SKIP
        {'conv2d_0.w_0': 0.41, 'conv2d_1.w_0': 0.78}

    Source: Li et al. 2017, arXiv:1608.08710, prune layer by layer to see which are sensitive; Han et al. 2015,
        arXiv:1506.02626, choose each layer's sparsity by such curves.
    """
    function("evaluate", evaluate, rule="a function () -> score")
    progress = flag("progress", progress)
    asked = _rising(sparsities)
    file = None if path is None else arguments.path("path", path)
    graph = open_any(program, scope, place, input_spec=input_spec)
    layers = _layers(graph, params, select, to_criterion(criterion), to_pattern(None, pattern))
    _check_limits(layers, asked[-1])
    table = _begun(graph, layers, evaluate, asked, file)
    done = {(row.param, row.sparsity) for row in table.rows}
    due = [(layer, sparsity) for layer in layers for sparsity in asked if (layer.param.name, sparsity) not in done]
    for layer, steps in groupby(_with_bar(due, len(done), progress), key=lambda step: step[0]):
        for _, sparsity in steps:
            score, pruned = _measured(graph, layer, sparsity, evaluate)
            table = table.with_row(SensitivityRow(layer.param.name, sparsity, score, table.dense - score, pruned))
            if path is not None:
                table.save(path)
    if all(row.drop == 0.0 for row in table.rows):
        _log.warning("no layer changes the score at any sparsity; does `evaluate` read the weights of this scope?")
    return table


# -- what is asked and refused first


def _rising(sparsities: Sequence[float]) -> list[float]:
    try:
        given = list(sparsities)
    except Exception:
        raise wrong_kind("sparsities", "fractions in (0, 1]", sparsities) from None
    asked = sorted({fraction("sparsities", each) for each in given})
    if not asked or asked[0] == 0.0:
        raise ValueError(
            f"`sparsities` must be fractions in (0, 1], got {list(sparsities)}; the dense score is "
            "measured in any case."
        )
    return asked


def _layers(
    graph: Graph,
    params: Sequence[Union[str, Param]] | None,
    select: Select | None,
    criterion: Criterion,
    pattern: Pattern,
) -> list[PrunedLayer]:
    """The layers to analyse, in the order of the Program."""
    if as_watching(criterion) is not None:
        raise ValueError(
            f"`criterion` {criterion!r} needs the layer's {source_of(criterion)}, and only a training run gathers "
            "those; choose another."
        )
    chosen = _chosen(graph, params, select, pattern)
    check_initialized(graph, chosen)
    return [PrunedLayer(param, criterion, pattern, information(graph, param, criterion)) for param in chosen]


def _chosen(
    graph: Graph, params: Sequence[Union[str, Param]] | None, select: Select | None, pattern: Pattern
) -> list[Param]:
    if params is not None and select is not None:
        raise ValueError("`params` and `select` both say which layers; give one of them.")
    wanted = None if params is None else set(names("params", params, of=Param, rule="a sequence of names"))
    verdicts = [v for v in judge(graph.params(), to_select(None, select)) if wanted is None or v.param.name in wanted]
    why_not = {v.param.name: pattern.check(v.param) if v.pruned else v.reason for v in verdicts}
    chosen = [v.param for v in verdicts if why_not[v.param.name] is None]
    missing = sorted((wanted or set()) - {param.name for param in chosen})
    if missing:
        faults = ", ".join(f"{name} ({why_not.get(name, 'not in the Program')})" for name in missing)
        raise ValueError(f"`params` must name weights that can be pruned, got {faults}.")
    if not chosen:
        raise ValueError("`params` or `select` must leave a weight, got none: nothing to analyse.")
    return chosen


def _check_limits(layers: Sequence[PrunedLayer], highest: float) -> None:
    for layer in layers:
        param, limit = layer.param, layer.pattern.limit(layer.param)
        if round(highest * param.size) > limit:
            raise ValueError(
                f"`sparsities` must be <= {limit / param.size:g}, the most that {layer.pattern!r} can "
                f"take from {param.name}, got {highest:g}."
            )


# -- a table to begin with


def _begun(
    graph: Graph,
    layers: Sequence[PrunedLayer],
    evaluate: Callable[[], float],
    asked: list[float],
    path: StrPath | None,
) -> SensitivityTable:
    """The table in the file, or a new one with the dense score."""
    criterion, digest, before = layers[0].criterion, hashlib.sha256(), dict[str, bytes]()
    for name, data in _bytes_of(graph, layers):
        digest.update(data)
        before[name] = hashlib.sha256(data).digest()
    table = SensitivityTable(
        float("nan"),
        {layer.param.name: layer.param.size for layer in layers},
        (),
        name_of(criterion),
        repr(layers[0].pattern),
        digest.hexdigest(),
    )
    if path is not None and os.path.exists(path):
        return resumed(path, table, asked)
    table = replace(table, dense=_score(evaluate, "the weights as they are"))
    changed = [name for name, data in _bytes_of(graph, layers) if hashlib.sha256(data).digest() != before[name]]
    if changed:
        raise ValueError(
            f"`evaluate` must not train, and has changed {', '.join(changed[:3])}{', ...' * (len(changed) > 3)}; let "
            "it run a Program without an optimizer, which `test_program` makes, and load the weights anew."
        )
    if path is not None:
        table.save(path)
    return table


def _bytes_of(graph: Graph, layers: Sequence[PrunedLayer]) -> Iterator[tuple[str, memoryview]]:
    for layer in layers:
        yield layer.param.name, np.ascontiguousarray(graph.stored(layer.param.name)).data


# -- measuring


def _measured(graph: Graph, layer: PrunedLayer, sparsity: float, evaluate: Callable[[], float]) -> tuple[float, int]:
    """Score with the layer pruned, and the weights that fell; the weights are as before, whatever happens."""
    param = layer.param
    saved = graph.stored(param.name)
    try:
        pruned = _prune(graph, layer, round(sparsity * param.size))
        return _score(evaluate, f"{param.name} at sparsity {sparsity:g}"), pruned
    finally:
        graph.store(param.name, saved)


def _prune(graph: Graph, layer: PrunedLayer, total: int) -> int:
    """Prune `total` weights of one param; what a mask in the Program holds at zero counts first."""
    param, pattern, masks = layer.param, layer.pattern, graph.declared_masks([layer.param])
    others = [layer.information()] if layer.information else []
    with graph.tensors([param.name, *masks, *others]) as tensors:
        weight = as_scored(tensors[param.name])
        mask = as_scored(tensors[masks[0]]) if masks else paddle.ones_like(weight)
        score = scores(layer.criterion, weight, param, tensors[others[0]] if others else None)
        if not is_sound(weight, score):
            raise ValueError(
                f"NaN or infinity in the weights of {param.name}, or NaN in their scores; nothing can be ranked."
            )
        alone = np.array([total], "int64")
        decision = by_rank(
            [pattern.units(score, param, mask)],
            [pattern.alive(mask, param)],
            [pattern.size(param)],
            Quota(total, alone, alone),
        )
        mask_(tensors[param.name], pattern.spread(decision.keep[0], param))
        return int(decision.pruned.numpy()[0])


def _score(evaluate: Callable[[], float], where: str) -> float:
    answer = evaluate()
    try:
        score = np.asarray(answer)
    except Exception:  # of any kind that an object's own `__array__` raises
        score = np.empty(0)
    if score.size != 1 or score.dtype.kind not in "fiub" or not isfinite(score.item()):
        raise ValueError(f"`evaluate` must return a finite number, got {arguments.shown(answer)} for {where}.")
    return float(score.item())


def _with_bar(due: list[Any], done: int, progress: bool) -> Iterable[Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        return due
    bar: Iterable[Any] = tqdm(
        due, "sensitivity", initial=done, total=done + len(due), unit="score", disable=not progress
    )
    return bar
