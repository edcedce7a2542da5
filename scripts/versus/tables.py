"""Lines of results -> markdown."""
from __future__ import annotations

import statistics
from typing import Sequence

from .cells import Cell, Setting
from .plan import METHODS, Rows

TITLES = {"slim-ratio": "PaddleSlim ratio", "slim-gmp": "PaddleSlim GMP", "oneshot": "one-shot", "gmp": "GMP",
          "recipe": "recipe", "taught": "recipe + teacher"}
NAMES = {"fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "digits": "digits"}


def tables(rows: dict[Setting, Rows], lines: Sequence[dict]) -> str:
    """One table per setting: mean +- standard deviation of the test accuracy in percent."""
    run = [setting for setting in rows if accuracies(lines, setting, "dense")]
    return "\n\n".join(table(setting, rows[setting], lines) for setting in run)


def table(setting: Setting, rows: Rows, lines: Sequence[dict]) -> str:
    dense, longer = (spell(accuracies(lines, setting, method)) for method in ("dense", "longer"))
    net = setting.model + (f" (width {setting.width:g})" if setting.model == "MobileNet" else "")
    seeds = len(accuracies(lines, setting, "dense"))
    head = (f"{net} on {NAMES[setting.data]}"
            f"{f', {setting.images:,} training images' if setting.images else ''}, {seeds} seed{'s' * (seeds > 1)}: "
            f"dense ({setting.dense_epochs} epochs) {dense}, dense + {setting.epochs} epochs {longer}; "
            f"each run has these {setting.epochs} epochs.")
    made = [[f"{100 * sparsity:g} %{'' if pattern == '1x1' else f', {pattern}'}",
             *(spell(accuracies(lines, setting, method, sparsity, pattern)) for method in METHODS)]
            for pattern, sparsity, *_ in rows]
    titles = ["sparsity", *(TITLES[method] for method in METHODS)]
    notes = [f"\nThe recipe at {100 * sparsity:g} % with a tenth of the learning rate: {spell(found)}."
             for pattern, sparsity, *_ in rows
             if (found := accuracies(lines, setting, "low-rate", sparsity, pattern))]
    return "\n".join([head, "", *map(row, [titles, ["---"] * len(titles), *made]), *notes])


def row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def accuracies(lines: Sequence[dict], setting: Setting, method: str, sparsity: float = 0.0,
               pattern: str = "1x1") -> list[float]:
    """In percent, one per seed; the last line of a cell counts."""
    found = {}
    for line in lines:
        wanted = Cell(setting, method, sparsity, pattern, line["seed"]).key
        if all(line.get(name) == value for name, value in wanted.items()):
            found[line["seed"]] = 100 * line["accuracy"]
    return list(found.values())


def spell(values: Sequence[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"
