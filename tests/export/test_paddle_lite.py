# SPDX-License-Identifier: Apache-2.0
"""Paddle Lite's rule: which layers would run sparse, by which kernel, why not the others, and the bytes of each."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from nets import Net, convnet

from paddle_unstructured.export.paddle_lite import LiteRow, lite_report
from paddle_unstructured.export.paddle_lite_storage import STORAGES, count_zeros
from paddle_unstructured.export.weight_only_int8 import quantize_weights
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


def conv(*args, shape=(2, 4, 8, 8), dtype="float32", weight=None, threshold=0.6, **kwargs) -> LiteRow:
    """The row of one convolution with 75 % zeros, or with this weight [out, in]."""
    net = Net(lambda x: paddle.nn.Conv2D(*args, **kwargs)(x), list(shape), dtype=dtype)
    now = net.get("conv2d_0.w_0")
    if weight is None:
        now[np.indices(now.shape).sum(axis=0) % 4 != 0] = 0
    else:
        now[:] = np.asarray(weight).reshape(now.shape)
    net.put("conv2d_0.w_0", now)
    return lite_report(net.program, net.scope, threshold=threshold).rows[0]


def test_a_plain_1x1_conv_above_the_threshold_runs_sparse():
    row = conv(4, 8, 1)
    assert (row.kernel, row.reason, row.zeros, row.counted, row.weights) == ("1x1", "", 24, 24, 32)


@pytest.mark.parametrize(
    "build, reason",
    [
        ({"args": (4, 8, 3)}, "kernel 3x3, not 1x1"),
        ({"args": (4, 8, (1, 3))}, "kernel 1x3, not 1x1"),
        ({"args": (4, 8, 1), "groups": 2}, "groups 2, not 1"),
        ({"args": (4, 8, 1), "stride": 2}, "stride 2, not 1"),
        ({"args": (4, 8, 1), "stride": (1, 2)}, "stride 1x2, not 1"),
        ({"args": (4, 8, 1), "padding": 1}, "padding 1, not 0"),
        ({"args": (4, 8, 3), "padding": 1, "stride": 2}, "kernel 3x3, not 1x1; stride 2, not 1; padding 1, not 0"),
        ({"args": (4, 4, 1), "groups": 4}, "depthwise_conv2d, not conv2d"),
        ({"args": (4, 8, 1), "dtype": "float64"}, "dtype float64, not float32 or int8"),
    ],
)
def test_each_clause_of_the_rule_is_named_where_it_breaks(build, reason):
    build = dict(build)
    row = conv(*build.pop("args"), **build)
    assert (row.kernel, row.reason) == ("dense", reason)
    assert row.counted is row.needed is None and row.smaller_from == {} and set(row.bytes) == {"fp32", "int8"}


def test_dilation_same_padding_and_bias_do_not_matter_to_a_1x1_kernel():
    assert conv(4, 8, 1, dilation=2).kernel == conv(4, 8, 1, padding="SAME").kernel == "1x1"
    assert conv(4, 8, 1, bias_attr=False).kernel == "1x1"


def test_linear_layers_are_listed_with_their_reason():
    rows = {row.name: row for row in lite_report(Net(convnet, [2, 2, 4, 4]).program).rows}
    assert list(rows) == ["conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"]
    assert rows["linear_0.w_0"].reason == "linear, not conv2d"


def test_the_threshold_counts_zeros_of_the_layer_exactly():
    weight = np.ones((5, 4))
    weight[[0, 1, 2, 3], [0, 1, 2, 3]] = 0  # scattered: no 2x1 pairs to speak of
    weight[:, 0] = weight[0] = 0
    weight[1, 2] = weight[2, 1] = weight[3, 1] = 0
    zeros = int((weight == 0).sum())
    assert zeros == 14
    assert conv(4, 5, 1, weight=weight, threshold=0.7).kernel != "dense"
    row = conv(4, 5, 1, weight=weight, threshold=0.71)
    assert (row.kernel, row.needed, row.sparsity) == ("dense", 0.75, 0.7)
    assert row.reason.endswith("needs 0.7500")


def test_the_2x1_kernel_is_chosen_from_90_percent_of_occupied_pairs():
    weight = np.zeros((4, 10))
    weight[0:2, :5] = 1  # 5 pairs, 10 nonzeros
    assert conv(10, 4, 1, shape=(2, 10, 8, 8), weight=weight).kernel == "2x1"
    weight[0, 0] = 0  # 9 of 10
    row = conv(10, 4, 1, shape=(2, 10, 8, 8), weight=weight)
    assert (row.kernel, row.zeros, row.counted) == ("2x1", 31, 30)  # the zero in an occupied pair is stored
    weight[1, 1] = 0  # 8 of 10
    row = conv(10, 4, 1, shape=(2, 10, 8, 8), weight=weight)
    assert (row.kernel, row.zeros, row.counted) == ("1x1", 32, 32)


def test_pairs_are_aligned_and_the_last_of_an_odd_number_of_channels_stands_alone():
    shifted = np.zeros((5, 4))
    shifted[1:3, 0] = 1  # neighbours, but of two pairs
    assert count_zeros(shifted).pairs == 2 and not count_zeros(shifted).is_2x1
    last = np.zeros((5, 4))
    last[4] = 1
    found = count_zeros(last)
    assert (found.pairs, found.kept_in_pairs, found.kept, found.is_2x1, found.counted) == (0, 0, 4, True, 16)


def test_zeros_inside_occupied_pairs_do_not_count_against_the_threshold_of_the_2x1_kernel():
    weight = np.zeros((2, 100))
    weight[:, :45] = 1
    weight[0, :5] = 0  # 85 of 90 values in occupied pairs
    row = conv(100, 2, 1, shape=(2, 100, 4, 4), weight=weight, threshold=0.56)
    assert (row.sparsity, row.counted, row.kernel) == (0.575, 110, "dense")
    assert row.reason == (
        "sparsity 0.5500 outside occupied pairs of channels (0.5750 in all; kernel 2x1 stores the others), needs 0.5600"
    )


def test_bytes_of_each_storage_by_hand():
    weight = np.zeros((3, 8))
    weight[0:2, [0, 3]] = 1  # two full pairs
    weight[0, 5] = 1  # half a pair
    weight[2, [1, 2, 3, 4, 5]] = 1  # five alone
    found = count_zeros(weight)
    assert (found.kept, found.kept_padded, found.pairs, found.kept_in_pairs) == (10, 4 + 4 + 8, 3, 5)
    assert {name: found.bytes(name) for name in STORAGES} == {
        "fp32": 96,
        "fp32 sparse": 8 * 16 + 12,
        "fp32 2x1": 12 * 3 + 8 * 5 + 12,
        "int8": 24,
        "int8 sparse": 5 * 10 + 12,
        "int8 2x1": 6 * 3 + 5 * 5 + 12,
    }


def test_large_layers_break_even_at_50_33_80_and_67_percent():
    found = count_zeros(np.zeros((512, 4096)))
    limits = {name: found.break_even(name) for name in STORAGES if " " in name}
    for name, limit in {"fp32 sparse": 1 / 2, "fp32 2x1": 1 / 3, "int8 sparse": 4 / 5, "int8 2x1": 2 / 3}.items():
        assert 0 < limits[name] - limit < 0.001, name


def test_break_even_is_the_least_sparsity_at_which_the_storage_is_smaller():
    for storage in ("fp32 sparse", "int8 sparse"):
        limit = round(count_zeros(np.ones((4, 40))).break_even(storage) * 160)
        for zeros, smaller in ((limit, True), (limit - 1, False)):
            weight = np.ones(160)
            weight[:zeros] = 0
            found = count_zeros(weight.reshape(4, 40))
            padding = 8 * (found.kept_padded - found.kept) if storage == "fp32 sparse" else 0
            assert (found.bytes(storage) - padding < found.bytes(storage.split()[0])) == smaller
    assert count_zeros(np.zeros((64, 1))).break_even("fp32 sparse") is None  # the counts alone take as much


def slow_count(weight) -> tuple[int, int, int, int, int]:
    kept = padded = pairs = in_pairs = 0
    for row in weight.tolist():
        nonzeros = sum(1 for value in row if value != 0)
        kept += nonzeros
        while nonzeros % 4:
            nonzeros += 1
        padded += nonzeros
    for first in range(0, len(weight) - 1, 2):
        for a, b in zip(weight[first].tolist(), weight[first + 1].tolist()):
            pairs += 1 if a != 0 or b != 0 else 0
            in_pairs += (a != 0) + (b != 0)
    counted = weight.size - kept
    if 10 * in_pairs >= 9 * 2 * pairs:
        counted = weight.size - 2 * pairs - (kept - in_pairs)
    return kept, padded, pairs, in_pairs, counted


def test_counts_agree_with_a_loop_over_many_weights():
    random = np.random.default_rng(0)
    for _ in range(300):
        weight = random.normal(size=(random.integers(1, 9), random.integers(1, 9)))
        weight = weight * (random.random(weight.shape) > random.random())
        if random.random() < 0.5:  # nearly whole pairs
            weight = np.repeat(weight, 2, axis=0)[random.integers(0, 2) :] * (random.random() < 0.9)
        found = count_zeros(weight)
        assert (found.kept, found.kept_padded, found.pairs, found.kept_in_pairs, found.counted) == slow_count(weight)


def test_totals_take_each_layer_as_chosen_and_forbidden_layers_dense():
    net = Net(convnet, [2, 2, 4, 4])
    weight = net.get("conv2d_1.w_0")
    weight[:, 1:] = 0  # 4 of 16 left, in two full pairs
    net.put("conv2d_1.w_0", weight)
    report = lite_report(net.program)
    assert [row.kernel for row in report.rows] == ["dense", "2x1", "dense"]
    others = 72 + 48
    assert report.totals == {
        "fp32": 4 * (others + 16),
        "fp32 sparse": 4 * others + 8 * 16 + 16,
        "fp32 2x1": 4 * others + 12 * 2 + 16,
        "int8": others + 16,
        "int8 sparse": others + 5 * 4 + 16,
        "int8 2x1": others + 6 * 2 + 16,
        "fp32 as chosen": 4 * others + 12 * 2 + 16,
        "int8 as chosen": others + 6 * 2 + 16,
    }


def test_text_and_json_say_the_same():
    net = Net(convnet, [2, 2, 4, 4])
    report = lite_report(net.program)
    text, loaded = str(report), json.loads(report.to_json())
    assert "0 of 3 layers run sparse at threshold 0.6" in text and "kernel 3x3, not 1x1" in text
    assert [row["name"] for row in loaded["rows"]] == [row.name for row in report.rows]
    assert loaded["totals"] == report.totals and loaded["rows"][1]["needed"] == 0.625


def test_weights_that_the_program_computes_are_not_what_paddle_lite_looks_at(tmp_path):
    net = Net(lambda x: paddle.nn.Conv2D(2, 4, 1)(x), [-1, 2, 4, 4])
    paddle.static.save_inference_model(str(tmp_path / "m"), [net.input], [net.output], net.exe, program=net.program)
    small, _ = quantize_weights(open_model(str(tmp_path / "m")))
    (row,) = lite_report(small.program, small.scope).rows
    assert row.reason.startswith("the weight is computed in the Program (pd_op.multiply)")


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_that_is_no_sparsity_is_refused(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must be a sparsity in \(0, 1\]"):
        lite_report(Net(convnet, [2, 2, 4, 4]).program, threshold=threshold)


def test_a_threshold_is_compared_as_float32():
    weight = np.zeros((1, 10))
    weight[0, :3] = 1
    assert conv(10, 1, 1, shape=(2, 10, 4, 4), weight=weight, threshold=0.7 + 1e-9).kernel == "2x1"  # equal as float32
    row = conv(10, 1, 1, shape=(2, 10, 4, 4), weight=weight, threshold=0.7 + 1e-6)
    assert (row.kernel, row.needed) == ("dense", 0.8)
