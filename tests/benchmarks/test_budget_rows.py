# SPDX-License-Identifier: Apache-2.0
"""The benchmark of budgets: the tables from what was run."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "demo"))

from budget import tables  # noqa: E402


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
