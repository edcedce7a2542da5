# SPDX-License-Identifier: Apache-2.0
"""A folder of their own for times that are kept, few trials, and a clock that counts what a plan holds."""

from types import SimpleNamespace

import numpy as np
import pytest

from paddle_unstructured.budget import budget, kept_times, timed, times
from paddle_unstructured.budget.choice import choose
from paddle_unstructured.budget.times import Clocked


@pytest.fixture(autouse=True)
def times_folder(tmp_path, monkeypatch):
    folder = tmp_path / "times"
    folder.mkdir()
    own = SimpleNamespace(home=lambda: folder, make_home=lambda: folder.mkdir(exist_ok=True))
    monkeypatch.setattr(kept_times, "kept", own)
    monkeypatch.setattr(times, "_SECONDS", 0.2)
    monkeypatch.setattr(budget, "choose", lambda *a, trials, **k: choose(*a, trials=min(trials, 2), **k))
    return folder


@pytest.fixture
def counting(monkeypatch):
    """A microsecond for each weight that is stored, 10 for each step, 100 for a run; gives the calls."""
    calls = []

    def clock(nets, inputs, *, threads):
        found = [_counted(net) for net in nets]
        calls.append(len(found))
        return found

    for module in (budget, timed):
        monkeypatch.setattr(module, "clock", clock)
    return calls


def _counted(net):
    nodes = [line for line in net.writer.text.splitlines()[2:] if not line.startswith(("input", "output"))]
    steps = [10e-6 + 1e-6 * _stored(line, net.writer.arrays) for line in nodes]
    return Clocked(np.array(steps), 100e-6, sum(steps) + 100e-6)


def _stored(line, arrays):
    """Numbers in the first array of a step, its weights; a matrix that is stored dense counts in full."""
    words = dict(word.split("=", 1) for word in line.split(" ")[1:])
    return arrays[int(words["params"].split(",")[0])].size if "params" in words else 0
