# SPDX-License-Identifier: Apache-2.0
"""One HTML page about a model's sparsity, for people: no network, no script, nothing beside the file itself."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from typing import Any, Iterable, Mapping

import numpy as np

from ..arguments import array, instance, part
from ..graph import WEIGHT_ROLES, Param, open_any
from ..selection import Select, all_weights
from .report import Row, SparsityReport, sparsity_report
from .weight_grid import CELLS, CORNER, KEPT, ZERO, Density, Grid, Histogram, density, grid, histogram

_SHADES = 16  # of a picture whose pixels cover several weights
_WIDTH, _CORNER_WIDTH = 512, 320  # that pictures fill, in CSS pixels
_LEAST, _LARGEST_CELL = 40, 24  # what no side of a picture falls below, and no cell exceeds
_HEIGHT = 100  # of a histogram, in its own units


@dataclass(frozen=True)
class Picture:
    """A grid of kept and zero weights as a PNG image.

    Attributes:
        uri: The image as a data URI.
        cells: (across, down), pixels of the image.
        size: (width, height) on the page, in CSS pixels.
        tile: (down, across), weights per pixel.
        darkest: The fraction kept that the darkest shade stands for.
        grid: What it shows.
    """

    uri: str
    cells: tuple[int, int]
    size: tuple[int, int]
    tile: tuple[int, int]
    darkest: float
    grid: Grid

    @property
    def is_exact(self) -> bool:
        return self.tile == (1, 1)


@dataclass(frozen=True)
class Bars:
    """A histogram as two outlines in a box of `bins` x 100.

    Attributes:
        kept: Path of the kept weights.
        all: Path of kept and pruned ones on top of each other; None if former values are not known.
        tallest: Weights in the tallest bin.
        reach: The ends of the axis are -reach and +reach.
        bins: number of bins.
        counts: The histogram itself.
    """

    kept: str
    all: str | None
    tallest: int
    reach: float
    bins: int
    counts: Histogram


@dataclass(frozen=True)
class LayerCard:
    """What the page shows of one weight; the pictures are None if it has no elements."""

    row: Row
    whole: Picture | None
    corner: Picture | None
    bars: Bars | None


def html_report(
    program: Any,
    scope: Any = None,
    pruner: Any = None,
    *,
    title: str | None = None,
    select: Select = all_weights,
    before: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Draw what is sparse: totals, a bar per layer, the zero pattern of each layer and histograms of its weights.

    Needs Jinja2: `pip install paddle_unstructured[html]`. Weights are read one at a time.

    Args:
        program: A PIR Program, training or inference.
        scope: scope that holds its weights; default: the pruner's, else the global scope.
        pruner: pruner whose choice of params counts as "selected".
        title: title of the page; default: "Sparsity report".
        select: Without a pruner: which params count as "selected". Default: every weight that could be pruned.
        before: Param name -> its values before pruning; histograms then show which values the pruned weights had. Names
            of other params are left aside.

    Returns:
        The page, for a file in UTF-8.

    Raises:
        ValueError: A param has no value in the scope; `before` has an array of another shape, or none of a weight.
        ImportError: Jinja2 is not installed.

    Example:
        >>> Path("report.html").write_text(html_report(program, pruner=pruner), encoding="utf-8")  # doctest: +SKIP
    """
    if pruner is not None:
        part("pruner", pruner, ["explain"], rule="a pruner or None")
    if title is not None:
        instance("title", title, str, rule="text")
    template = _template()
    graph = open_any(program, scope if scope is not None or pruner is None else pruner.scope)
    params = {param.name: param for param in graph.params()}
    _check_before(before, params)
    report = sparsity_report(program, scope, pruner, select=select)
    layers = [
        _layer(row, params[row.name], graph.array(row.name), (before or {}).get(row.name))
        for row in report.rows
        if row.role in WEIGHT_ROLES
    ]
    page: str = template.render(
        title=title or "Sparsity report",
        totals=_totals(report),
        pruner=pruner,
        layers=layers,
        zero=_css(ZERO),
        opened=next((layer.row.name for layer in layers if layer.row.pruned), None),
        kept=_css(KEPT),
        others=[row for row in report.rows if row.role not in WEIGHT_ROLES],
    )
    return page


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError('the HTML report needs Jinja2; pip install "paddle_unstructured[html]"') from error
    # Names in a model are anybody's: everything the template is given is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        short=lambda value: f"{value:.3g}",
        fraction=lambda value: f"{value:.4f}",
        count=lambda value: f"{value:,}",
        shape=lambda value: "×".join(map(str, value)) or "scalar",
    )
    source = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _check_before(before: Mapping[str, np.ndarray] | None, params: Mapping[str, Param]) -> None:
    if before is None:
        return
    instance("before", before, Mapping, rule="a dict of arrays by param name")
    weights = [param for param in params.values() if param.is_weight and param.name in before]
    if not weights:
        raise ValueError(
            f"`before` must have values of the Program's weights by param name, got {len(before)} others, "
            f"{', '.join(map(repr, list(before)[:3]))}; take them from the same Program."
        )
    for param in weights:
        given = array(f"before[{param.name!r}]", before[param.name])
        if given.shape != param.shape:
            raise ValueError(
                f"`before` must have the values of {param.name!r} in its shape {list(param.shape)}, got "
                f"{list(given.shape)}."
            )


