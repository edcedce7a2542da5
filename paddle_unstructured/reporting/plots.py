# SPDX-License-Identifier: Apache-2.0
"""The pictures of the HTML report as matplotlib figures, for notebooks.

All need matplotlib: `pip install paddle_unstructured[plot]`. Figures are closed for pyplot, so that a notebook shows
each once: as the value of its cell. `figure.savefig(path)` writes one to a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import array, instance, whole
from ..graph import WEIGHT_ROLES, Param
from .report import SparsityReport
from .weight_grid import CORNER, KEPT, ZERO, density, grid, histogram

_SPARSE, _DENSE, _IDLE, _TRACK = "#c2570c", "#1f5fa8", "#55606d", "#e8ebef"


def plot_sparsity(report: SparsityReport) -> Any:
    """A bar of sparsity for every layer; the names of those that are not selected are grey.

    Args:
        report: report that `sparsity_report` gave.

    Returns:
        A matplotlib Figure.

    Raises:
        ValueError: The report has no weights.
        ImportError: matplotlib is not installed.
    """
    instance("report", report, SparsityReport, rule="what `sparsity_report` gave")
    rows = [row for row in report.rows if row.role in WEIGHT_ROLES]
    if not rows:
        raise ValueError(f"`report` must have weights of layers, got {len(report.rows)} rows without any.")
    figure, (axes,) = _figure(8, 1 + 0.26 * len(rows))
    places = range(len(rows))
    axes.barh(places, [1] * len(rows), color=_TRACK, height=0.5)
    axes.barh(
        places, [row.sparsity for row in rows], color=[_SPARSE if row.pruned else _IDLE for row in rows], height=0.5
    )
    axes.set_yticks(places, [_literal(row.name) for row in rows])
    for place, row, label in zip(places, rows, axes.get_yticklabels()):
        axes.text(1.02, place, f"{row.sparsity:.4f}", va="center", fontsize=9)
        if not row.pruned:
            label.set_color(_IDLE)
    axes.set(
        xlim=(0, 1.12),
        ylim=(len(rows) - 0.5, -0.5),
        xticks=np.linspace(0, 1, 5),
        xlabel="sparsity",
        title=f"selected weights: {report.totals['selected']:.4f}",
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_pattern(weight: np.ndarray, param: Param | None = None, *, corner: int | None = None) -> Any:
    """The zeros of a weight, output channels x (kernel x input channels), and its top left corner beside it.

    Args:
        weight: array as it is stored.
        param: Says which axes are output and input. Default: a matrix is a linear layer's [in, out], and anything else
            [out, in, ...] as convolutions are.
        corner: Weights down and across of the corner; 0 for none. Default: 32, and none where nothing lies outside it.

    Returns:
        A matplotlib Figure. Where a cell stands for several weights, it is the darker the more of them are kept.

    Raises:
        ValueError: The weight has no elements, or `corner` is negative.
        ImportError: matplotlib is not installed.

    Example:
        >>> plot_pattern(scope.find_var("linear_0.w_0").get_tensor())  # doctest: +SKIP
    """
    if param is not None:
        instance("param", param, Param, rule="a Param or None")
    laid_out = grid(array("weight", weight), param)
    if not laid_out.values.size:
        raise ValueError(f"`weight` must have elements to be drawn, got shape {list(np.shape(weight))}.")
    size = (
        CORNER
        if corner is None
        else whole("corner", corner, rule=">= 0", hint="give a whole number; 0 leaves the corner out")
    )
    parts = [laid_out] + ([laid_out.corner(size)] if 0 < size < max(laid_out.values.shape) else [])
    figure, all_axes = _figure(5.2 * len(parts), 5, len(parts))
    for axes, part in zip(all_axes, parts):
        tiles = density(part)
        axes.imshow(
            tiles.kept,
            cmap=_colours(),
            vmin=0,
            vmax=1 if tiles.is_exact else tiles.kept.max() or 1,
            aspect="auto" if min(tiles.kept.shape) * 8 < max(tiles.kept.shape) else "equal",
            interpolation="nearest",
            extent=(0, part.values.shape[1], part.values.shape[0], 0),
        )
        axes.set(
            xlabel=part.across,
            ylabel=part.down,
            title="kept (dark) and zero" if tiles.is_exact else f"kept per {tiles.tile[0]}×{tiles.tile[1]} weights",
        )
        _rule(axes, part.values.shape)
    if len(parts) == 2:
        all_axes[1].set(xlabel="", ylabel="", title=f"top left {'×'.join(map(str, parts[1].values.shape))}")
    return figure


def plot_weights(weight: np.ndarray, before: np.ndarray | None = None) -> Any:
    """A histogram of kept weights, and on top of it the pruned ones, at the values they had `before`.

    Args:
        weight: Any shape; weights of 0 count as pruned.
        before: values before pruning. Without them the zeros are only counted, in the title.

    Returns:
        A matplotlib Figure.

    Raises:
        ValueError: `before` has another shape.
        ImportError: matplotlib is not installed.
    """
    counts = histogram(weight, before)
    figure, (axes,) = _figure(7, 3.6)
    axes.stairs(counts.kept, counts.edges, fill=True, color=_DENSE, label=f"{counts.kept.sum():,} kept, present values")
    if counts.pruned is not None:
        axes.stairs(
            counts.kept + counts.pruned,
            counts.edges,
            baseline=counts.kept,
            fill=True,
            color=_SPARSE,
            label=f"{counts.zeros:,} zeros, values before",
        )
    undrawn = f"{counts.zeros:,} zeros not drawn" if counts.pruned is None and counts.zeros else ""
    flawed = f"{counts.not_finite:,} NaN or infinite" if counts.not_finite else ""
    axes.set(
        xlabel="weight (the outermost bins count all beyond)",
        ylabel="weights",
        title=", ".join(filter(None, (undrawn, flawed))),
        xlim=(counts.edges[0], counts.edges[-1]),
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", frameon=False, ncols=2)
    return figure


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('plots need matplotlib; pip install "paddle_unstructured[plot]"') from error
    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
    pyplot.close(figure)  # or a notebook would show it twice, and pyplot would keep it alive
    return figure, list(axes[0])


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("kept", [[part / 255 for part in colour] for colour in (ZERO, KEPT)])


def _rule(axes: Any, shape: tuple[int, ...]) -> None:
    """Lines every 4 weights, where single weights can be seen."""
    if max(shape) > 2 * CORNER:
        return
    axes.set(xticks=range(0, shape[1] + 1, 4), yticks=range(0, shape[0] + 1, 4))
    axes.grid(color="#8496ae", linewidth=0.6)
    axes.tick_params(labelsize=8)


def _literal(name: str) -> str:
    """A name that matplotlib does not take for a formula."""
    return name.replace("$", r"\$")
