# SPDX-License-Identifier: Apache-2.0
"""The figures for notebooks show what is in the weights."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from nets import Net, convnet

from paddle_unstructured import SparsityReport, UnstructuredPruner, sparsity_report
from paddle_unstructured.graph import Param
from paddle_unstructured.reporting.plots import plot_pattern, plot_sparsity, plot_weights
from paddle_unstructured.reporting.report import Row

pytest.importorskip("matplotlib")


def drawn(figure) -> None:
    """Text that cannot be laid out fails only here."""
    figure.canvas.draw()


def test_every_layer_has_a_bar_as_long_as_it_is_sparse(static):
    net = Net(convnet, [2, 2, 4, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.role == "conv2d")
    pruner.step()
    report = sparsity_report(net.program, pruner=pruner)
    axes = plot_sparsity(report).axes[0]
    rows = [row for row in report.rows if row.name in ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0")]
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.name for row in rows]
    assert [bar.get_width() for bar in axes.containers[1]] == [row.sparsity for row in rows]
    assert [text.get_text() for text in axes.texts] == [f"{row.sparsity:.4f}" for row in rows]
    colours = [label.get_color() for label in axes.get_yticklabels()]
    assert colours[0] == colours[1] != colours[2]


def test_a_name_is_never_taken_for_a_formula():
    report = SparsityReport((Row(r"$\frac$", "linear", (2, 2), 4, 1, True, "linear weight"),), frozenset())
    drawn(plot_sparsity(report))


def test_a_report_without_weights_cannot_be_drawn():
    with pytest.raises(ValueError, match="`report` must have weights"):
        plot_sparsity(SparsityReport((), frozenset()))


def test_a_small_pattern_is_drawn_weight_by_weight():
    weight = np.array([[1, 0, 2], [0, 0, 3]])
    figure = plot_pattern(weight.T)
    assert len(figure.axes) == 1
    assert figure.axes[0].images[0].get_array().tolist() == [[1, 0, 1], [0, 0, 1]]
    assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("2 outputs", "3 inputs")
    drawn(figure)


def test_a_large_pattern_comes_with_its_top_left_corner():
    weight = (np.random.default_rng(0).random((300, 600)) < 0.3) * 1.0
    figure = plot_pattern(weight, Param("w", (300, 600), "float32", "rnn", output_axis=0, input_axis=1))
    whole, corner = (axes.images[0].get_array() for axes in figure.axes)
    assert whole.shape == (150, 200) and whole[0, 0] == weight[:2, :3].mean()
    assert corner.tolist() == weight[:32, :32].tolist()
    drawn(figure)


def test_the_size_of_the_corner_can_be_chosen():
    weight = np.ones((80, 80))
    assert plot_pattern(weight, corner=64).axes[1].images[0].get_array().shape == (64, 64)
    assert len(plot_pattern(weight, corner=0).axes) == 1
    with pytest.raises(ValueError, match="`corner` must be >= 0, got -1"):
        plot_pattern(weight, corner=-1)


def test_a_weight_of_which_nothing_is_left_is_drawn():
    drawn(plot_pattern(np.zeros((400, 400))))
    drawn(plot_weights(np.zeros((400, 400))))


def test_a_pattern_without_elements_is_refused():
    with pytest.raises(ValueError, match=r"`weight` must have elements to be drawn, got shape \[0, 4\]"):
        plot_pattern(np.zeros((0, 4)))


def test_the_histogram_stacks_pruned_weights_on_kept_ones():
    before = np.random.default_rng(0).normal(size=1000)
    weight = before * (np.abs(before) > 0.5)
    figure = plot_weights(weight, before)
    kept, stacked = (patch.get_data() for patch in figure.axes[0].patches)
    assert kept.values.sum() == (weight != 0).sum() and stacked.values.sum() == 1000
    assert np.array_equal(stacked.baseline, kept.values)
    assert figure.axes[0].get_title() == ""
    drawn(figure)


def test_without_former_values_the_title_says_how_many_zeros_are_not_drawn():
    figure = plot_weights(np.array([0, 0, 1.0, np.nan]))
    assert len(figure.axes[0].patches) == 1
    assert figure.axes[0].get_title() == "2 zeros not drawn, 1 NaN or infinite"


def test_figures_are_not_left_open():
    from matplotlib import pyplot

    plot_weights(np.ones(3))
    assert pyplot.get_fignums() == []


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "paddle_unstructured\[plot\]"'):
        plot_weights(np.ones(3))
