# SPDX-License-Identifier: Apache-2.0
"""One state on every rank: weights, optimizer and masks broadcast and compared, running statistics averaged."""

from __future__ import annotations

import logging
import weakref
import zlib
from typing import Any

import numpy as np
import paddle

from ..arguments import part
from ..distributed import watch
from ..graph import Graph, LayerGraph, is_gathered, open_any
from ..graph.base import is_range
from ..reporting.report import STATISTICS
from .checksum import checksum
from .collectives import average, exchange, from_rank_0, maximum_over_ranks, share
from .ranks import adopt, check_joined, rank, world_size

_log = logging.getLogger(__name__)
_statistics_of: weakref.WeakKeyDictionary[Graph, list[str]] = weakref.WeakKeyDictionary()  # roles take time to find


def broadcast_state(program: Any = None, scope: Any = None, *, pruner: Any = None) -> None:
    """Give all ranks rank 0's state: every persistable variable of the Program, that is weights, what the optimizer
    keeps, running statistics and masks.

    To be called before the first step, and after rank 0 has loaded a checkpoint.

    Args:
        program: The training Program. Default: the default main Program. Or an nn.Layer, with what the
            optimizers keep that a pruner watches.
        scope: scope that holds its variables; default: the pruner's, else the global scope.
        pruner: pruner whose progress is rank 0's too afterwards.

    Raises:
        ValueError: A variable has no value on this rank; or another rank has another Program.

    Example:
        >>> exe.run(startup)  # doctest: +SKIP
        >>> if rank() == 0 and resumed:  # doctest: +SKIP
        ...     paddle.static.load(main, "model"); pruner.load("model.pruner")
        >>> broadcast_state(main, pruner=pruner)  # doctest: +SKIP
    """
    if pruner is not None:
        part("pruner", pruner, ["state_dict", "load_state_dict"], rule="a pruner or None")
    graph = _open(program, scope if scope is not None or pruner is None else pruner.scope)
    if world_size() == 1:
        _check_alike(graph)
        return
    if pruner is not None:  # first, since what criteria gather changes the Program
        state = share(pruner.state_dict() if rank() == 0 else None)
        if rank() > 0:
            pruner.load_state_dict(state)
    _check_alike(graph)
    _broadcast(graph)


def average_statistics(program: Any = None, scope: Any = None) -> None:
    """Set the running means and variances of norms, and the ranges of activations, to their mean over the ranks.

    Each rank has seen other batches. To be called at the end of an epoch, before testing and saving; all ranks then
    test, save and go on with the same numbers.

    Args:
        program: The training Program. Default: the default main Program. Or an nn.Layer.
        scope: scope that holds its variables; default: the global scope.

    Raises:
        ValueError: A variable has no value on this rank; or another rank has another Program.
    """
    graph = _open(program, scope)
    _check_alike(graph)
    names = _statistics(graph)
    if not names or world_size() == 1:
        return

    with graph.tensors(names) as tensors:
        for name, mean in zip(names, average([tensors[name] for name in names])):
            paddle.assign(mean, output=tensors[name])


def same_everywhere(program: Any = None, scope: Any = None) -> bool:
    """Whether weights, masks and the optimizer's state have the same bits on all ranks; a warning names the first that
    differs. Running statistics of norms are not compared: they are each rank's own until `average_statistics`.

    Args:
        program: The training Program. Default: the default main Program. Or an nn.Layer.
        scope: scope that holds its variables; default: the global scope.

    Returns:
        The same answer on every rank; True with one rank.

    Raises:
        ValueError: A variable has no value on this rank; or another rank has another Program.
    """
    graph = _open(program, scope)
    _check_alike(graph)
    differing = _differing(graph)
    if differing:
        _log.warning("%s", _difference(differing))
    return not differing


def synchronize(graph: Graph) -> None:
    """Compare the state over the ranks; if it differs, warn, and give all of them rank 0's. Free with one rank."""
    differing = _differing(graph)
    if differing:
        _log.warning("%s; all go on with rank 0's weights, masks and optimizer state", _difference(differing))
        _broadcast(graph)


def _open(program: Any, scope: Any) -> Graph:
    if isinstance(program, paddle.nn.Layer):
        adopt()
    check_joined()
    return open_any(paddle.static.default_main_program() if program is None else program, scope)


def _variables(graph: Graph) -> dict[str, Any]:
    """What is one state on all ranks, by name: all but what criteria gather."""
    return {name: value for name, value in graph.persistables().items() if not is_gathered(name)}


def _check_alike(graph: Graph) -> None:
    """A collective over different variables would hang, or mix them up."""
    variables = _variables(graph)
    missing = sorted(name for name in variables if not graph.is_initialized(name))
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(variables)} variables of the Program have no value in the scope, "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''} among them; run the startup "
            "Program first, or give the `scope` that holds them."
        )
    if world_size() == 1:
        return
    mine = [f"{name} {list(value.shape)} {value.dtype}" for name, value in sorted(variables.items())]
    digest = zlib.crc32("\n".join(mine).encode())
    if not _extremes_agree(np.array([digest], "int64")).all():
        theirs = share(mine)
        foreign = sorted(set(mine) ^ set(theirs))
        if foreign:
            raise ValueError(
                f"rank {rank()} has another {_kind(graph)} than rank 0: {len(foreign)} variables differ, "
                f"{foreign[0]} first; build the same one on every rank, under the same names."
            )


def _kind(graph: Graph) -> str:
    return "model" if isinstance(graph, LayerGraph) else "Program"


def _broadcast(graph: Graph) -> None:
    names = sorted(_variables(graph))
    with graph.tensors(names) as tensors:
        for name in names:
            from_rank_0(tensors[name])


def _statistics(graph: Graph) -> list[str]:
    if graph not in _statistics_of:
        ranges = filter(is_range, graph.persistables())  # of quantization-aware training
        _statistics_of[graph] = sorted([*(p.name for p in graph.params() if p.role in STATISTICS), *ranges])
    return _statistics_of[graph]


def _differing(graph: Graph) -> list[str]:
    """Names of the variables that differ over the ranks and should not; the same list on every rank."""
    if world_size() == 1:
        return []
    own = set(_statistics(graph))
    names = sorted(name for name in _variables(graph) if name not in own)
    with graph.tensors(names) as tensors:
        sums = np.array([checksum(tensors[name]) for name in names], "uint64").view("int64")
    return [name for name, same in zip(names, _extremes_agree(sums)) if not same]


def _extremes_agree(values: np.ndarray) -> np.ndarray:
    """Whether each number is the same on all ranks: max(v) = min(v), where min(v) = ~max(~v); in one collective."""
    highest, lowest = np.split(exchange(np.concatenate([values, ~values]), maximum_over_ranks), 2)
    return np.asarray(highest == ~lowest)


def _difference(differing: list[str]) -> str:
    return (
        f"{differing[0]} and {len(differing) - 1} more variables differ between ranks after step {watch.step()}"
        if len(differing) > 1
        else f"{differing[0]} differs between ranks after step {watch.step()}"
    )
