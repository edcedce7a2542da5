# SPDX-License-Identifier: Apache-2.0
"""What the tables are expected to show, checked against their lines: one row per expectation, met or not."""

from __future__ import annotations

import statistics
from typing import Iterator, Sequence

from .cells import Setting
from .plan import FASHION, INT8_ROWS, MOBILE, Rows
from .tables import TITLES, accuracies, row, spell

PAIRS = (("oneshot", "slim-ratio"), ("gmp", "slim-gmp"), ("recipe", "slim-gmp"))
BELOW_DENSE = {0.9: 0.6, 0.95: 1.0, 0.98: 2.2}  # points that the recipe may lose on LeNet
INT8_BELOW_DENSE = {0.75: 0.5, 0.9: 1.5}  # points that blocks of four inputs and int8 may cost
Bar = tuple[str, str, str, bool]  # what, ours, the other, met


def bars(rows: dict[Setting, Rows], lines: Sequence[dict]) -> str:
    """A markdown table; empty where nothing has been run."""
    found = [
        *_not_below_paddleslim(rows, lines),
        *_near_dense(lines),
        *_above_paddleslim(lines),
        *_int8_near_dense(lines),
    ]
    made = [row([what, ours, other, "yes" if met else "NO"]) for what, ours, other, met in found]
    return "\n".join([row(["expected", "found", "beside", "met"]), row(["---"] * 4), *made]) if made else ""


def _not_below_paddleslim(rows: dict[Setting, Rows], lines: Sequence[dict]) -> Iterator[Bar]:
    for setting, own in rows.items():
        for pattern, sparsity, *_ in own:
            for ours, theirs in PAIRS:
                a, b = (accuracies(lines, setting, method, sparsity, pattern) for method in (ours, theirs))
                if a and b:
                    deviation = max(statistics.stdev(x) if len(x) > 1 else 0.0 for x in (a, b))
                    yield (
                        f"{setting.name}, {100 * sparsity:g} %, {pattern}: {TITLES[ours]} at most one standard "
                        f"deviation below {TITLES[theirs]}",
                        spell(a),
                        spell(b),
                        mean(a) >= mean(b) - deviation,
                    )


def _near_dense(lines: Sequence[dict]) -> Iterator[Bar]:
    longer = accuracies(lines, FASHION, "longer")
    for sparsity, points in BELOW_DENSE.items():
        found = accuracies(lines, FASHION, "recipe", sparsity)
        if found and longer:
            yield (
                f"LeNet, {100 * sparsity:g} %: recipe within {points} points of dense + extra epochs",
                spell(found),
                spell(longer),
                mean(found) >= mean(longer) - points,
            )


def _above_paddleslim(lines: Sequence[dict]) -> Iterator[Bar]:
    for setting, sparsity, pattern, points in ((MOBILE, 0.95, "1x1", 1.5), (FASHION, 0.9, "2x1", 0.25)):
        found, other = (accuracies(lines, setting, method, sparsity, pattern) for method in ("recipe", "slim-gmp"))
        if found and other:
            yield (
                f"{setting.name}, {100 * sparsity:g} %, {pattern}: recipe at least {points} above PaddleSlim GMP",
                spell(found),
                spell(other),
                mean(found) >= mean(other) + points,
            )


def _int8_near_dense(lines: Sequence[dict]) -> Iterator[Bar]:
    for setting, own in INT8_ROWS.items():
        for pattern, sparsity, *_ in own:
            points, found = INT8_BELOW_DENSE[sparsity], accuracies(lines, setting, "int8", sparsity, pattern)
            for method, net in (("dense", "dense"), ("longer", f"dense + {setting.epochs} epochs")):
                other = accuracies(lines, setting, method)
                if found and other:
                    yield (
                        f"{setting.name}, {100 * sparsity:g} %, {pattern}: int8 within {points} points of {net}",
                        spell(found),
                        spell(other),
                        mean(found) >= mean(other) - points,
                    )


mean = statistics.mean
