# SPDX-License-Identifier: Apache-2.0
"""What was measured: a table for people, a file to resume from, a plot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Mapping, Sequence

import numpy as np

from .. import arguments
from ..arguments import StrPath
from ..formats.atomic import aside, check_readable, replace_file
from ..reporting.table import aligned

FORMAT, VERSION = "paddle_unstructured.sensitivity", 1


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
        criterion, pattern: names of both parts.
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

    def with_row(self, row: SensitivityRow) -> SensitivityTable:
        """A table that has a further row in its place."""
        order = list(self.sizes)
        rows = sorted((*self.rows, row), key=lambda r: (order.index(r.param), r.sparsity))
        return replace(self, rows=tuple(rows))

    def to_json(self, indent: int | None = 1) -> str:
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> SensitivityTable:
        """The table that `to_json` wrote.

        Raises:
            ValueError: Something else, or written by a newer version.
        """
        arguments.instance("text", text, (str, bytes, bytearray), rule="the JSON of a sensitivity table")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not the JSON of a sensitivity table: {error}.") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"not a sensitivity table: its `format` is not {FORMAT!r}.")
        version = arguments.whole("version", content.pop("version", 0))
        if version > VERSION:
            raise ValueError(
                f"a sensitivity table of version {version}, and this package reads up to {VERSION}; "
                "install a newer paddle_unstructured."
            )
        try:
            table = cls(**{**content, "rows": tuple(SensitivityRow(**row) for row in content["rows"])})
            table.check()
            return table
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a sensitivity table with missing or unknown fields: {error}.") from error

    def check(self) -> None:
        """Raise ValueError unless every number is one that `sensitivity` can have measured."""
        arguments.number("dense", self.dense)
        for name, size in self.sizes.items():
            arguments.whole(f"sizes[{name!r}]", size, least=1)
        for row in self.rows:
            arguments.one_of("param", row.param, self.sizes)
            arguments.fraction("sparsity", row.sparsity)
            arguments.number("score", row.score)
            arguments.whole("pruned", row.pruned, most=self.sizes[row.param])

    def save(self, path: StrPath) -> None:
        """Write JSON atomically: `path` holds the old file or the new one, never a part of it."""
        replace_file(arguments.path("path", path), self.to_json())

    @classmethod
    def load(cls, path: StrPath) -> SensitivityTable:
        """Read a saved table; raises FileNotFoundError, or ValueError as `from_json` does."""
        file_path = arguments.path("path", path)
        check_readable(file_path)
        with open(file_path, "rb") as file:
            content = file.read()
        try:
            return cls.from_json(content)
        except ValueError as error:
            raise ValueError(f"{arguments.path('path', path)} is {error}") from error

    def __str__(self) -> str:
        drops = {(row.param, row.sparsity): f"{round(row.drop, 4) + 0.0:.4f}" for row in self.rows}  # + 0.0: no "-0"
        rows = [
            (name, f"{size}", *(drops.get((name, s), "-") for s in self.sparsities))
            for name, size in self.sizes.items()
        ]
        header = ("param", "weights", *(f"{s:g}" for s in self.sparsities))
        return f"Dense score {self.dense:.6g}; its drop when one layer alone has a sparsity of\n" + aligned(
            header, rows, numbers=range(1, len(header))
        )

    def plot(self, path: StrPath | None = None) -> Any:
        """Draw drop against sparsity, one curve a layer, named at its end.

        Args:
            path: file to write; the ending says the format, ".png" or ".pdf" say.

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
        curves = {
            name: [(0.0, 0.0)] + [(row.sparsity, row.drop) for row in self.rows if row.param == name]
            for name in self.sizes
        }
        names = sorted(curves, key=lambda name: curves[name][-1][1])  # by height at the end, as the labels stand
        figure = Figure(figsize=(9, max(4.5, 0.24 * len(names))), layout="constrained")
        axes = figure.add_subplot()
        for i, name in enumerate(names):
            axes.plot(
                *zip(*curves[name]),
                color=colormaps["tab10"](i % 10),
                marker="osD^v"[i % 5],
                markersize=3.5,
                linestyle=("-", "--", ":")[i // 10 % 3],
                linewidth=1.2,
            )
        axes.set(
            xlabel="sparsity of this layer alone",
            ylabel="drop of the score",
            xlim=(0, None),
            title=f"dense score {self.dense:.6g}, {self.criterion}, {self.pattern}",
        )
        axes.grid(alpha=0.3)
        _name_ends(axes, names)
        if path is not None:
            with aside(path) as draft:
                figure.savefig(draft, dpi=150)
        return figure


def resumed(path: StrPath, here: SensitivityTable, asked: Sequence[float]) -> SensitivityTable:
    """The table in the file.

    Raises:
        ValueError: Its params, weights, criterion or pattern are not those of the table `here`, or it has sparsities
            beside `asked`.
    """
    there = SensitivityTable.load(path)
    for what, a, b in (
        ("params are", there.sizes, here.sizes),
        ("criterion is", there.criterion, here.criterion),
        ("pattern is", there.pattern, here.pattern),
        ("weights have the sha256", there.fingerprint, here.fingerprint),
    ):
        if a != b:
            raise ValueError(
                f"{arguments.path('path', path)} belongs to another analysis: its {what} {a!r}, here {b!r}; give "
                "another `path` or remove the file."
            )
    further = [s for s in there.sparsities if s not in asked]
    if further:
        raise ValueError(
            f"{arguments.path('path', path)} has the sparsities {further} too, which are not in `sparsities` {asked}; "
            "add them or give another `path`."
        )
    return there


def _name_ends(axes: Any, names: Sequence[str]) -> None:
    """Write each line's name right of the axes, as level with the line's end as the other names allow."""
    (low, high), right = axes.get_ylim(), axes.get_xlim()[1]
    ends = [(line.get_xdata()[-1] / right, (line.get_ydata()[-1] - low) / (high - low)) for line in axes.get_lines()]
    heights = _apart([height for _, height in ends], gap=1 / max(len(names), 18))
    for name, line, end, height in zip(names, axes.get_lines(), ends, heights):
        leader = {
            "arrowstyle": "-",
            "linestyle": line.get_linestyle(),
            "linewidth": 0.6,
            "color": line.get_color(),
            "relpos": (0, 0.5),
            "shrinkA": 1,
            "shrinkB": 0,
        }
        axes.annotate(
            name,
            end,
            (1.09, height),
            "axes fraction",
            "axes fraction",
            fontsize=8,
            va="center",
            color=line.get_color(),
            annotation_clip=False,
            arrowprops=leader,
        )


def _apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """Rising heights in [0, 1], moved as little as makes them `gap` apart."""
    steps = gap * np.arange(len(heights))
    return np.asarray(np.minimum(np.maximum.accumulate(heights - steps) + steps, 1.0 - steps[::-1]))
