# SPDX-License-Identifier: Apache-2.0
"""Tables in plain text."""

from __future__ import annotations

from typing import Sequence


def aligned(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    footer: Sequence[Sequence[str]] = (),
    numbers: Sequence[int] = (),
) -> str:
    """A table in plain text; the columns `numbers` are flush right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, *footer)]
    line = "-" * (sum(widths) + 2 * len(widths) - 2)

    def one(cells: Sequence[str]) -> str:
        return "  ".join(
            c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths))
        ).rstrip()

    parts = [one(header), line, *map(one, rows)]
    return "\n".join(parts + ([line, *map(one, footer)] if footer else []))


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
