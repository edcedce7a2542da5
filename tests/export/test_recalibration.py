# SPDX-License-Identifier: Apache-2.0
"""Batch norms measured anew, on the weights as they are."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from exported import normed, opened, refused, written
from legacy_models import data
from nets import Net, branches, two_linears
from paddle import nn

from paddle_unstructured import (
    UnstructuredPruner,
)
from paddle_unstructured.export import export
from paddle_unstructured.export.recalibration import recalibrate

pytestmark = pytest.mark.usefixtures("static")


def test_statistics_are_the_average_of_the_batches_own(tmp_path):
    net = Net(normed, [-1, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    batches = [{"x": np.random.default_rng(k).normal(k, 1 + k, (6 + k, 4)).astype("float32")} for k in range(3)]
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner, recalibrate=iter(batches))
    model = written(tmp_path / "model")
    weight, bias = (model.graph.stored(f"linear_0.{name}").astype("float64") for name in ("w_0", "b_0"))
    outputs = [batch["x"].astype("float64") @ weight + bias for batch in batches]
    # 1e-5: Paddle computes and stores in float32
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_0.w_1"), np.mean([y.mean(0) for y in outputs], 0), 1e-5)
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_0.w_2"), np.mean([y.var(0) for y in outputs], 0), 1e-5)
    assert (net.get("batch_norm1d_0.w_2") == 1).all()  # the net's own are left alone


def test_every_norm_sees_what_the_norms_before_it_give_in_training_mode():
    def layers(x):
        first, second = nn.BatchNorm1D(4), nn.BatchNorm1D(4)
        return second(first(x) * 3.0)

    net = Net(layers, [8, 4], own_scope=True)
    model = opened(net)
    assert recalibrate(model, [{"x": data(8, 4) * 7 + 5}]) == 1
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_1.w_1"), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_1.w_2"), np.full(4, 9.0), rtol=1e-5)


def test_numbers_of_another_dtype_are_cast():
    net = Net(normed, [6, 4], own_scope=True)
    x = data(6, 4)
    recalibrate(opened(net), [{"x": x}])
    expected = net.get("batch_norm1d_0.w_1")
    recalibrate(opened(net), [{"x": x.astype("float64").tolist()}])
    np.testing.assert_array_equal(net.get("batch_norm1d_0.w_1"), expected)


def test_a_norm_in_a_branch_counts_the_batches_that_reach_it():
    net = Net(branches, [3, 4], own_scope=True)
    below, above = -np.abs(data(3, 4)), np.abs(data(3, 4))
    assert recalibrate(opened(net), [{"x": above}, {"x": below}, {"x": above}]) == 3
    np.testing.assert_allclose(net.get("batch_norm1d_0.w_1"), below.mean(0), rtol=1e-5)
    np.testing.assert_allclose(net.get("batch_norm1d_0.w_2"), below.var(0), rtol=1e-4)


GOOD = {"x": -np.ones((3, 4), "float32")}


@pytest.mark.parametrize(
    "batches, error, message",
    [
        ([], ValueError, "at least one batch of feeds, got none"),
        (GOOD, TypeError, "must be a list .* of batches, .* got dict"),
        (7, TypeError, "must be a list .* of batches, .* got int"),
        ([GOOD, 3], TypeError, "got int as batch 2"),
        ([GOOD, {}], ValueError, "must give arrays for x, got none in batch 2"),
        ([GOOD, {"y": GOOD["x"]}], ValueError, "must give arrays for x, got y in batch 2"),
        (
            [GOOD, {"x": np.ones((3, 5), "float32")}],
            ValueError,
            r"must give x the shape \[3, 4\], got \[3, 5\] in batch 2",
        ),
        ([{"x": -GOOD["x"]}], ValueError, "no batch goes through the branch of batch_norm1d_0.w_1"),
        (
            [GOOD, {"x": np.full((3, 4), np.nan, "float32")}],
            ValueError,
            "norm1d_0.w_1, batch_norm1d_0.w_2 would be NaN",
        ),
    ],
)
def test_batches_that_do_not_fit_leave_the_scope_as_it_was(batches, error, message):
    net = Net(branches, [3, 4], own_scope=True)
    before = net.everything()
    with pytest.raises(error, match=message):
        recalibrate(opened(net), batches)
    for name, value in net.everything().items():
        assert value.tobytes() == before[name].tobytes()


def test_a_crash_between_batches_leaves_the_scope_as_it_was():
    net = Net(branches, [3, 4], own_scope=True)
    before = net.everything()

    def batches():
        yield GOOD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recalibrate(opened(net), batches())
    for name, value in net.everything().items():
        assert value.tobytes() == before[name].tobytes()


def twice(x):
    norm = nn.BatchNorm1D(4)
    return norm(norm(x) + 1.0)


def in_loop(x):
    norm, i = nn.BatchNorm1D(4), paddle.zeros([1], "int64")
    return paddle.static.nn.while_loop(lambda i, h: (i < 3).all(), lambda i, h: [i + 1, norm(h) + 1.0], [i, x])[1]


@pytest.mark.parametrize("layers", [twice, in_loop])
def test_a_norm_that_a_batch_updates_twice_is_refused(layers):
    with pytest.raises(ValueError, match="a batch updates batch_norm1d_0.w_1 more than once"):
        recalibrate(opened(Net(layers, [3, 4], own_scope=True)), [GOOD])


def test_a_model_without_norms_is_refused(tmp_path):
    net = Net(two_linears, [3, 4])
    refused(
        tmp_path / "out" / "model",
        "must be left out: the model has no batch norm",
        net.program,
        "x",
        net.output,
        recalibrate=[{"x": data(3, 4)}],
    )
