# SPDX-License-Identifier: Apache-2.0
"""A file of an analysis: it goes on where it stopped, and is of one analysis."""

from __future__ import annotations

from itertools import product
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from nets import Net, two_linears
from sensitivity_tables import TWO, nonzeros

from paddle_unstructured.patterns import Block
from paddle_unstructured.sensitivity import SensitivityTable, sensitivity

on_programs = pytest.mark.usefixtures("static")


# -- files


class Counting:
    """A score that counts its calls, and is interrupted at one of them."""

    def __init__(self, score: Callable[[], float], stop_at: int | None = None) -> None:
        self.score, self.stop_at, self.calls = score, stop_at, 0

    def __call__(self) -> float:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return self.score()


@on_programs
@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_resumed_analysis_equals_an_uninterrupted_one_and_measures_nothing_twice(tmp_path, stop_at: int):
    net = Net(two_linears, [3, 4])
    score, path = nonzeros(net, *TWO), tmp_path / "folder" / "table.json"
    first, rest = Counting(score, stop_at), Counting(score)
    with pytest.raises(KeyboardInterrupt):
        sensitivity(net.program, first, (0.5, 0.75), path=path, progress=False)
    assert path.exists() == (stop_at > 1)
    resumed = sensitivity(net.program, rest, (0.5, 0.75), path=path, progress=False)
    assert resumed == SensitivityTable.load(path) == sensitivity(net.program, score, (0.5, 0.75), progress=False)
    assert (stop_at - 1) + rest.calls == 5
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


@on_programs
def test_further_sparsities_extend_a_file(tmp_path):
    net = Net(two_linears, [3, 4])
    score, path = nonzeros(net, *TWO), tmp_path / "table.json"
    sensitivity(net.program, score, (0.25, 0.75), path=path, progress=False)
    more = Counting(score)
    table = sensitivity(net.program, more, (0.25, 0.5, 0.75), path=path, progress=False)
    assert more.calls == 2
    assert [(row.param, row.sparsity) for row in table.rows] == list(product(TWO, (0.25, 0.5, 0.75)))


@on_programs
@pytest.mark.parametrize(
    "change, message",
    [
        ({"params": TWO[:1]}, "its params are"),
        ({"sparsities": (0.75,)}, r"has the sparsities \[0.5\] too"),
        ({"criterion": paddle.square}, "its criterion is 'magnitude', here 'square'"),
        ({"pattern": Block(2, 1)}, r"its pattern is 'Element\(\)', here .Block"),
        ({}, "its weights have the sha256"),
    ],
)
def test_a_file_of_another_analysis_is_refused_and_kept(tmp_path, change: dict[str, Any], message: str):
    net = Net(two_linears, [3, 4])
    path = tmp_path / "table.json"
    settings = {"sparsities": (0.5,), "path": path, "progress": False}
    sensitivity(net.program, nonzeros(net, *TWO), **settings)
    before = path.read_bytes()
    if not change:
        net.put("linear_1.w_0", np.ones((6, 2)))
    score = Counting(nonzeros(net, *TWO))
    with pytest.raises(ValueError, match=message):
        sensitivity(net.program, score, **{**settings, **change})
    assert (score.calls, path.read_bytes()) == (0, before)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not the JSON"),
        ("[]", "its `format` is not"),
        ('{"format": "other"}', "its `format` is not"),
        ('{"format": "paddle_unstructured.sensitivity", "version": 2}', "version 2, and this package reads up to 1"),
        ('{"format": "paddle_unstructured.sensitivity", "version": 1, "rows": []}', "missing or unknown fields"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content: str, message: str):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"table.json is .*{message}"):
        SensitivityTable.load(path)
