# SPDX-License-Identifier: Apache-2.0
"""What is sparse: exact counts, three totals that are never mixed, a table and JSON."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from nets import Net, convnet, two_linears

from paddle_unstructured import SparsityReport, UnstructuredPruner, sparsity_report
from paddle_unstructured.reporting.report import Row

pytestmark = pytest.mark.usefixtures("static")

WEIGHTS = {"conv2d_0.w_0": 72, "conv2d_1.w_0": 16, "linear_0.w_0": 48}
OTHERS = {
    "conv2d_0.b_0": 4,
    "batch_norm2d_0.w_0": 4,
    "batch_norm2d_0.b_0": 4,
    "batch_norm2d_0.w_1": 4,
    "batch_norm2d_0.w_2": 4,
    "conv2d_1.b_0": 4,
    "linear_0.b_0": 3,
}


@pytest.fixture
def net(static) -> Net:
    """Biases are not zero here, so that every zero is a pruned one."""
    built = Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.Adam(0.1))
    for name, size in OTHERS.items():
        built.put(name, np.ones(size))
    return built


def test_rows_count_the_exact_zeros_of_every_param(net):
    weight = net.get("linear_0.w_0")
    weight[0, :2] = [0.0, -0.0]
    weight[1, 0] = 1e-45  # the smallest float32 is no zero
    net.put("linear_0.w_0", weight)
    net.put("conv2d_0.b_0", [0, 1, 1, 0])
    rows = {row.name: row for row in sparsity_report(net.program).rows}
    assert {name: row.weights for name, row in rows.items()} == {**WEIGHTS, **OTHERS}
    assert {name: row.zeros for name, row in rows.items() if row.zeros} == {"linear_0.w_0": 2, "conv2d_0.b_0": 2}


def test_the_three_totals_are_never_mixed(net):
    pruner = UnstructuredPruner(net.program, ratio=0.5, skip_params_func=lambda program: {"linear_0.w_0"})
    net.train(pruner)
    weight = net.get("linear_0.w_0")
    weight[:, 0] = 0
    net.put("linear_0.w_0", weight)
    report = sparsity_report(net.program, pruner=pruner)
    in_1x1 = net.zeros("conv2d_1.w_0")
    # 27 further parameters, 8 of them running statistics, which are no weights.
    assert report.counts == {"selected": (44, 88), "all": (44 + 16, 136 + 19), "conv1x1": (in_1x1, 16)}
    assert report.totals == {"selected": 44 / 88, "all": 60 / 155, "conv1x1": in_1x1 / 16}


def test_the_selected_total_is_exactly_the_asked_one(net):
    pruner = UnstructuredPruner(net.program, ratio=0.75)
    net.train(pruner)
    assert sparsity_report(net.program, pruner=pruner).totals["selected"] == 0.75 == pruner.sparsity()


def test_without_a_pruner_every_weight_that_could_be_pruned_counts_as_selected(net):
    assert sparsity_report(net.program).counts["selected"] == (0, sum(WEIGHTS.values()))


def test_rows_say_whether_a_param_is_pruned_and_why_not(net):
    pruner = UnstructuredPruner(net.program, prune_params_type="conv1x1_only")
    rows = {row.name: (row.role, row.pruned, row.reason) for row in sparsity_report(net.program, pruner=pruner).rows}
    assert rows["conv2d_1.w_0"] == ("conv2d", True, "conv2d weight, 1x1")
    assert rows["linear_0.w_0"] == ("linear", False, "not a 1x1 conv2d of one group")
    assert rows["batch_norm2d_0.w_1"] == ("norm mean", False, "the mean of a norm")


def test_rows_come_in_the_order_of_the_program(net):
    assert [row.name for row in sparsity_report(net.program).rows if row.name in WEIGHTS] == list(WEIGHTS)


def test_the_table_is_aligned(net):
    lines = str(sparsity_report(net.program)).splitlines()
    header, first_line, rows, last_line, totals = lines[0], lines[1], lines[2:12], lines[12], lines[13:]
    assert first_line == last_line == "-" * len(first_line)
    assert len(totals) == 3 and len(lines) == 16
    right_edges = [header.index(word) + len(word) for word in ("weights", "zeros", "sparsity")]
    for line in rows + totals:
        for edge in right_edges:
            assert line[edge - 1].isdigit() and line[edge : edge + 2].strip() == ""
    assert all(line[header.index("role") - 2 : header.index("role")] == "  " for line in rows)


def test_the_table_shows_counts_and_sparsity_as_a_fraction(net):
    weight = net.get("linear_0.w_0")
    weight[:8] = 0
    net.put("linear_0.w_0", weight)
    text = str(sparsity_report(net.program))
    assert "linear_0.w_0        linear         16x3          48     24    0.5000  yes" in text
    totals = [line.split() for line in text.splitlines()[-3:]]
    assert totals == [
        "selected weights 136 24 0.1765".split(),
        "all weights 155 24 0.1548".split(),
        "1x1 conv weights 16 0 0.0000".split(),
    ]


def test_many_biases_and_norms_are_a_row_for_each_kind():
    rows = [Row(f"conv_{i}.w_0", "conv2d", (4, 4, 1, 1), 16, i, True, "") for i in range(3)]
    norms = [Row(f"norm_{i}", role, (4,), 4, 0, False, role) for i in range(6) for role in ("norm scale", "norm mean")]
    lone = Row("last.b_0", "bias", (3,), 3, 3, False, "a bias")
    assert "norm_5" in str(SparsityReport((*rows, *norms), frozenset()))  # 12 are listed
    lines = str(SparsityReport((*rows, *norms, lone), frozenset())).splitlines()
    assert [line.split() for line in lines[2:8]] == [
        "conv_0.w_0 conv2d 4x4x1x1 16 0 0.0000 yes".split(),
        "conv_1.w_0 conv2d 4x4x1x1 16 1 0.0625 yes".split(),
        "conv_2.w_0 conv2d 4x4x1x1 16 2 0.1250 yes".split(),
        "(6 params) norm scale 24 0 0.0000 no: norm scale".split(),
        "(6 params) norm mean 24 0 0.0000 no: norm mean".split(),
        "last.b_0 bias 3 3 1.0000 no: a bias".split(),
    ]
    assert lines[8] == lines[1] and len(SparsityReport((*rows, *norms, lone), frozenset()).to_dict()["rows"]) == 16


def test_the_json_says_what_the_table_says(net):
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    report = sparsity_report(net.program, pruner=pruner)
    parsed = json.loads(report.to_json())
    assert parsed == report.to_dict()
    assert parsed["totals"]["selected"] == {"zeros": 68, "weights": 136, "sparsity": 0.5}
    assert parsed["rows"][0] == {
        "name": "conv2d_0.w_0",
        "role": "conv2d",
        "shape": [4, 2, 3, 3],
        "weights": 72,
        "zeros": net.zeros("conv2d_0.w_0"),
        "pruned": True,
        "reason": "conv2d weight",
        "sparsity": net.zeros("conv2d_0.w_0") / 72,
    }


def test_totals_of_nothing_are_zero():
    assert SparsityReport((), frozenset()).totals == {"selected": 0.0, "all": 0.0, "conv1x1": 0.0}
    assert Row("empty", "linear", (0, 4), 0, 0, False, "").sparsity == 0.0


def test_the_scope_is_the_pruners_if_none_is_given():
    net = Net(two_linears, [3, 4], own_scope=True)
    pruner = UnstructuredPruner(net.program, ratio=0.5, scope=net.scope)
    pruner.step()
    assert sparsity_report(net.program, pruner=pruner).totals["selected"] == 0.5
    assert sparsity_report(net.program, net.scope).totals["selected"] == 0.5


def test_a_report_on_a_scope_without_the_weights_is_an_error():
    net = Net(two_linears, [3, 4])
    with pytest.raises(ValueError, match="no value in the scope"):
        sparsity_report(net.program, paddle.static.Scope())


def test_a_test_clone_of_the_program_reports_the_same(net):
    clone = net.program.clone(paddle.pir.IrMapping())
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    assert sparsity_report(clone, pruner=pruner).to_dict() == sparsity_report(net.program, pruner=pruner).to_dict()


def test_a_recurrent_net_can_be_reported():
    net = Net(lambda x: paddle.nn.LSTM(4, 5)(x)[0], [3, 2, 4])
    assert sparsity_report(net.program).counts["selected"] == (0, 180)
