# SPDX-License-Identifier: Apache-2.0
"""The table of an analysis: printed, as JSON, as a plot."""

from __future__ import annotations

import json
import sys

import pytest
from sensitivity_tables import table_of

from paddle_unstructured.sensitivity import SensitivityTable
from paddle_unstructured.sensitivity.table import _apart

on_programs = pytest.mark.usefixtures("static")


def test_a_table_prints_one_line_a_layer():
    assert (
        str(table_of({"a": {5: 0.25, 9: 1.0}, "layer_b": {5: -0.00001}}))
        == """\
Dense score 1; its drop when one layer alone has a sparsity of
param    weights     0.5     0.9
--------------------------------
a             10  0.2500  1.0000
layer_b       10  0.0000       -"""
    )


def test_json_gives_back_every_bit():
    table = table_of({"a": {5: 1 / 3, 9: 0.1 + 0.2}, "b": {}})
    assert SensitivityTable.from_json(table.to_json()) == table
    assert json.loads(table.to_json())["rows"][0] == {
        "param": "a",
        "sparsity": 0.5,
        "score": 1 - 1 / 3,
        "drop": 1 / 3,
        "pruned": 5,
    }


def test_a_plot_of_thirty_layers_is_a_png_with_thirty_names(tmp_path):
    pytest.importorskip("matplotlib")
    table = table_of({f"conv2d_{i}.w_0": {5: i % 7 / 100, 9: i / 100} for i in range(30)})
    figure = table.plot(tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == list(table.sizes)  # by rising drop
    assert [list(line.get_ydata())[1:] for line in axes.get_lines()] == [[i % 7 / 100, i / 100] for i in range(30)]
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line that leads to it
    assert all(below.y1 <= above.y0 for below, above in zip(boxes, boxes[1:]))


def test_labels_are_moved_as_little_as_keeps_them_apart():
    assert _apart([0.0, 0.25, 0.25, 1.0, 1.0], gap=0.125).tolist() == [0.0, 0.25, 0.375, 0.875, 1.0]


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"paddle_unstructured\[plot\]"):
        table_of({"a": {5: 0.1}}).plot()
