"""How much each layer's sparsity costs: measured one layer at a time, and turned into per-layer sparsities."""
from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from math import ceil, floor, isfinite
from typing import Any, Callable, Iterable, Mapping, Sequence, Union

import numpy as np
import paddle
from paddle import Tensor

from .checkpoint import replace_file
from .criteria import Criterion, magnitude, scores
from .graph import Param, PirGraph, open_graph
from .patterns import Element, Pattern
from .rank import cut
from .report import _table, check_initialized
from .schedules import check_sparsity
from .selection import Select, all_weights, judge
from .words import to_criterion, to_pattern

_log = logging.getLogger(__name__)

FORMAT, VERSION = "paddle_unstructured.sensitivity", 1
SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

Span = tuple[int, int]  # least and most whole weights
Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class SensitivityRow:
    """One measurement: the score with `param` alone pruned to `sparsity`, and drop = dense score - score.

    `pruned` is the number of weights that really fell: round(sparsity * n), or less than one unit of the pattern below.
    """

    param: str
    sparsity: float
    score: float
    drop: float
    pruned: int


@dataclass(frozen=True)
class SensitivityTable:
    """What `sensitivity` measured.

    Attributes:
        dense: The score of the weights as they were.
        sizes: Weights of every analysed param, by name, in the order in which the Program reads them.
        rows: Measurements, in that order and then by sparsity.
        criterion, pattern: In words.
        fingerprint: sha256 of the analysed weights.
    """

    dense: float
    sizes: Mapping[str, int]
    rows: tuple[SensitivityRow, ...]
    criterion: str
    pattern: str
    fingerprint: str

    @property
    def sparsities(self) -> tuple[float, ...]:
        """All that were measured, rising."""
        return tuple(sorted({row.sparsity for row in self.rows}))

    def to_json(self, indent: int | None = 1) -> str:
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> SensitivityTable:
        """The table that `to_json` wrote.

        Raises:
            ValueError: Something else, or written by a newer version.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f"not the JSON of a sensitivity table: {error}.") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"not a sensitivity table: its `format` is not {FORMAT!r}.")
        if content.get("version", 0) > VERSION:
            raise ValueError(f"a sensitivity table of version {content['version']}, and this package reads up to "
                             f"{VERSION}; install a newer paddle_unstructured.")
        content.pop("version", None)
        try:
            return cls(**{**content, "rows": tuple(SensitivityRow(**row) for row in content["rows"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"a sensitivity table with missing or unknown fields: {error}.") from error

    def save(self, path: Path) -> None:
        """Write JSON atomically: `path` holds the old file or the new one, never a part of it."""
        replace_file(os.fspath(path), self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> SensitivityTable:
        """Read a saved table; raises FileNotFoundError, or ValueError as `from_json` does."""
        with open(path, "rb") as file:
            content = file.read()
        try:
            return cls.from_json(content)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is {error}") from error

    def __str__(self) -> str:
        drops = {(row.param, row.sparsity): f"{round(row.drop, 4) + 0.0:.4f}" for row in self.rows}
        rows = [(name, f"{size}", *(drops.get((name, s), "-") for s in self.sparsities))
                for name, size in self.sizes.items()]
        header = ("param", "weights", *(f"{s:g}" for s in self.sparsities))
        return (f"Dense score {self.dense:.6g}; its drop when one layer alone has a sparsity of\n"
                + _table(header, rows, numbers=range(1, len(header))))

    def plot(self, path: Path | None = None) -> Any:
        """Draw drop against sparsity, one curve a layer, named at its end.

        Args:
            path: Where to write it; the ending says the format, ".png" or ".pdf" say.

        Returns:
            The `matplotlib.figure.Figure`.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib import colormaps
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot() needs matplotlib: pip install 'paddle_unstructured[plot]'.") from error
        curves = {name: [(0.0, 0.0)] + [(row.sparsity, row.drop) for row in self.rows if row.param == name]
                  for name in self.sizes}
        names = sorted(curves, key=lambda name: curves[name][-1][1])  # by height at the end, as the labels stand
        figure = Figure(figsize=(9, max(4.5, 0.24 * len(names))), layout="constrained")
        axes = figure.add_subplot()
        for i, name in enumerate(names):
            axes.plot(*zip(*curves[name]), color=colormaps["tab10"](i % 10), marker="osD^v"[i % 5], markersize=3.5,
                      linestyle=("-", "--", ":")[i // 10 % 3], linewidth=1.2)
        axes.set(xlabel="sparsity of this layer alone", ylabel="drop of the score", xlim=(0, None),
                 title=f"dense score {self.dense:.6g}, {self.criterion}, {self.pattern}")
        axes.grid(alpha=0.3)
        low, high = axes.get_ylim()
        ends = [(curves[name][-1][1] - low) / (high - low) for name in names]
        right = axes.get_xlim()[1]
        for name, line, end, at in zip(names, axes.get_lines(), ends, _apart(ends, gap=1 / max(len(names), 18))):
            axes.annotate(name, (curves[name][-1][0] / right, end), (1.09, at), "axes fraction", "axes fraction",
                          fontsize=8, va="center", color=line.get_color(), annotation_clip=False,
                          arrowprops={"arrowstyle": "-", "linestyle": line.get_linestyle(), "linewidth": 0.6,
                                      "color": line.get_color(), "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0})
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def sensitivity(program: Any, evaluate: Callable[[], float], sparsities: Sequence[float] = SPARSITIES,
                params: Sequence[Union[str, Param]] | None = None, *, scope: Any = None, place: Any = None,
                criterion: Criterion = magnitude, pattern: Pattern | str = Element(), select: Select | None = None,
                path: Path | None = None, progress: bool = True) -> SensitivityTable:
    """Measure how the score drops when one layer at a time is pruned to each sparsity.

    The cut is the pruner's: the lowest scored round(sparsity * n) of the layer's n stored weights fall, on the device.
    After each measurement the layer gets its weights back bit for bit, also when `evaluate` raises or the user presses
    Ctrl-C.

    Args:
        program: A PIR Program, training or inference, with or without a pruner; it is not changed.
        evaluate: () -> score of the weights in the scope, higher = better; the same weights should score the same. It
            must not train.
        sparsities: Each in (0, 1].
        params: Params, or their names. Default: every weight that the pattern does not leave alone.
        scope: Where the weights are. Default: the global scope.
        place: The device. Default: Paddle's current one.
        criterion: weight -> score of a weight; not one that looks at gradients or outputs.
        pattern: What falls together; also in words, "2:4".
        select: Instead of `params`: Param -> bool, or (bool, reason).
        path: A file that gets the table after every measurement. If it is there already, only what it lacks is
            measured: the rest of an interrupted analysis, or further sparsities.
        progress: Show a bar, if tqdm is installed.

    Raises:
        ValueError: A value out of range, or more than the pattern can take; nothing to analyse; weights without a
            value; a score that is not a finite number; a file of other weights, params, criterion or pattern, or with
            sparsities that are not asked for.
        TypeError: Something that is not a Program, scope or function.

    Example:
        >>> table = sensitivity(program, accuracy, path="sensitivity.json")  # doctest: +SKIP
        >>> allocate_by_sensitivity(table, target=0.75)  # doctest: +SKIP
        {'conv2d_0.w_0': 0.41, 'conv2d_1.w_0': 0.78}

    Source: Li et al. 2017, arXiv:1608.08710, prune layer by layer to see which are sensitive; Han et al. 2015,
        arXiv:1506.02626, choose each layer's sparsity by such curves.
    """
    if not callable(evaluate):
        raise TypeError(f"`evaluate` must be a function () -> score, got {evaluate!r}.")
    asked, criterion, pattern = _checked(sparsities), to_criterion(criterion), to_pattern(None, pattern)
    graph = open_graph(program, scope, place)
    chosen = _chosen(graph, params, select, pattern)
    _check_limits(chosen, pattern, asked[-1])
    information = {param: _information(graph, param, criterion) for param in chosen}
    check_initialized(graph, chosen)

    table = SensitivityTable(float("nan"), {p.name: p.size for p in chosen}, (), _name(criterion), repr(pattern),
                             _fingerprint(graph, chosen))
    if path is not None and os.path.exists(path):
        table = _resumed(path, table, asked)
    else:
        table = replace(table, dense=_score(evaluate, "the weights as they are"))
        _save(table, path)
    done = {(row.param, row.sparsity) for row in table.rows}
    due = [(param, sparsity) for param in chosen for sparsity in asked if (param.name, sparsity) not in done]
    for param, steps in groupby(_with_bar(due, len(done), progress), key=lambda step: step[0]):
        prune = _pruning(graph, param, criterion, pattern, information[param])
        for _, sparsity in steps:
            score, pruned = _measured(graph, param, sparsity, prune, evaluate)
            table = _with_row(table, SensitivityRow(param.name, sparsity, score, table.dense - score, pruned))
            _save(table, path)
    if all(row.drop == 0.0 for row in table.rows):
        _log.warning("no layer changes the score at any sparsity; does `evaluate` read the weights of this scope?")
    return table


def allocate_by_sensitivity(table: SensitivityTable, target: float | None = None, drop: float | None = None, *,
                            at_least: float | None = None) -> dict[str, float]:
    """Choose per-layer sparsities such that every layer, pruned alone, costs at most the same drop D.

    s_i(D) = the largest s with drop_i(s) <= D, drop_i being the running maximum of layer i's measurements, joined by
    straight lines from (0, 0). With `target`, D is the least for which round(target * n) of the table's n weights fall;
    layers whose drop stays at D over a range of sparsities go through their ranges at the same pace. Whole weights are
    shared out by largest remainder, equal ones in the table's order, so the sum is exact. Nothing is extrapolated
    beyond a layer's highest measured sparsity. The drops of single layers add up in some way: the net loses more than D
    before it is fine-tuned.

    Args:
        table: Of `sensitivity`, with measurements of every layer.
        target: The overall sparsity, in [0, 1]. Without it, the most that `drop` allows.
        drop: The most a layer may cost, >= 0, in units of the score.
        at_least: A layer is dense or has at least this sparsity: 0.6 for Paddle Lite, which runs no other layer sparse.

    Returns:
        Param name -> sparsity, a whole number of weights / n_i; for `PerLayer`.

    Raises:
        ValueError: Neither target nor drop; a value out of range; a layer without measurements; a target that cannot be
            met, and why.

    Example:
        >>> rows = (SensitivityRow("a", 0.5, 0.8, 0.1, 5), SensitivityRow("b", 0.5, 0.7, 0.2, 5))
        >>> table = SensitivityTable(0.9, {"a": 10, "b": 10}, rows, "magnitude", "Element()", "")
        >>> allocate_by_sensitivity(table, drop=0.08)  # of a 5 * 0.08 / 0.1, of b 5 * 0.08 / 0.2 weights
        {'a': 0.4, 'b': 0.2}
    """
    _check_wishes(target, drop, at_least)
    names, sizes = list(table.sizes), list(table.sizes.values())
    curves = [_Curve.of(table, name) for name in names]
    spans = []
    for curve, size in zip(curves, sizes):
        most = curve.weights[-1] if drop is None else floor(curve.reach(drop, "right") + _TINY)
        least = ceil((at_least or 0.0) * size - _TINY)
        spans.append((least, int(most)) if most >= least else (0, 0))
    if target is None:
        chosen = [most for _, most in spans]
    else:
        chosen = _meet(round(target * sum(sizes)), curves, spans, at_least,
                       f"`target` {target} means {round(target * sum(sizes))} of {sum(sizes)} weights, but ")
    return {name: count / size for name, count, size in zip(names, chosen, sizes)}


# -- measuring

def _checked(sparsities: Sequence[float]) -> list[float]:
    asked = sorted({float(s) for s in sparsities if check_sparsity("sparsities", s) is None})
    if not asked or asked[0] == 0.0:
        raise ValueError(f"`sparsities` must be fractions in (0, 1], got {list(sparsities)}; the dense score is "
                         "measured in any case.")
    return asked


def _chosen(graph: PirGraph, params: Sequence[Union[str, Param]] | None, select: Select | None,
            pattern: Pattern) -> list[Param]:
    if params is not None and select is not None:
        raise ValueError("`params` and `select` both say which layers; give one of them.")
    if isinstance(params, str):
        raise TypeError(f"`params` must be a sequence of names, got the string {params!r}; write [{params!r}].")
    wanted = None if params is None else {param if isinstance(param, str) else param.name for param in params}
    chosen, refused = [], {}
    for verdict in judge(graph.params(), select or all_weights):
        if wanted is None or verdict.param.name in wanted:
            why = pattern.check(verdict.param) if verdict.pruned else verdict.reason
            if why is None:
                chosen.append(verdict.param)
            else:
                refused[verdict.param.name] = why
    if wanted is not None and wanted - {param.name for param in chosen}:
        faults = ", ".join(f"{name} ({refused.get(name, 'not in the Program')})"
                           for name in sorted(wanted - {param.name for param in chosen}))
        raise ValueError(f"`params` must name weights that can be pruned, got {faults}.")
    if not chosen:
        raise ValueError("nothing to analyse: no weight of the Program is selected.")
    return chosen


def _check_limits(params: Sequence[Param], pattern: Pattern, highest: float) -> None:
    for param in params:
        if round(highest * param.size) > pattern.limit(param):
            raise ValueError(f"`sparsities` must be <= {pattern.limit(param) / param.size:g}, the most that "
                             f"{pattern!r} can take from {param.name}, got {highest:g}.")


def _information(graph: PirGraph, param: Param, criterion: Criterion) -> str | None:
    """The variable that the criterion looks at beside the weight."""
    source = getattr(criterion, "source", None)
    name = graph.norm_scale(param) if source == "norm scale" else None
    if source is not None and name is None:
        found = f"none follows {param.name}" if source == "norm scale" else "only a training run gathers those"
        raise ValueError(f"`criterion` {_name(criterion)} needs the layer's {source}, and {found}; choose another.")
    return name


def _pruning(graph: PirGraph, param: Param, criterion: Criterion, pattern: Pattern,
             information: str | None) -> Callable[..., list[np.ndarray]]:
    """A Program that prunes `total` weights of one param; what a mask in the Program holds at zero counts first."""
    masks = graph.declared_masks([param])

    def build(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        weight, total = tensors[param.name], tensors["total"]
        real = weight if param.dtype in ("float32", "float64") else weight.cast("float32")
        score = scores(criterion, real, param, tensors[information] if information else None)
        nan = paddle.isnan(score)  # refused below; the cut could not bear it
        score = paddle.where(nan, paddle.zeros_like(score), score)
        mask = tensors[masks[0]] if masks else paddle.ones_like(weight)
        decision = cut([pattern.units(score, param, mask)], [pattern.alive(mask, param)], [pattern.size(param)],
                       total=total, low=total, high=total)
        paddle._C_ops.multiply_(weight, pattern.spread(decision.keep[0], param).cast(param.dtype))
        return [decision.pruned, paddle.any(nan)]
    others = [param.name, *masks] + ([information] if information else [])
    return graph.side_program([], others, {"total": ([1], "int64")}, build)


def _measured(graph: PirGraph, param: Param, sparsity: float, prune: Callable[..., list[np.ndarray]],
              evaluate: Callable[[], float]) -> tuple[float, int]:
    """Score with the param pruned, and the weights that fell; the param is as before, whatever happens."""
    where = f"{param.name} at sparsity {sparsity:g}"
    saved = _bits(graph, param)
    try:
        pruned, has_nan = prune(total=np.array([round(sparsity * param.size)], "int64"))
        if has_nan:
            raise ValueError(f"NaN in the weights of {param.name}, or in the scores they get; nothing can be ranked.")
        return _score(evaluate, where), int(pruned[0])
    finally:
        graph.scope.find_var(param.name).get_tensor().set(saved, graph.place)


def _score(evaluate: Callable[[], float], where: str) -> float:
    answer = evaluate()
    score = np.asarray(answer)
    if score.size != 1 or score.dtype.kind not in "fiub" or not isfinite(score.item()):
        raise ValueError(f"`evaluate` must return a finite number, got {answer!r} for {where}.")
    return float(score.item())


def _bits(graph: PirGraph, param: Param) -> np.ndarray:
    """A copy on the host; bfloat16 as uint16, which goes back as it came."""
    return np.array(graph.scope.find_var(param.name).get_tensor())


def _fingerprint(graph: PirGraph, params: Iterable[Param]) -> str:
    digest = hashlib.sha256()
    for param in params:
        digest.update(np.ascontiguousarray(_bits(graph, param)).data)
    return digest.hexdigest()


def _with_bar(due: list[Any], done: int, progress: bool) -> Iterable[Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        return due
    return tqdm(due, "sensitivity", initial=done, total=done + len(due), unit="score", disable=not progress)


def _resumed(path: Path, here: SensitivityTable, asked: list[float]) -> SensitivityTable:
    there = SensitivityTable.load(path)
    faults = [f"its {what} {a!r}, here {b!r}" for what, a, b in (
        ("params are", dict(there.sizes), here.sizes), ("criterion is", there.criterion, here.criterion),
        ("pattern is", there.pattern, here.pattern), ("weights have the sha256", there.fingerprint, here.fingerprint))
        if a != b]
    if faults:
        raise ValueError(f"{os.fspath(path)} belongs to another analysis: {faults[0]}; give another `path` or remove "
                         "the file.")
    further = [s for s in there.sparsities if s not in asked]
    if further:
        raise ValueError(f"{os.fspath(path)} has the sparsities {further} too, which are not in `sparsities` {asked}; "
                         "add them or give another `path`.")
    return there


def _with_row(table: SensitivityTable, row: SensitivityRow) -> SensitivityTable:
    order = {name: i for i, name in enumerate(table.sizes)}
    return replace(table, rows=tuple(sorted((*table.rows, row), key=lambda r: (order[r.param], r.sparsity))))


def _save(table: SensitivityTable, path: Path | None) -> None:
    if path is not None:
        table.save(path)


def _name(part: Any) -> str:
    return getattr(part, "__name__", repr(part))


def _apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """Rising heights in [0, 1], moved as little as makes them `gap` apart."""
    steps = gap * np.arange(len(heights))
    return np.minimum(np.maximum.accumulate(heights - steps) + steps, 1.0 - steps[::-1])


# -- allocating

_TINY = 1e-6  # weights; rounding errors are far below


@dataclass(frozen=True)
class _Curve:
    """A layer's drop over its pruned weights, both rising from 0, straight between the points."""

    weights: np.ndarray
    drops: np.ndarray

    @classmethod
    def of(cls, table: SensitivityTable, name: str) -> _Curve:
        points = sorted((row.pruned, row.drop) for row in table.rows if row.param == name)
        if not points:
            raise ValueError(f"`table` has no measurement of {name}; finish the analysis with sensitivity(..., "
                             "path=...).")
        weights, drops = zip((0, 0.0), *points)
        return cls(np.array(weights), np.maximum.accumulate(drops))

    def reach(self, drop: Any, side: str) -> np.ndarray:
        """The most weights (side "right") or the fewest ("left") at which the curve is at `drop`, as a real number."""
        place = np.searchsorted(self.drops, drop, side)
        before, after = np.maximum(place - 1, 0), np.minimum(place, len(self.drops) - 1)
        before = np.where(place == len(self.drops), after, before)
        rise = self.drops[after] - self.drops[before]
        part = (drop - self.drops[before]) / np.where(rise > 0, rise, 1.0)
        return self.weights[before] + np.where(rise > 0, part, 0.0) * (self.weights[after] - self.weights[before])

    def drop(self, weights: Any) -> Any:
        return np.interp(weights, self.weights, self.drops)


def _check_wishes(target: float | None, drop: float | None, at_least: float | None) -> None:
    if target is None and drop is None:
        raise ValueError("give `target`, the overall sparsity, or `drop`, the most a layer may cost.")
    for name, value in (("target", target), ("at_least", at_least)):
        if value is not None:
            check_sparsity(name, value)
    if drop is not None and not (drop >= 0.0 and isfinite(drop)):
        raise ValueError(f"`drop` must be a finite number >= 0, got {drop!r}.")


def _meet(total: int, curves: list[_Curve], spans: list[Span], at_least: float | None, why: str) -> list[int]:
    """Whole weights per layer, `total` altogether, each in its span or 0, the highest drop as low as possible."""
    most = sum(high for _, high in spans)
    if total > most:
        raise ValueError(f"{why}no more than {most} can fall: every layer is at the highest sparsity that was "
                         "measured, or that `drop` and `at_least` allow it.")
    if not at_least:
        return _shared(total, curves, spans)
    # Layers join in the order in which their least sparsity hurts. How many should, shows when all are tried.
    order = sorted((i for i, span in enumerate(spans) if span[1]), key=lambda i: curves[i].drop(spans[i][0]))
    reach = _totals([spans[i] for i in order])
    best, least = None, (np.inf, np.inf)
    for last in range(len(order) + 1):
        sparse = sorted(order[i] for i in _members([spans[i] for i in order[:last]], reach, total) or ())
        if not sparse and total:
            continue
        counts = [0] * len(spans)
        for i, count in zip(sparse, _shared(total, [curves[i] for i in sparse], [spans[i] for i in sparse])):
            counts[i] = count
        drops = [float(curve.drop(count)) for curve, count in zip(curves, counts)]
        if best is None or (max(drops), sum(drops)) < least:
            best, least = counts, (max(drops), sum(drops))
    if best is None:
        below = max(b for _, b in reach[-1] if b < total)
        above = min((a for a, _ in reach[-1] if a > total), default=most)
        raise ValueError(f"{why}no choice of layers that are dense or at least {at_least} sparse has that many; the "
                         f"nearest have {below} and {above}. Measure higher sparsities, or lower `at_least`.")
    return best


def _shared(total: int, curves: list[_Curve], spans: list[Span]) -> list[int]:
    """Whole weights per layer, all within their spans, at a common drop where the spans allow it."""
    if not curves:
        return []
    levels = np.unique(np.concatenate([c.drops for c in curves] + [c.drop(span) for c, span in zip(curves, spans)]))
    # Every layer's weights as the drop rises through the levels: straight between two rows, so the sum is too.
    path = np.empty((2 * len(levels), len(curves)))
    for i, (curve, (least, most)) in enumerate(zip(curves, spans)):
        path[0::2, i] = np.clip(curve.reach(levels, "left"), least, most)
        path[1::2, i] = np.clip(curve.reach(levels, "right"), least, most)
    sums = path.sum(axis=1)
    end = int(np.searchsorted(sums, total - _TINY))
    start = max(end - 1, 0)
    rise = sums[end] - sums[start]
    real = path[start] + (path[end] - path[start]) * ((total - sums[start]) / rise if rise > 0 else 0.0)
    whole = np.floor(real + _TINY).astype("int64")
    largest = np.argsort(whole - real, kind="stable")[:total - whole.sum()]
    whole[largest] += 1
    return whole.tolist()


def _totals(spans: list[Span]) -> list[list[Span]]:
    """Per i, the totals that the first i layers can have, each in its span or 0, as disjoint spans."""
    reach = [[(0, 0)]]
    for low, high in spans:
        merged: list[Span] = []
        for a, b in sorted(reach[-1] + [(a + low, b + high) for a, b in reach[-1]]):
            if merged and a <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        reach.append(merged[::1 + len(merged) // 10_000])  # enough to choose from, where hardly any two of them meet
    return reach


def _members(spans: list[Span], reach: list[list[Span]], total: int) -> list[int] | None:
    """Which layers get weights: the last one, and of the others as many as `total` allows; None if it cannot be."""
    low = high = total
    members = []
    for i in reversed(range(len(spans))):
        least, most = spans[i]
        if any(a <= high - least and b >= low - most for a, b in reach[i]):
            members.append(i)
            low, high = low - most, high - least
        elif i == len(spans) - 1:
            return None
    return members[::-1]
