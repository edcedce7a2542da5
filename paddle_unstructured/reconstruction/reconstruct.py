# SPDX-License-Identifier: Apache-2.0
"""`reconstruct`: a saved model and a few hundred unlabelled inputs in, a pruned model that still works out."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Iterable, Mapping, Sequence

import numpy as np

from .. import arguments
from ..allocation import LAMP, Allocation, OfModel
from ..compat.config_list import Rules
from ..export.recalibration import recalibrate
from ..masking.update import PrunedLayer
from ..patterns import Pattern
from ..saved_model import Model
from ..selection import Select, all_weights
from .answers import Judge, Nearness
from .cut import Cut
from .dense import kept
from .familiarity import warn_if_unfamiliar
from .layers import SolvableLayer, solvable
from .recurrent import recurrent
from .refine import affordable, refine
from .result import Reconstruction
from .rounding import levels, nearest
from .samples import Feed, check_rows, of, portions, rows_within, shifted, split
from .spill import Spill, trim, trimmed
from .subject import Subject, subject
from .sweep import Refit, Told, sweep
from .worth import Worth, worth_of

_log = logging.getLogger(__name__)

LARGEST = 8e6  # bytes of one value of the net, where fewer samples at a time make it so: several live at once
ENOUGH = 8  # samples whose variance is near that of all
_CONSTANTS, _STATISTICS = ("bias", "norm scale", "norm bias"), ("norm mean", "norm variance")
_LAYERS, _TOGETHER = 0.5, 0.8  # of the work: about the part that is done when layers are, and when weights have moved
METHODS = ("reconstruct", "recalibrate", "magnitude")
ALLOCATION = LAMP(floor=0.4)  # without a floor the last layer, of which little is seen, loses most of a small net


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
    far. One input of eight is held back; where the refit does not help on these, the layer stays as it was. Where the
    whole net is further from the dense one on these than by magnitudes alone, it is pruned by magnitudes alone.

    Args:
        model: what `open_model` gave, or the path of a saved model; a static Program; or an nn.Layer. Its weights and
            biases are changed, and running statistics; if anything fails, none of them.
        data: batches, input name -> array [n, ...], without labels; 128 to 512 samples. Inputs of an nn.Layer have
            the names of `input_spec`, or `x0`, `x1` and so on as Paddle calls them.
        ratio: part of the selected weights to prune, in [0, 1]; n:m patterns bring their own.
        pattern: what falls together; "2:4", "1x4" or a pattern. Default: single weights.
        allocation: who competes for the budget, default `LAMP(floor=0.4)`; or a `Budget` in milliseconds, instead of
            a ratio.
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
        seen = of(few, "fit", "choose")
        check_rows(whose.model, seen[0])
        warn_if_unfamiliar(whose.model.graph, seen)
        judge = Judge.of(whose.model, of(few, "judge"))
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
        allocation = ALLOCATION  # an n:m pattern without a ratio means the same sparsity for every layer
    words = {"ratio": ratio, "pattern": pattern, "allocation": allocation, "select": select, "rules": rules}
    words = {name: value for name, value in words.items() if value is not None}
    ranks = bool(worth) and rules is None and fit is None
    with whose.whole_or_not_at_all() as (dense, back):
        cut = Cut(whose, back, words, ranks=ranks)
        layers, found = cut.by_magnitude(), list[Refit]()
        with whose.computing():
            _to_nearest(whose.model, layers, most)
            near = by_magnitude = judge.near()
        if ranks or most is not None:
            layers = cut.by_damage(worth)
        trim()
        with whose.computing():
            later = most is not None and steps > 0  # weights on a grid cannot be moved
            ends = (0.0, _LAYERS, _TOGETHER if later else 1.0, 1.0) if steps else (0.0, 1.0, 1.0, 1.0)
            ways = [_between(told, low, high) for low, high in zip(ends, ends[1:])]
            known: dict[str, Any] = {"batches": few, "worth": worth, "seed": seed, "memory": 0.75 * limit}
            if method == "reconstruct":
                found = _reconstructed(whose, dense, layers, told=ways[0], most=None if later else most, **known)
            again, refined = False, 0
            if method != "magnitude":
                many = trimmed(portions(whose.model, of(batches, "fit", "choose"), max(rows, ENOUGH)))
                again, near = _recalibrated(whose.model, many, judge, must=method == "recalibrate")
            unreached = {row.name for row in found if not row.reached}  # Paddle's gradient of no rows is no number
            moving = [layer for layer in layers if whose.name(layer.param.name) not in unreached]
            if steps and _refined(whose, dense, moving, seen, judge.held, steps, seed, ways[1]):
                refined, near = steps, judge.near()
            if later:
                with kept(whose.model) as moved:
                    rounded = _reconstructed(whose, moved, layers, told=ways[2], most=most, fixed=True, **known)
                found = [replace(row, nearest=r.nearest, rounded=r.rounded) for row, r in zip(found, rounded)]
                near = judge.near()
        refused = near if method == "reconstruct" and near.is_beyond(by_magnitude) else None
        if refused is not None:
            layers, again, refined = cut.by_magnitude(), False, 0
            with whose.computing():
                _to_nearest(whose.model, layers, most)
                notes = {row.name: row.note for row in found}
                near, found = by_magnitude, [_row(whose, layer, notes) for layer in layers]
            _log.warning(
                "weights computed anew bring the outputs of %d held-back inputs to a relative error of %.4f, the "
                "largest weights as they are to %.4f: these are kept; more inputs help",
                judge.count,
                refused.error,
                near.error,
            )
        with whose.computing():
            fit = fit and fit.measure(whose.model)
        whose.give_back(cut.pruner)
    return Reconstruction(
        whose.model, cut.pruner, tuple(found), near, by_magnitude, judge.count, refused, again, refined, fit
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
    graph, found = whose.model.graph, [(pruned, _solvable(whose.model, pruned)) for pruned in layers]
    chosen = [(pruned, layer) for pruned, layer in found if isinstance(layer, SolvableLayer)]
    notes = {whose.name(pruned.param.name): layer for pruned, layer in found if isinstance(layer, str)}
    left = [_row(whose, pruned, notes) for pruned, layer in found if isinstance(layer, str)]

    def named(row: Refit, done: float) -> None:
        told(replace(row, name=whose.name(row.name)), done)

    more = shifted(whose.model, batches, how["seed"])
    rows = sweep(graph, dense, chosen, [*batches, *more], told=named, **how)
    return [replace(row, name=whose.name(row.name)) for row in rows] + left


def _solvable(model: Model, pruned: PrunedLayer) -> SolvableLayer | str:
    """How a layer reads its weight, or why that cannot be said."""
    param = pruned.param
    return recurrent(model.graph, param) if param.role == "rnn" else solvable(model.graph, param, shared=True)


def _row(whose: Subject, pruned: PrunedLayer, notes: Mapping[str, str]) -> Refit:
    """Of a layer that stays as it was cut."""
    param, name = pruned.param, whose.name(pruned.param.name)
    zeros = int(param.size - whose.model.graph.mask(param).sum())
    return Refit(name, param.size, zeros, note=notes.get(name, ""))


def _to_nearest(model: Model, layers: Sequence[PrunedLayer], most: int | None) -> None:
    """Round all weights of layers, each by itself, if they are to be rounded."""
    if most is None:
        return
    for pruned in layers:
        layer, weight = _solvable(model, pruned), model.graph.array(pruned.param.name)
        if isinstance(layer, SolvableLayer):
            rounded = nearest(layer.matrix(weight.astype(np.float32)), most)
            model.graph.put(pruned.param.name, layer.stored(rounded))


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
    kept = {pruned.param.name: graph.mask(pruned.param) for pruned in layers}
    masks.update({name: mask for name, mask in kept.items() if mask.any()})
    masks = {name: mask for name, mask in masks.items() if graph.stored(name).dtype == np.float32}
    sizes = [(pruned.param.size, int(kept[pruned.param.name].sum())) for pruned in layers]
    row = Refit("all together", sum(size for size, _ in sizes), sum(size - kept for size, kept in sizes))

    def part(done: float) -> None:
        told(row, done)

    is_left = any(mask.any() for mask in kept.values())  # biases alone are not worth the steps
    helped = bool(is_left and masks) and refine(
        whose.model, dense, masks, seen, held, steps=steps, seed=seed, told=part
    )
    part(1.0)
    return helped


def _worth(model: Model, seen: Sequence[Feed], seed: int) -> dict[str, Worth]:
    return worth_of(model, _readings(model), seen, seed=seed)


def _recalibrated(model: Model, solved: Iterable[Feed], judge: Judge, *, must: bool) -> tuple[bool, Nearness]:
    """Measure batch norms anew, if there are any and, unless it must be, if held-back outputs are nearer then.

    Returns:
        Whether they were, and how near outputs are now.
    """
    before = {p.name: model.graph.stored(p.name) for p in model.graph.params() if p.role in _STATISTICS}
    near = judge.near()
    if not before:
        if must:
            _log.warning('the net has no batch norms to measure anew, so that this is what `method="magnitude"` gives')
        return False, near
    try:
        recalibrate(model, solved)
    except ValueError:
        if must:
            raise
        return False, near
    now = judge.near()
    if must or now.error < near.error:
        return True, now
    for name, array in before.items():
        model.graph.store(name, array)
    return False, near