def _totals(report: SparsityReport) -> list[tuple[str, str, int, int, float]]:
    """(name, what it counts, zeros, weights, sparsity) of each total."""
    said = {
        "selected": ("Selected weights", "what the pruner may prune"),
        "all": ("All weights", "all that is trained, biases and norms too"),
        "conv1x1": ("1×1 conv weights", "conv2d weights with a 1×1 kernel and one group"),
    }
    return [(*said[name], *count, report.totals[name]) for name, count in report.counts.items()]


def _layer(row: Row, param: Param, weight: np.ndarray, before: np.ndarray | None) -> LayerCard:
    if not weight.size:
        return LayerCard(row, None, None, None)
    laid_out = grid(weight, param)
    whole = _picture(laid_out, _WIDTH)
    is_small = max(laid_out.values.shape) <= CORNER
    return LayerCard(
        row, whole, None if is_small else _picture(laid_out.corner(), _CORNER_WIDTH), _bars(histogram(weight, before))
    )


def _picture(laid_out: Grid, width: int) -> Picture:
    tiles = density(laid_out, width if max(laid_out.values.shape) <= width else CELLS)
    down, across = tiles.kept.shape
    scale = min(max(1, width // max(down, across)), _LARGEST_CELL)
    size = (max(scale * across, _LEAST), max(scale * down, _LEAST))
    darkest = 1.0 if tiles.is_exact else float(tiles.kept.max())
    return Picture(_png(tiles, darkest), (across, down), size, tiles.tile, darkest, laid_out)


def _png(tiles: Density, darkest: float) -> str:
    """A data URI: one bit per weight, or 16 shades of tiles."""
    from PIL import Image  # comes with Paddle

    shades = 2 if tiles.is_exact else _SHADES
    image = Image.fromarray(np.rint(tiles.kept / (darkest or 1) * (shades - 1)).astype(np.uint8))
    mix = np.linspace(0, 1, shades)[:, None]
    image.putpalette(np.rint((1 - mix) * ZERO + mix * KEPT).astype(np.uint8).tobytes())
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()


def _bars(counts: Histogram) -> Bars:
    stacked = counts.kept if counts.pruned is None else counts.kept + counts.pruned
    tallest = int(stacked.max())
    return Bars(
        _outline(counts.kept, tallest),
        None if counts.pruned is None else _outline(stacked, tallest),
        tallest,
        float(counts.edges[-1]),
        len(counts.kept),
        counts,
    )


def _outline(counts: Iterable[int], tallest: int) -> str:
    """An SVG path along the tops of bars one unit wide, closed at the bottom."""
    tops = "".join(f"V{_HEIGHT * (1 - n / (tallest or 1)):.4g}h1" for n in counts)
    return f"M0 {_HEIGHT}{tops}V{_HEIGHT}z"


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
