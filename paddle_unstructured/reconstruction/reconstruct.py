# SPDX-License-Identifier: Apache-2.0
"""`reconstruct`: a saved model and a few hundred unlabelled inputs in, a pruned model that still works out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np
import paddle

from .. import arguments
from ..allocation import LAMP, Allocation
from ..compat.config_list import Rules
from ..export.inputs import as_feed, batches_of
from ..export.recalibration import recalibrate
from ..patterns import Pattern
from ..pruner import UnstructuredPruner
from ..reporting.table import aligned
from ..saved_model import Model, in_inference_mode
from ..selection import Select, all_weights
from .familiarity import warn_if_unfamiliar
from .layers import SolvableLayer, solvable
from .sweep import Refit, sweep

_log = logging.getLogger(__name__)

METHODS = ("reconstruct", "recalibrate", "magnitude")
_HELD = 4  # every fourth input is held back to judge on


@dataclass(frozen=True)
class Reconstruction:
    """A model pruned without training; prints as a table.

    Attributes:
        model: the pruned model.
        pruner: its masks, to export with or to go on training from.
        rows: what became of each layer, in the order of execution.
        agreement: part of held-back inputs whose largest output is that of the dense net; None where outputs are not
            [n, answers].
        error: |outputs - dense outputs| / |dense outputs| on held-back inputs, in the Euclidean norm.
        recalibrated: whether batch norms were measured anew.
    """

    model: Model
    pruner: UnstructuredPruner
    rows: tuple[Refit, ...]
    agreement: float | None
    error: float
    recalibrated: bool

    def __str__(self) -> str:
        def part(value: float | None) -> str:
            return "" if value is None else f"{value:.4f}"

        cells = [
            (r.name, f"{r.weights}", f"{r.zeros / r.weights:.4f}", part(r.before), part(r.after), r.note)
            for r in self.rows
        ]
        table = aligned(
            ("name", "weights", "sparsity", "error by magnitude", "error now", "note"), cells, numbers=(1, 2, 3, 4)
        )
        same = "" if self.agreement is None else f"; first answers that agree with the dense net: {self.agreement:.4f}"
        above = f"{table}\n\n" if self.rows else ""  # by magnitude no layer is solved for
        return f"{above}on held-back inputs: relative error of the outputs {self.error:.4f}{same}"


def reconstruct(
    model: Model,
    data: Iterable[Mapping[str, np.ndarray]],
    *,
    ratio: float | None = None,
    pattern: Pattern | str | None = None,
    allocation: Allocation | None = None,
    select: Select = all_weights,
    rules: Rules | None = None,
    method: str = "reconstruct",
    seed: int = 0,
    told: Callable[[Refit], None] = lambda row: None,
) -> Reconstruction:
    """Prune an inference model without training, so that its layers' outputs change as little as they can.

    Magnitudes and the allocation say how many weights each layer loses. Then, layer after layer, mask and weights are
    found that minimise |W X - W' X'|² on the inputs: X as the layer sees them in the dense net, X' in the net pruned so
    far. A quarter of the inputs is held back; where the refit does not help on these, the layer stays as it was.

    Args:
        model: an inference model of `open_model`; its weights are changed, and dropout is taken out of its Program.
        data: batches, input name -> array [n, ...], without labels; 128 to 512 samples.
        ratio: part of the selected weights to prune, in [0, 1]; n:m patterns bring their own.
        pattern: what falls together; "2:4", "1x4" or a pattern. Default: single weights.
        allocation: who competes for the budget. Default: `LAMP()`.
        select: param -> bool: which weights to prune.
        rules: which layer is pruned how, as `UnstructuredPruner` takes them, instead of pattern and allocation.
        method: "reconstruct"; "recalibrate": magnitudes, then batch norms measured anew; "magnitude".
        seed: of the positions of images that are looked at.
        told: called with the row of each layer when it is done.

    Returns:
        The pruned model with what was measured on held-back inputs.

    Raises:
        ValueError: No data, data that does not fit the model or is not finite; what `UnstructuredPruner` refuses.

    Source: Frantar et al. 2022, arXiv:2208.11580 (layer-wise pruning by Optimal Brain Surgeon); Meng et al. 2024,
        arXiv:2406.07831; Li et al. 2025 (GPTAQ: targets from the dense net's own inputs).
    """
    method = arguments.one_of("method", method, METHODS)
    model = in_inference_mode(model)
    solved, held = _split(model, data)
    warn_if_unfamiliar(model.graph, solved)
    dense, expected = _copy(model), [model.run(**batch) for batch in held]
    if allocation is None and rules is None and (ratio is not None):
        allocation = LAMP()  # an n:m pattern without a ratio means the same sparsity for every layer
    words: dict[str, Any] = {
        "ratio": ratio,
        "pattern": pattern,
        "allocation": allocation,
        "select": select,
        "rules": rules,
    }
    given = {name: value for name, value in words.items() if value is not None}
    pruner = UnstructuredPruner(model.program, scope=model.scope, place=model.place, **given)
    pruner.step()
    rows: list[Refit] = []
    if method == "reconstruct":
        rows = _reconstructed(model, dense, pruner, solved, held, seed, told)
    again = method != "magnitude" and _recalibrated(model, solved, held, expected, must=method == "recalibrate")
    pruner.update_params()
    outputs = [model.run(**batch) for batch in held]
    return Reconstruction(model, pruner, tuple(rows), _agreement(expected, outputs), _error(expected, outputs), again)


def _reconstructed(
    model: Model,
    dense: Any,
    pruner: UnstructuredPruner,
    solved: Sequence[Mapping[str, np.ndarray]],
    held: Sequence[Mapping[str, np.ndarray]],
    seed: int,
    told: Callable[[Refit], None],
) -> list[Refit]:
    graph, chosen, left = model.graph, [], []
    for pruned in pruner.layers:
        layer = solvable(graph, pruned.param)
        if isinstance(layer, SolvableLayer):
            chosen.append((pruned, layer))
        else:
            left.append(
                Refit(pruned.param.name, pruned.param.size, pruner.pruned_by_layer()[pruned.param.name], note=layer)
            )
    batches = [(batch, False) for batch in solved] + [(batch, True) for batch in held]
    return sweep(graph, dense, chosen, batches, seed=seed, told=told) + left


def _split(model: Model, data: Any) -> tuple[list[Mapping[str, np.ndarray]], list[Mapping[str, np.ndarray]]]:
    """Batches to solve on, and batches that are held back: every fourth sample, or every fourth batch of fixed size."""
    is_open = all(value.shape[0] < 0 for value in model.inputs.values())
    solved: list[Mapping[str, np.ndarray]] = []
    held: list[Mapping[str, np.ndarray]] = []
    for count, given in enumerate(batches_of("data", data), 1):
        batch = as_feed("data", model, given, count)
        wrong = [name for name, array in batch.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if wrong:
            raise ValueError(f"`data` must be finite, but {wrong[0]} has NaN or infinity in batch {count}.")
        if not is_open:
            (held if count % _HELD == 0 else solved).append(batch)
            continue
        back = np.arange(min(len(array) for array in batch.values())) % _HELD == _HELD - 1
        for chosen, where in ((~back, solved), (back, held)):
            if chosen.any():
                where.append({name: np.ascontiguousarray(array[chosen]) for name, array in batch.items()})
    if not solved or not held:
        raise ValueError(
            f"`data` must have at least {_HELD} {'samples' if is_open else 'batches'}; 128 to 512 samples are usual."
        )
    return solved, held


def _copy(model: Model) -> Any:
    """A scope with the weights as they are now."""
    scope = paddle.static.Scope()
    for name in model.param_names:
        scope.var(name).get_tensor().set(model.graph.stored(name), model.place)
    return scope


def _recalibrated(
    model: Model,
    solved: Sequence[Mapping[str, np.ndarray]],
    held: Sequence[Mapping[str, np.ndarray]],
    expected: Sequence[Sequence[np.ndarray]],
    *,
    must: bool,
) -> bool:
    """Measure batch norms anew, if there are any and, unless it must be, if held-back outputs are nearer then."""
    names = [p.name for p in model.graph.params() if p.role in ("norm mean", "norm variance")]
    if not names:
        return False
    before = {name: model.graph.stored(name) for name in names}
    error = _error(expected, [model.run(**batch) for batch in held])
    try:
        recalibrate(model, solved)
    except ValueError:
        if must:
            raise
        return False
    if must or _error(expected, [model.run(**batch) for batch in held]) < error:
        return True
    for name, array in before.items():
        model.graph.store(name, array)
    return False


def _error(expected: Sequence[Sequence[np.ndarray]], outputs: Sequence[Sequence[np.ndarray]]) -> float:
    pairs = [(a.astype(np.float64), b) for one, other in zip(expected, outputs) for a, b in zip(one, other)]
    of = sum(float(np.square(a).sum()) for a, _ in pairs)
    return float(np.sqrt(sum(float(np.square(a - b).sum()) for a, b in pairs) / max(of, 1e-30)))


def _agreement(expected: Sequence[Sequence[np.ndarray]], outputs: Sequence[Sequence[np.ndarray]]) -> float | None:
    pairs = [(one[0], other[0]) for one, other in zip(expected, outputs)]
    if any(a.ndim != 2 or a.shape[1] < 2 for a, _ in pairs):
        return None
    same = np.concatenate([a.argmax(1) == b.argmax(1) for a, b in pairs])
    return float(same.mean())
