# SPDX-License-Identifier: Apache-2.0
"""Lines of results -> markdown."""

from __future__ import annotations

import statistics
from typing import Sequence

from .cells import Cell, Setting
from .plan import METHODS, Rows

TITLES = {
    "slim-ratio": "PaddleSlim ratio",
    "slim-gmp": "PaddleSlim GMP",
    "oneshot": "one-shot",
    "gmp": "GMP",
    "recipe": "recipe",
    "taught": "recipe + teacher",
}
BLOCK_TITLES = {"blocks": "", "permuted": ", channels permuted", "balanced": ", balanced rows"}
NAMES = {"fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "digits": "digits"}


def tables(rows: dict[Setting, Rows], lines: Sequence[dict]) -> str:
    """One table per setting: mean +- standard deviation of the test accuracy in percent."""
    run = [setting for setting in rows if accuracies(lines, setting, "dense")]
    return "\n\n".join(table(setting, rows[setting], lines) for setting in run)


def table(setting: Setting, rows: Rows, lines: Sequence[dict]) -> str:
    dense, longer = (spell(accuracies(lines, setting, method)) for method in ("dense", "longer"))
    seeds = spell_seeds(len(accuracies(lines, setting, "dense")))
    head = (
        f"{called(setting)}, {seeds}: dense ({setting.dense_epochs} epochs) {dense}, "
        f"dense + {setting.epochs} epochs {longer}; each run has these {setting.epochs} epochs."
    )
    made = [
        [
            f"{100 * sparsity:g} %{'' if pattern == '1x1' else f', {pattern}'}",
            *(spell(accuracies(lines, setting, method, sparsity, pattern)) for method in METHODS),
        ]
        for pattern, sparsity, *_ in rows
    ]
    titles = ["sparsity", *(TITLES[method] for method in METHODS)]
    notes = [
        f"\nThe recipe at {100 * sparsity:g} % with a tenth of the learning rate: {spell(found)}."
        for pattern, sparsity, *_ in rows
        if (found := accuracies(lines, setting, "low-rate", sparsity, pattern))
    ]
    return "\n".join([head, "", *map(row, [titles, ["---"] * len(titles), *made]), *notes])


def int8_tables(rows: dict[Setting, Rows], lines: Sequence[dict]) -> str:
    """One table per setting that has been run: from dense float32 to sparse int8."""
    return "\n\n".join(
        int8_table(setting, own, lines)
        for setting, own in rows.items()
        if any(accuracies(lines, setting, "int8", sparsity, pattern) for pattern, sparsity, *_ in own)
    )


def int8_table(setting: Setting, rows: Rows, lines: Sequence[dict]) -> str:
    seeds = max(len(accuracies(lines, setting, "int8", sparsity, pattern)) for pattern, sparsity, *_ in rows)
    head = (
        f"{called(setting)}, {spell_seeds(seeds)}: the recipe in blocks of outputs x inputs, then int8 by "
        "`convert`, calibrated on 256 training images and run by a `Session`."
    )
    titles = [
        "sparsity",
        f"dense ({setting.dense_epochs} epochs)",
        f"dense + {setting.epochs} epochs",
        f"sparse, float32 (+ {setting.epochs} epochs)",
        "sparse, int8",
    ]
    dense = [spell(accuracies(lines, setting, method)) for method in ("dense", "longer")]
    made = [
        [
            f"{100 * sparsity:g} %, {pattern}",
            *dense,
            *(
                spell(accuracies(lines, setting, "int8", sparsity, pattern, field))
                for field in ("float_accuracy", "accuracy")
            ),
        ]
        for pattern, sparsity, *_ in rows
    ]
    return "\n".join([head, "", *map(row, [titles, ["---"] * len(titles), *made])])


def block_tables(rows: dict[Setting, Rows], lines: Sequence[dict]) -> str:
    """One table per setting that has been run: blocks by sparsity, each cell plain and after `permute_channels`."""
    return "\n\n".join(
        block_table(setting, own, lines) for setting, own in rows.items() if accuracies(lines, setting, "dense")
    )


def block_table(setting: Setting, rows: Rows, lines: Sequence[dict]) -> str:
    dense, longer = (spell(accuracies(lines, setting, method)) for method in ("dense", "longer"))
    head = (
        f"{called(setting)}, {spell_seeds(len(accuracies(lines, setting, 'dense')))}: dense ({setting.dense_epochs} "
        f"epochs) {dense}, dense + {setting.epochs} epochs {longer}; each run has these {setting.epochs} epochs."
    )
    sparsities = sorted({sparsity for _, sparsity, *_ in rows})
    methods = {(pattern, sparsity): methods for pattern, sparsity, methods, _ in rows}
    found = [
        [
            pattern + BLOCK_TITLES[method],
            *(spell(accuracies(lines, setting, method, sparsity, pattern)) for sparsity in sparsities),
        ]
        for pattern in dict.fromkeys(pattern for pattern, *_ in rows)
        for method in BLOCK_TITLES
        if any(method in methods.get((pattern, sparsity), ()) for sparsity in sparsities)
    ]
    titles = ["blocks", *(f"{100 * sparsity:g} %" for sparsity in sparsities)]
    return "\n".join([head, "", *map(row, [titles, ["---"] * len(titles), *found])])


def called(setting: Setting) -> str:
    """A setting in words."""
    net = setting.model + (f" (width {setting.width:g})" if setting.width != 1 else "")
    images = f", {setting.images:,} training images" if setting.images else ""
    return f"{net} on {NAMES[setting.data]}{images}"


def spell_seeds(count: int) -> str:
    return f"{count} seed{'s' * (count > 1)}"


def row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def accuracies(
    lines: Sequence[dict],
    setting: Setting,
    method: str,
    sparsity: float = 0.0,
    pattern: str = "1x1",
    field: str = "accuracy",
) -> list[float]:
    """In percent, one per seed; the last line of a cell counts."""
    found = {}
    for line in lines:
        wanted = Cell(setting, method, sparsity, pattern, line["seed"]).identity
        if all(line.get(name) == value for name, value in wanted.items()):
            found[line["seed"]] = 100 * line[field]
    return list(found.values())


def spell(values: Sequence[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"
