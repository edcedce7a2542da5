# SPDX-License-Identifier: Apache-2.0
"""The benchmark of budgets: the tables from what was run."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "demo"))

import numpy as np  # noqa: E402
from budget import neighbour, tables  # noqa: E402

from paddle_unstructured.budget.search import Layers  # noqa: E402


def test_the_tables_set_predicted_beside_measured_and_the_budget_beside_others():
    own = {"net": "LeNet", "kind": "float32"}
    lines = [
        {**own, "step": "prune", "allocation": "Budget", "ratio": 0.5, "error": 0.1, "predicted": 1e-3, "dense": 2e-3},
        {**own, "step": "prune", "allocation": "Global", "ratio": 0.7, "error": 0.4},
        {**own, "step": "prune", "allocation": "Uniform", "why": "never so fast"},
        {**own, "step": "measure", "allocation": "dense", "measured": 2.2e-3},
        {**own, "step": "measure", "allocation": "Budget", "measured": 1.1e-3},
        {**own, "step": "measure", "allocation": "Global", "measured": 1.1e-3},
    ]
    found = tables(lines)
    assert "| LeNet | float32 | 1.08 x | 2.000, 2.200 | 1.000 | 1.100 | -9.1% | +0.0% |" in found
    assert "| 0.1000 | never so fast | 0.4000 at 70.0%, 1.00 of the time: 75% less |" in found


def test_a_neighbour_of_a_choice_is_another_one_within_the_time():
    zeros, times, errors = (0, 10, 20, 30), np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.0, 1.0, 4.0, 9.0])
    layers = Layers(["a", "b", "c"], [zeros] * 3, [times] * 3, [errors] * 3)
    start, random, seen = {"a": 10, "b": 10, "c": 20}, np.random.default_rng(0), set()
    for _ in range(50):
        found = neighbour(layers, start, 8.0, random)
        if found is not None:
            assert sum(times[zeros.index(count)] for count in found.values()) <= 8.0
            seen.add(tuple(found.values()))
    assert len(seen - {(10, 10, 20)}) >= 5
