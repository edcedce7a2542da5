# SPDX-License-Identifier: Apache-2.0
"""Scores that can be counted, and tables written by hand."""

from __future__ import annotations

from typing import Callable

from nets import Net

from paddle_unstructured.sensitivity import SensitivityRow, SensitivityTable


def nonzeros(net: Net, *names: str) -> Callable[[], float]:
    """A score that anyone can count: weights left."""
    return lambda: sum(net.get(name).size for name in names) - net.zeros(*names)


def bits(net: Net) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in net.everything().items()}


TWO = ("linear_0.w_0", "linear_1.w_0")  # of 24 and 12 weights


def table_of(curves: dict[str, dict[int, float]], size: int | dict[str, int] = 10) -> SensitivityTable:
    """From {param: {pruned weights: drop}}; dense score 1."""
    sizes = {name: size if isinstance(size, int) else size[name] for name in curves}
    rows = tuple(
        SensitivityRow(name, pruned / sizes[name], 1.0 - drop, drop, pruned)
        for name, points in curves.items()
        for pruned, drop in points.items()
    )
    return SensitivityTable(1.0, sizes, rows, "magnitude", "Element()", "")
