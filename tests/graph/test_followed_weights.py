# SPDX-License-Identifier: Apache-2.0
"""Weights that pass through other ops on their way to their own one: followed, or left dense with the reason."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import APoZ, Filter, Param, Saliency, UnstructuredPruner
from paddle_unstructured.export import open_model
from paddle_unstructured.graph import open_graph
from paddle_unstructured.selection import judge

pytestmark = pytest.mark.usefixtures("static")

IMAGE = [2, 4, 6, 6]


def parameter(*shape: int) -> Any:
    return paddle.create_parameter(list(shape), "float32", default_initializer=nn.initializer.Normal())


def params_of(layers, shape: list[int], train: bool = True) -> list[Param]:
    """Biggest first."""
    net = Net(layers, shape, (lambda: paddle.optimizer.SGD(0.1)) if train else None)
    return sorted(open_graph(net.program).params(), key=lambda param: -prod(param.shape))


def apart(x, weights):
    return sum(x @ weight for weight in weights)


def weight_norm(x):
    v, g = parameter(8, 4, 3, 3), parameter(8, 1, 1, 1)
    return F.conv2d(x, g * v / (v**2).sum([1, 2, 3], keepdim=True).sqrt())


def weight_norm_by_rows(x):
    v, g = parameter(8, 4, 3, 3), parameter(8)
    rows = v.reshape([8, 36])
    return F.conv2d(x, (rows / rows.norm(axis=1, keepdim=True)).reshape([8, 4, 3, 3]) * g.reshape([8, 1, 1, 1]))


def spectral_norm(x):
    weight, u = parameter(8, 4, 3, 3), parameter(8)
    rows = weight.reshape([8, 36])
    v = F.normalize(paddle.mv(rows.t(), u), axis=0)
    return F.conv2d(x, weight / (F.normalize(paddle.mv(rows, v), axis=0) * paddle.mv(rows, v)).sum())


def spectral_norm_layer(x):
    return F.conv2d(x, nn.SpectralNorm([8, 4, 3, 3])(parameter(8, 4, 3, 3)))


# Layers -> (role, output axis, input axis) of the biggest param.
FOLLOWED = {
    "split in three": (lambda x: apart(x, paddle.split(parameter(4, 12), 3, axis=1)), [2, 4], ("linear", 1, 0)),
    "split by sections": (
        lambda x: paddle.concat([x @ weight for weight in paddle.split(parameter(4, 5), [2, 3], 1)], 1),
        [2, 4],
        ("linear", 1, 0),
    ),
    "unbind": (lambda x: apart(x, paddle.unbind(parameter(3, 4, 6))), [2, 4], ("linear", 2, 1)),
    "slice": (lambda x: x @ parameter(4, 12)[:, 2:8], [2, 4], ("linear", 1, 0)),
    "one of a stack": (lambda x: x @ parameter(3, 4, 6)[1], [2, 4], ("linear", 2, 1)),
    "a factor": (lambda x: x @ (parameter(4, 6) * 0.5), [2, 4], ("linear", 1, 0)),
    "a divisor": (lambda x: x @ (parameter(4, 6) / paddle.full([1], 3.0)), [2, 4], ("linear", 1, 0)),
    "a constant mask": (
        lambda x: x @ (parameter(4, 6) * paddle.to_tensor(np.eye(4, 6, dtype="float32"))),
        [2, 4],
        ("linear", 1, 0),
    ),
    "pad": (lambda x: x @ F.pad(parameter(4, 6), [0, 0, 0, 2]), [2, 4], ("linear", 1, 0)),
    "concat": (lambda x: x @ paddle.concat([parameter(4, 6), parameter(4, 2)], 1), [2, 4], ("linear", 1, 0)),
    "stack": (
        lambda x: paddle.bmm(x.unsqueeze(1), paddle.stack([parameter(4, 6), parameter(4, 6)])),
        [2, 4],
        ("linear", 1, 0),
    ),
    "a sum of weights": (lambda x: x @ (parameter(4, 6) + parameter(4, 6)), [2, 4], ("linear", 1, 0)),
    "low rank beside it": (
        lambda x: x @ (parameter(4, 8) + parameter(4, 2) @ parameter(2, 8)),
        [2, 4],
        ("linear", 1, 0),
    ),
    "cast, transpose and factor": (lambda x: x @ (parameter(6, 4).t() * 2.0), [2, 4], ("linear", 0, 1)),
    "einsum": (lambda x: paddle.einsum("bi,eio->beo", x, parameter(3, 4, 5)), [2, 4], ("linear", 2, 1)),
    "rows by number": (lambda x: x @ paddle.gather(parameter(8, 4), paddle.to_tensor([0, 3, 1, 5])).t(), [2, 4], None),
    "weight norm": (weight_norm, IMAGE, ("conv2d", 0, 1)),
    "weight norm by rows": (weight_norm_by_rows, IMAGE, ("conv2d", 0, 1)),
    "spectral norm": (spectral_norm, IMAGE, ("conv2d", 0, 1)),
    "spectral norm, the layer": (spectral_norm_layer, IMAGE, ("conv2d", 0, 1)),
    "dropped weights": (lambda x: x @ F.dropout(parameter(4, 6), 0.5), [2, 4], ("linear", 1, 0)),
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", FOLLOWED)
def test_a_weight_is_followed_through_ops_that_keep_its_zeros(case, train):
    layers, shape, expected = FOLLOWED[case]
    param = params_of(layers, shape, train)[0]
    if expected is not None:
        assert (param.role, param.output_axis, param.input_axis) == expected
    assert param.is_weight and judge([param])[0].pruned


def test_what_scales_weights_is_no_weight():
    assert {p.role: p.shape for p in params_of(weight_norm, IMAGE)} == {
        "conv2d": (8, 4, 3, 3),
        "weight scale": (8, 1, 1, 1),
    }
    vector = params_of(spectral_norm, IMAGE)[1]
    assert (vector.role, judge([vector])[0].reason) == ("unknown", "what is computed from it only scales weights")


BROKEN = {
    "standardised": (lambda x: (lambda w: x @ ((w - w.mean()) / w.std()))(parameter(4, 6)), "pd_op.subtract takes"),
    "standardised by columns": (
        lambda x: (lambda w: x @ (w - w.mean(0, keepdim=True)))(parameter(4, 6)),
        "pd_op.subtract takes",
    ),
    "an offset": (lambda x: x @ (parameter(4, 6) + 1.0), "pd_op.scale adds"),
    "an offset that is learned": (lambda x: x @ (parameter(4, 6) + parameter(1, 6)), "pd_op.add adds"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_weight_whose_zeros_are_destroyed_is_not_pruned_and_the_reason_names_the_op(case):
    layers, reason = BROKEN[case]
    (verdict, *_) = judge(params_of(layers, [2, 4]))
    assert not verdict.pruned and verdict.param.is_unfollowed
    assert verdict.reason.startswith("its zeros are no zeros where it is used") and reason in verdict.reason


def test_weights_that_paddle_copies_at_every_run_are_left_alone_with_a_plain_reason():
    """`nn.utils.weight_norm` in a static Program: w -> v at every run, and only v is in a saved model."""
    verdicts = judge(params_of(lambda x: nn.utils.weight_norm(nn.Conv2D(4, 8, 3))(x), IMAGE))
    reasons = {v.param.name: v.reason for v in verdicts if len(v.param.shape) == 4}
    assert not any(v.pruned for v in verdicts)
    assert reasons["conv2d_0.w_0"].startswith("pd_op.assign_out_ copies it into another parameter at every run")
    assert reasons["conv2d_0.w_1"] == "pd_op.assign_out_ writes it anew at every run"


PLAIN = {
    "position embedding": (
        lambda x: x + parameter(1, 3, 4),
        "added to activations, as a bias or a position embedding is",
    ),
    "position embedding of the input's shape": (
        lambda x: x + parameter(2, 3, 4),
        "added to activations, as a bias or a position embedding is",
    ),
    "class token": (
        lambda x: paddle.concat([parameter(1, 1, 4).expand([2, -1, -1]), x], 1),
        "a token: it is joined to activations, and multiplies nothing",
    ),
    "layer scale": (lambda x: x * parameter(4), "a factor that scales activations"),
    "relative positions": (
        lambda x: x + paddle.gather(parameter(9, 4), paddle.to_tensor([1, 2, 3])),
        "added to activations, as a bias or a position embedding is",
    ),
    "nothing": (lambda x: x * parameter(0, 4).sum(), "it has no elements"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_what_is_no_weight_is_described_plainly(case):
    layers, reason = PLAIN[case]
    (verdict,) = judge(params_of(layers, [2, 3, 4]))
    assert (verdict.pruned, verdict.reason) == (False, reason)


@pytest.mark.parametrize("case", ["split in three", "a factor", "weight norm", "pad", "stack", "einsum", "unbind"])
def test_zeros_of_the_stored_weight_are_those_that_numpy_counts_and_stay_in_training(case):
    layers, shape, _ = FOLLOWED[case]
    net = Net(layers, shape, lambda: paddle.optimizer.Adam(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.75)
    net.train(pruner, 3)
    weights = [p.name for p in pruner.params]
    size = sum(p.size for p in pruner.params)
    assert net.zeros(*weights) == round(0.75 * size)
    everything = [value.name for value in net.program.global_block().all_parameters() if value.persistable]
    assert pruner.total_sparse(net.program) == net.zeros(*weights) / size
    assert net.zeros(*everything) >= net.zeros(*weights)


# -- frozen weights


def frozen_first(x):
    x = nn.Linear(4, 6, weight_attr=paddle.ParamAttr(trainable=False))(x)
    return nn.Linear(6, 2)(x)


@pytest.mark.parametrize("train", [True, False])
def test_a_frozen_weight_of_a_training_program_is_left_alone(train):
    verdicts = {v.param.shape: v for v in judge(params_of(frozen_first, [2, 4], train))}
    assert verdicts[6, 2].pruned and not verdicts[4, 6].pruned
    assert verdicts[4, 6].reason.startswith("linear weight, but ") and "train" in verdicts[4, 6].reason


def test_in_an_inference_program_nothing_is_trained_and_everything_is_pruned():
    net = Net(frozen_first, [2, 4])
    for value in net.program.global_block().all_parameters():
        value.stop_gradient = True
    assert [v.pruned for v in judge(open_graph(net.program).params()) if v.param.is_weight] == [True, True]


def test_in_a_saved_inference_model_a_weight_that_was_frozen_once_is_pruned(tmp_path):
    net = Net(frozen_first, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    path = str(tmp_path / "model")
    paddle.static.save_inference_model(path, [net.input], [net.output], net.exe, program=net.program)
    assert [v.pruned for v in judge(open_model(path).graph.params()) if v.param.is_weight] == [True, True]


def test_frozen_weights_that_are_insisted_on_are_pruned_with_a_warning(caplog):
    net = Net(frozen_first, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.is_weight)
    pruner.step()
    assert net.zeros("linear_0.w_0") + net.zeros("linear_1.w_0") == 18
    assert "pruned because `select` says so: linear_0.w_0" in caplog.text


# -- what is left out is told


def half_known(x):
    return nn.Linear(4, 6)(x) + x @ paddle.sin(parameter(4, 6))


def test_what_cannot_be_followed_is_logged_with_its_share(caplog):
    pruner = UnstructuredPruner(Net(half_known, [2, 4]).program, ratio=0.5)
    assert "24 of 48 weights (50.0 %) cannot be followed to their op and stay dense" in caplog.text
    assert "read by pd_op.sin" in caplog.text
    assert repr(pruner).endswith("weights=24 of 48)")


def test_what_cannot_be_followed_can_be_insisted_on():
    pruner = UnstructuredPruner(Net(half_known, [2, 4]).program, ratio=0.5, select=lambda param: True)
    assert sorted(p.role for p in pruner.params) == ["linear", "unknown"]


def test_no_total_hides_what_cannot_be_followed():
    net = Net(half_known, [2, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    assert pruner.sparsity() == 0.5
    assert pruner.total_sparse(net.program) == 12 / 48
    assert sorted(pruner.sparse_by_layer().values()) == [0.0, 0.5]


def two_halves(x):
    x = paddle.tanh(nn.Linear(4, 6)(x))
    return nn.Linear(6, 2)(x)


def second_alone(net: Net):
    """An optimizer that is given linear_1 only."""
    params = [value for value in net.program.global_block().all_parameters() if value.name.startswith("linear_1")]
    net.minimize(lambda: paddle.optimizer.Adam(0.1, parameters=params))


@pytest.mark.parametrize("criterion", [None, Saliency(batches=1), APoZ(batches=1)], ids=repr)
@pytest.mark.parametrize("order", ["optimizer first", "pruner first"])
def test_what_the_optimizer_leaves_out_is_left_alone_in_either_order(order, criterion, caplog):
    net = Net(two_halves, [3, 4])
    before = net.get("linear_0.w_0")
    if order == "optimizer first":
        second_alone(net)
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=criterion)
    if order == "pruner first":
        second_alone(net)
    net.train(pruner, 3)
    assert [p.name for p in pruner.params] == ["linear_1.w_0"] and pruner.sparsity() == 0.5
    assert net.zeros("linear_1.w_0") == 6 and (net.get("linear_0.w_0") == before).all()
    reasons = {v.param.name: v.reason for v in pruner.explain()}
    assert reasons["linear_0.w_0"] == "linear weight, but the optimizer does not train it"
    assert "24 of 36 weights (66.7 %) are not trained and stay as they are" in caplog.text


def test_a_frozen_weight_that_was_insisted_on_before_the_optimizer_came_is_pruned_after_it():
    net = Net(two_halves, [3, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.is_weight)
    second_alone(net)
    net.train(pruner, 2)
    assert net.zeros("linear_0.w_0", "linear_1.w_0") == 18


def with_epsilon(x):
    v = parameter(8, 4, 3, 3)
    return F.conv2d(x, v / ((v**2).sum([1, 2, 3], keepdim=True).sqrt() + 1e-6))


def scaled_by_its_mean(x):
    v = parameter(8, 4, 3, 3)
    return F.conv2d(x, v.sign() * v.abs().mean([1, 2, 3], keepdim=True))


@pytest.mark.parametrize(
    "layers, axes",
    [
        (weight_norm, (0,)),
        (weight_norm_by_rows, (0,)),
        (with_epsilon, ()),
        (scaled_by_its_mean, ()),
        (spectral_norm, ()),
    ],
)
def test_a_weight_that_its_own_norms_divide_is_known(layers, axes):
    assert params_of(layers, IMAGE)[0].normed == axes


def test_a_wholly_pruned_row_that_is_divided_by_its_norm_is_warned_of_once(caplog):
    net = Net(weight_norm, IMAGE, lambda: paddle.optimizer.SGD(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.25, pattern=Filter())
    pruner.step()
    pruner.step()
    [said] = [r.getMessage() for r in caplog.records if "their own norm" in r.getMessage()]
    assert f"no weight is left in 2 rows of {pruner.params[0].name}" in said
