# SPDX-License-Identifier: Apache-2.0
"""`reconstruct`: a saved model and a few hundred unlabelled inputs in, a pruned model that still works out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Iterable, Mapping, Sequence

import numpy as np
import paddle

from .. import arguments
from ..allocation import LAMP, Allocation, FittedAllocation, OfModel
from ..compat.config_list import Rules
from ..export.recalibration import recalibrate
from ..masking.update import PrunedLayer
from ..patterns import Pattern
from ..pruner import UnstructuredPruner
from ..reporting.table import aligned
from ..saved_model import Model
from ..selection import Select, all_weights
from .answers import agreement, relative
from .damage import Damage
from .familiarity import warn_if_unfamiliar
from .layers import SolvableLayer, solvable
from .recurrent import recurrent
from .refine import affordable, refine
from .rounding import levels
from .samples import Feed, of, portions, rows_within, shifted, split
from .spill import Spill, let_go, trim, trimmed
from .subject import Subject, subject
from .sweep import Refit, Told, sweep
from .worth import Worth, worth_of

_log = logging.getLogger(__name__)

LARGEST = 8e6  # bytes of one value of the net, where fewer samples at a time make it so: several live at once
ENOUGH = 8  # samples whose variance is near that of all
_CONSTANTS = ("bias", "norm scale", "norm bias")
_LAYERS, _TOGETHER = 0.5, 0.8  # of the work: about the part that is done when layers are, and when weights have moved
METHODS = ("reconstruct", "recalibrate", "magnitude")


@dataclass(frozen=True)
class Reconstruction:
    """A model pruned without training; prints as a table.

    Attributes:
        model: the pruned model.
        pruner: its masks, to export with or to go on training from.
        rows: what became of each layer, in the order of execution.
        agreement: part of held-back inputs whose largest output is that of the dense net; None where outputs are not
            [n, answers].
        error: |outputs - dense outputs| / |dense outputs| on held-back inputs, in the Euclidean norm; outputs of
            another shape than the dense net's, such as fewer boxes, count as zeros.
        recalibrated: whether batch norms were measured anew.
        refined: steps in which all weights that stay were moved together; 0 if that did not help.
        budget: of an allocation by time: what each layer was given, predicted and measured; prints as a table.
    """

    model: Model
    pruner: UnstructuredPruner
    rows: tuple[Refit, ...]
    agreement: float | None
    error: float
    recalibrated: bool
    refined: int = 0
    budget: FittedAllocation | None = None

    def __str__(self) -> str:
        def part(value: float | None) -> str:
            return "" if value is None else f"{value:.4f}"

        head = ["name", "weights", "sparsity", "error by magnitude", "error now", "note"]
        cells = [
            [r.name, f"{r.weights}", f"{r.zeros / r.weights:.4f}", part(r.before), part(r.after), r.note]
            for r in self.rows
        ]
        if any(row.rounded is not None for row in self.rows):
            head[5:5] = ["+ rounding to nearest", "+ rounding"]
            for row, cell in zip(self.rows, cells):
                cell[5:5] = ["" if value is None else f"{value:.1e}" for value in (row.nearest, row.rounded)]
        table = aligned(head, cells, numbers=tuple(range(1, len(head) - 1)))
        same = "" if self.agreement is None else f"; first answers that agree with the dense net: {self.agreement:.4f}"
        above = f"{table}\n\n" if self.rows else ""  # by magnitude no layer is solved for
        below = "" if self.budget is None else f"\n\n{self.budget}"
        return f"{above}on held-back inputs: relative error of the outputs {self.error:.4f}{same}{below}"


def reconstruct(
    model: Any,
    data: Iterable[Mapping[str, np.ndarray]],
    *,
    ratio: float | None = None,
    pattern: Pattern | str | None = None,
    allocation: Allocation | OfModel | None = None,
    select: Select = all_weights,
    rules: Rules | None = None,
    method: str = "reconstruct",
    seed: int = 0,
    memory: float = 0.25,
    bits: int | None = None,
    steps: int | None = None,
    told: Told = lambda row, done: None,
    fetch: Sequence[Any] | None = None,
    scope: Any = None,
    place: Any = None,
    input_spec: Sequence[Any] | None = None,
) -> Reconstruction:
    """Prune a model without training, so that its layers' outputs change as little as they can.

    Magnitudes and the allocation say how many weights each layer loses. Then, layer after layer, mask and weights are
    found that minimise |W X - W' X'|² on the inputs: X as the layer sees them in the dense net, X' in the net pruned so
    far. One input of eight is held back; where the refit does not help on these, the layer stays as it was.

    Args:
        model: what `open_model` gave, or the path of a saved model; a static Program; or an nn.Layer. Its weights and
            biases are changed, and running statistics; if anything fails, none of them.
        data: batches, input name -> array [n, ...], without labels; 128 to 512 samples. Inputs of an nn.Layer have
            the names of `input_spec`, or `x0`, `x1` and so on as Paddle calls them.
        ratio: part of the selected weights to prune, in [0, 1]; n:m patterns bring their own.
        pattern: what falls together; "2:4", "1x4" or a pattern. Default: single weights.
        allocation: who competes for the budget, default `LAMP()`; or a `Budget` in milliseconds, instead of a ratio.
        select: param -> bool: which weights to prune.
        rules: which layer is pruned how, as `UnstructuredPruner` takes them, instead of pattern and allocation.
        method: "reconstruct"; "recalibrate": magnitudes, then batch norms measured anew; "magnitude".
        seed: of the positions of images that are looked at.
        memory: GB of inputs and activations that are kept in memory; further ones wait in files without a name.
        bits: round weights to that many bits, 2 to 8, so that each makes up for what rounding takes from others: they
            stay float32, on a grid that int8 finds exact. Default: they are not rounded.
        steps: of moving all weights that stay together, towards the dense net's answers, after the layers are solved
            and before weights are rounded; default: 2000, fewer where these would take more than some minutes, none
            where not even 50 can be made.
        told: called with the row of each layer when it is done, and the part of the work that is done, in (0, 1]; then
            after each step with a row "all together".
        fetch: of a Program that is no saved model: values of it that are to stay as they are, such as [logits].
        scope, place: of a Program: where its weights are, and the device. Default: Paddle's own.
        input_spec: of an nn.Layer: an InputSpec for each input.

    Returns:
        The pruned model with what was measured on held-back inputs. Its pruner is one of what was given: training can
        go on from it, or from another pruner of the same Program or Layer, since what is pruned stays pruned.

    Raises:
        ValueError: No data, data that does not fit the model or is not finite; `steps` or `bits` where they would do
            nothing; what `UnstructuredPruner` refuses.
        TypeError: Something that is none of these models.

    Example:
        >>> done = reconstruct("model", batches, ratio=0.5, pattern="1x4")  # doctest: +SKIP
        >>> print(done)  # doctest: +SKIP

    Source: Frantar et al. 2022, arXiv:2208.11580 (layer-wise pruning by Optimal Brain Surgeon); Meng et al. 2024,
        arXiv:2406.07831; Li et al. 2025, arXiv:2504.02692 (GPTAQ: targets from the dense net's own inputs).
    """
    method = arguments.one_of("method", method, METHODS)
    limit = 1e9 * arguments.number("memory", memory, above=0.0)
    steps = None if steps is None else arguments.whole("steps", steps, least=0)
    most = None if bits is None else levels(arguments.whole("bits", bits, least=2, most=8))
    for word, value in (("bits", bits), ("steps", steps)):
        if value and method != "reconstruct":
            raise ValueError(f'`{word}` must be left out with `method="{method}"`, which solves nothing, got {value}.')
    whose = subject(model, fetch=fetch, scope=scope, place=place, input_spec=input_spec)
    with whose.computing():
        spill = Spill(0.25 * limit)
        batches = [(spill.kept(feed), part) for feed, part in split(whose.model, data)]
        rows = rows_within(whose.model, [feed for feed, _ in batches], LARGEST, max)
        few = [(feed, part) for whole, part in batches for feed in portions(whose.model, [whole], rows)]
        seen, held = of(few, "fit", "choose"), of(few, "judge")
        warn_if_unfamiliar(whose.model.graph, seen)
        dense, expected = _copy(whose.model), _answers(whose.model, held)
        worth = _worth(whose.model, seen, seed) if method == "reconstruct" else {}
        if method != "reconstruct":
            steps = 0
        elif steps is None:
            steps = _steps(whose.model, seen[0])
    fit = None
    if isinstance(allocation, OfModel):
        if ratio is not None or rules is not None:
            raise ValueError(f"{allocation} says how much is pruned; leave out `ratio` and `rules`.")
        with whose.computing():
            fit = allocation.fitted(whose.model, batches, pattern=pattern, select=select, seed=seed)
        allocation = fit = fit.named({param: whose.name(param) for param in whose.model.param_names})
    if allocation is None and rules is None and ratio is not None:
        allocation = LAMP()  # an n:m pattern without a ratio means the same sparsity for every layer
    criterion = None if rules is not None or fit is not None or not worth else Damage(whose.owners(worth))
    words = {
        "criterion": criterion,
        "ratio": ratio,
        "pattern": pattern,
        "allocation": allocation,
        "select": select,
        "rules": rules,
    }
    with whose.whole_or_not_at_all(dense):
        pruner = whose.pruner(**{name: value for name, value in words.items() if value is not None})
        pruner.step()
        layers, found = whose.take(pruner), list[Refit]()
        trim()
        with whose.computing():
            later = most is not None and steps > 0  # weights on a grid cannot be moved
            ends = (0.0, _LAYERS, _TOGETHER if later else 1.0, 1.0) if steps else (0.0, 1.0, 1.0, 1.0)
            ways = [_between(told, low, high) for low, high in zip(ends, ends[1:])]
            known: dict[str, Any] = {"batches": few, "worth": worth, "seed": seed, "memory": 0.75 * limit}
            if method == "reconstruct":
                found = _reconstructed(whose, dense, layers, told=ways[0], most=None if later else most, **known)
            many = trimmed(portions(whose.model, of(batches, "fit", "choose"), max(rows, ENOUGH)))
            again = method != "magnitude" and _recalibrated(
                whose.model, many, held, expected, must=method == "recalibrate"
            )
            refined = steps if steps and _refined(whose, dense, layers, seen, held, steps, seed, ways[1]) else 0
            if later:
                rounded = _reconstructed(
                    whose, _copy(whose.model), layers, told=ways[2], most=most, fixed=True, **known
                )
                found = [replace(row, nearest=r.nearest, rounded=r.rounded) for row, r in zip(found, rounded)]
            outputs = _answers(whose.model, held)
            fit = fit and fit.measure(whose.model)
        whose.give_back(pruner)
    return Reconstruction(
        whose.model,
        pruner,
        tuple(found),
        agreement(expected, outputs),
        relative(expected, outputs) ** 0.5,
        again,
        refined,
        fit,
    )


def _reconstructed(
    whose: Subject,
    dense: Any,
    layers: Sequence[PrunedLayer],
    batches: Sequence[tuple[Feed, str]],
    told: Told,
    **how: Any,
) -> list[Refit]:
    """Rows of all layers, those last that no solver can do anything for; arguments as `sweep` has them."""
    graph, chosen, left = whose.model.graph, [], []
    for pruned in layers:
        param = pruned.param
        layer = recurrent(graph, param) if param.role == "rnn" else solvable(graph, param, shared=True)
        if isinstance(layer, SolvableLayer):
            chosen.append((pruned, layer))
        else:
            zeros = int(param.size - graph.mask(param).sum())
            left.append(Refit(whose.name(param.name), param.size, zeros, note=layer))

    def named(row: Refit, done: float) -> None:
        told(replace(row, name=whose.name(row.name)), done)

    more = shifted(whose.model, batches, how["seed"])
    rows = sweep(graph, dense, chosen, [*batches, *more], told=named, **how)
    return [replace(row, name=whose.name(row.name)) for row in rows] + left


def _between(told: Told, low: float, high: float) -> Told:
    """For a part of the work."""
    return lambda row, done: told(row, low + (high - low) * done)


def _steps(model: Model, feed: Feed) -> int:
    return affordable(_readings(model), feed)


def _readings(model: Model) -> list[SolvableLayer]:
    """Each op that multiplies with a weight."""
    found = [solvable(model.graph, param, shared=True) for param in model.graph.params()]
    return [one for layer in found if isinstance(layer, SolvableLayer) for one in (layer, *layer.also)]


def _refined(
    whose: Subject,
    dense: Any,
    layers: Sequence[PrunedLayer],
    seen: Sequence[Feed],
    held: Sequence[Feed],
    steps: int,
    seed: int,
    told: Told,
) -> bool:
    """Weights of pruned layers, biases and norms together."""
    graph = whose.model.graph
    masks: dict[str, np.ndarray | None] = {p.name: None for p in graph.params() if p.role in _CONSTANTS}
    masks.update({pruned.param.name: graph.mask(pruned.param) for pruned in layers})
    masks = {name: mask for name, mask in masks.items() if graph.stored(name).dtype == np.float32}
    sizes = [(pruned.param.size, int(graph.mask(pruned.param).sum())) for pruned in layers]
    row = Refit("all together", sum(size for size, _ in sizes), sum(size - kept for size, kept in sizes))

    def part(done: float) -> None:
        told(row, done)

    helped = bool(layers and masks) and refine(whose.model, dense, masks, seen, held, steps=steps, seed=seed, told=part)
    part(1.0)
    return helped


def _worth(model: Model, seen: Sequence[Feed], seed: int) -> dict[str, Worth]:
    return worth_of(model, _readings(model), seen, seed=seed)


def _copy(model: Model) -> Any:
    """A scope with the weights as they are now."""
    scope = paddle.static.Scope()
    for name in model.param_names:
        scope.var(name).get_tensor().set(model.graph.stored(name), model.place)
    return scope


def _answers(model: Model, feeds: Sequence[Feed]) -> list[list[np.ndarray]]:
    found = []
    for feed in feeds:
        found.append(model.run(**feed))
        for array in feed.values():
            let_go(array)
        trim()
    return found


def _recalibrated(
    model: Model,
    solved: Iterable[Feed],
    held: Sequence[Feed],
    expected: Sequence[Sequence[np.ndarray]],
    *,
    must: bool,
) -> bool:
    """Measure batch norms anew, if there are any and, unless it must be, if held-back outputs are nearer then."""
    names = [p.name for p in model.graph.params() if p.role in ("norm mean", "norm variance")]
    if not names:
        return False
    before = {name: model.graph.stored(name) for name in names}
    error = relative(expected, _answers(model, held))
    try:
        recalibrate(model, solved)
    except ValueError:
        if must:
            raise
        return False
    if must or relative(expected, _answers(model, held)) < error:
        return True
    for name, array in before.items():
        model.graph.store(name, array)
    return False
