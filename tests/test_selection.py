# SPDX-License-Identifier: Apache-2.0
"""Which params are pruned, and why not: every role is read off the ops of a real Program."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
import pytest
from nets import Net, convnet, two_linears
from paddle import nn

from paddle_unstructured import Param, UnstructuredPruner, all_weights, conv1x1_only
from paddle_unstructured.graph import open_graph
from paddle_unstructured.selection import judge

pytestmark = pytest.mark.usefixtures("static")


def params_of(layers, shape: list[int], dtype: str = "float32", train: bool = True) -> list[Param]:
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, paddle.static.Program()):
        loss = layers(paddle.static.data("x", shape, dtype)).cast("float32").mean()
        if train:
            paddle.optimizer.Adam(0.1).minimize(loss)
    return open_graph(program).params()


def weight_of(layers, shape: list[int], dtype: str = "float32", train: bool = True) -> Param:
    """The only param of two axes or more."""
    (found,) = (param for param in params_of(layers, shape, dtype, train) if len(param.shape) > 1)
    return found


def roles_of(layers, shape: list[int], dtype: str = "float32", train: bool = True) -> list[str]:
    return [param.role for param in params_of(layers, shape, dtype, train)]


def parameter(*shape: int) -> Any:
    return paddle.create_parameter(list(shape), "float32")


IMAGE = [2, 4, 6, 6]

# Layers -> (role, output axis, input axis, groups); outputs are 6 and inputs 4 where that can be.
CONVOLUTIONS = {
    "conv2d": (lambda x: nn.Conv2D(4, 6, 3)(x), IMAGE, ("conv2d", 0, 1, 1)),
    "conv2d 1x1": (lambda x: nn.Conv2D(4, 6, 1)(x), IMAGE, ("conv2d", 0, 1, 1)),
    "conv2d of channels last": (lambda x: nn.Conv2D(6, 5, 3, data_format="NHWC")(x), IMAGE, ("conv2d", 0, 1, 1)),
    "grouped conv2d": (lambda x: nn.Conv2D(4, 6, 3, groups=2)(x), IMAGE, ("conv2d", 0, 1, 2)),
    "depthwise conv2d": (lambda x: nn.Conv2D(4, 4, 3, groups=4)(x), IMAGE, ("depthwise_conv2d", 0, 1, 4)),
    "transposed conv2d": (lambda x: nn.Conv2DTranspose(4, 6, 3)(x), IMAGE, ("conv2d_transpose", 1, 0, 1)),
    "grouped transposed conv2d": (
        lambda x: nn.Conv2DTranspose(4, 6, 3, groups=2)(x),
        IMAGE,
        ("conv2d_transpose", 1, 0, 2),
    ),
    "depthwise transposed conv2d": (
        lambda x: nn.Conv2DTranspose(4, 4, 3, groups=4)(x),
        IMAGE,
        ("depthwise_conv2d_transpose", 1, 0, 4),
    ),
    "conv1d": (lambda x: nn.Conv1D(4, 6, 3)(x), [2, 4, 9], ("conv2d", 0, 1, 1)),
    "conv1d of one position": (lambda x: nn.Conv1D(4, 6, 1)(x), [2, 4, 9], ("conv2d", 0, 1, 1)),
    "conv1d of one channel": (lambda x: nn.Conv1D(1, 1, 1)(x), [2, 1, 9], ("conv2d", 0, 1, 1)),
    "transposed conv1d": (lambda x: nn.Conv1DTranspose(4, 6, 3)(x), [2, 4, 9], ("conv2d_transpose", 1, 0, 1)),
    "conv3d": (lambda x: nn.Conv3D(4, 6, 3)(x), [2, 4, 5, 5, 5], ("conv3d", 0, 1, 1)),
    "transposed conv3d": (lambda x: nn.Conv3DTranspose(4, 6, 3)(x), [2, 4, 5, 5, 5], ("conv3d_transpose", 1, 0, 1)),
    "a linear weight used as a 1x1 kernel": (
        lambda x: F.conv2d(x, parameter(6, 4).unsqueeze([2, 3])),
        IMAGE,
        ("conv2d", 0, 1, 1),
    ),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_weights_of_convolutions_are_known_with_their_axes(case):
    layers, shape, expected = CONVOLUTIONS[case]
    param = weight_of(layers, shape)
    assert (param.role, param.output_axis, param.input_axis, param.groups) == expected
    assert all_weights(param)[0]


# How a weight enters a product -> (output axis, input axis).
PRODUCTS = {
    "nn.Linear": (lambda x: nn.Linear(4, 6)(x), (1, 0)),
    "x @ w": (lambda x: x @ parameter(4, 6), (1, 0)),
    "x @ w^T by the op": (lambda x: paddle.matmul(x, parameter(6, 4), transpose_y=True), (0, 1)),
    "x @ w^T by a transpose": (lambda x: x @ parameter(6, 4).t(), (0, 1)),
    "x @ w^T^T": (lambda x: paddle.matmul(x, parameter(4, 6).t(), transpose_y=True), (1, 0)),
    "w @ x": (lambda x: parameter(6, 2) @ x, (0, 1)),
    "w^T @ x by the op": (lambda x: paddle.matmul(parameter(2, 6), x, transpose_x=True), (1, 0)),
    "w^T @ x by a transpose": (lambda x: parameter(2, 6).t() @ x, (1, 0)),
    "addmm, weight on the right": (lambda x: paddle.addmm(paddle.zeros([2, 6]), x, parameter(4, 6)), (1, 0)),
    "addmm, weight on the left": (lambda x: paddle.addmm(paddle.zeros([5, 4]), parameter(5, 2), x), (0, 1)),
    "baddbmm, weight on the right": (
        lambda x: paddle.baddbmm(paddle.zeros([2, 1, 6]), x.unsqueeze(1), parameter(2, 4, 6)),
        (2, 1),
    ),
    "baddbmm, weight on the left": (
        lambda x: paddle.baddbmm(paddle.zeros([2, 5, 1]), parameter(2, 5, 4), x.unsqueeze(2)),
        (1, 2),
    ),
    "inner": (lambda x: paddle.inner(x, parameter(6, 4)), (0, 1)),
    "einsum": (lambda x: paddle.einsum("ni,io->no", x, parameter(4, 6)), (1, 0)),
    "tensordot": (lambda x: paddle.tensordot(x, parameter(4, 6), axes=1), (1, 0)),
    "mv": (lambda x: paddle.mv(parameter(3, 2), x[:, 0]), (0, 1)),
    "cast": (lambda x: x.cast("float64") @ parameter(4, 6).cast("float64"), (1, 0)),
    "bmm": (lambda x: paddle.bmm(x.unsqueeze(1), parameter(2, 4, 6)), (2, 1)),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_a_weight_of_a_product_is_linear_whatever_the_order_of_operands(case):
    layers, axes = PRODUCTS[case]
    param = weight_of(layers, [2, 4])
    assert (param.role, (param.output_axis, param.input_axis)) == ("linear", axes)


@pytest.mark.parametrize(
    "layers",
    [
        lambda x: paddle.addmm(parameter(2, 6), x, parameter(4, 6)),
        lambda x: paddle.baddbmm(parameter(2, 1, 6), x.unsqueeze(1), parameter(2, 4, 6), 0.5, 2.0),
    ],
)
def test_the_term_that_addmm_adds_is_a_bias(layers):
    assert sorted(roles_of(layers, [2, 4])) == ["bias", "linear"]


@pytest.mark.parametrize(
    "layers, op",
    [
        (lambda x: nn.Bilinear(4, 4, 6)(x, paddle.tanh(x)), "bilinear"),
        (lambda x: paddle.linalg.multi_dot([x, parameter(4, 6), parameter(6, 3)]), "multi_dot"),
        (lambda x: paddle.kron(x, parameter(2, 2)), "kron"),
    ],
)
def test_products_that_are_not_known_are_named_with_their_op(layers, op):
    param = next(param for param in params_of(layers, [2, 4]) if len(param.shape) > 1 and param.role != "bias")
    verdict = all_weights(param)
    assert verdict == (False, f"read by pd_op.{op}, an op whose weights this package does not know")


def test_a_vector_that_is_multiplied_has_an_input_axis_only():
    (param,) = params_of(lambda x: x @ parameter(4), [2, 4])
    assert (param.role, param.output_axis, param.input_axis) == ("linear", None, 0)


def test_a_reshaped_weight_is_linear_without_axes():
    param = weight_of(lambda x: x @ parameter(2, 2, 6).reshape([4, 6]), [2, 4])
    assert (param.role, param.output_axis, param.input_axis) == ("linear", None, None)


def test_an_embedding_is_a_weight_of_rows():
    param = weight_of(lambda x: nn.Embedding(10, 6)(x), [2, 4], "int64")
    assert (param.role, param.output_axis, param.input_axis) == ("embedding", 1, 0)


def test_an_embedding_that_is_also_the_output_layer_is_one_weight():
    def tied(x):
        embedding = nn.Embedding(10, 6)
        return paddle.matmul(embedding(x), embedding.weight, transpose_y=True)

    (param,) = params_of(tied, [2, 4], "int64")
    assert (param.role, param.shape) == ("embedding", (10, 6))


def test_a_weight_shared_by_two_readers_is_one_weight():
    def twice(x):
        layer = nn.Linear(4, 4, bias_attr=False)
        return layer(paddle.tanh(layer(x)))

    assert roles_of(twice, [2, 4]) == ["linear"]


def test_a_weight_that_the_loss_penalises_is_still_a_weight():
    def penalised(x):
        weight = parameter(4, 4)
        return (weight**2).sum() + (x @ weight).sum()

    assert roles_of(penalised, [2, 4]) == ["linear"]


@pytest.mark.parametrize("train", [True, False])
def test_a_weight_read_only_inside_a_loop_is_found(train):
    def loop(x):
        layer = nn.Linear(4, 4)
        return paddle.static.nn.while_loop(
            lambda i, h: i < 3, lambda i, h: [i + 1, layer(h)], [paddle.zeros([1], "int64"), x]
        )[1]

    assert sorted(roles_of(loop, [2, 4], train=train)) == ["bias", "linear"]


@pytest.mark.parametrize("train", [True, False])
def test_weights_read_only_inside_branches_are_found(train):
    def branch(x):
        one, other = nn.Linear(4, 4), nn.Linear(4, 4)
        return paddle.static.nn.cond(x.sum() > 0, lambda: one(x), lambda: other(x))

    assert sorted(roles_of(branch, [2, 4], train=train)) == ["bias", "bias", "linear", "linear"]


@pytest.mark.parametrize("layer, gates", [(nn.LSTM, 4), (nn.GRU, 3), (nn.SimpleRNN, 1)])
def test_both_weights_of_a_recurrent_layer_are_weights(layer, gates):
    params = [p for p in params_of(lambda x: layer(4, 5)(x)[0], [2, 3, 4]) if p.is_weight]
    assert [(p.role, p.shape, p.output_axis, p.input_axis) for p in params] == [
        ("rnn", (gates * 5, 4), 0, 1),
        ("rnn", (gates * 5, 5), 0, 1),
    ]


def test_nothing_else_of_a_recurrent_layer_is_pruned():
    others = [p for p in params_of(lambda x: nn.LSTM(4, 5)(x)[0], [2, 3, 4]) if not p.is_weight]
    assert {p.role for p in others} <= {"bias", "unused", "unknown"}
    assert not any(verdict.pruned for verdict in judge(others))


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.SimpleRNNCell])
def test_cells_of_recurrent_layers_multiply_by_transposed_weights(cell):
    params = [p for p in params_of(lambda x: cell(4, 5)(x)[0], [2, 4]) if p.is_weight]
    assert [(p.role, p.output_axis, p.input_axis) for p in params] == [("linear", 0, 1)] * 2


def test_attention_has_four_weights():
    assert roles_of(lambda x: nn.MultiHeadAttention(4, 2)(x, x, x), [2, 3, 4]).count("linear") == 4


def test_mixed_precision_hides_no_weight():
    def mixed(x):
        with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            return nn.Linear(16, 3)(nn.Conv2D(4, 4, 3)(x).flatten(2))

    params = params_of(mixed, IMAGE)
    assert [(p.role, p.dtype) for p in params if p.is_weight] == [("conv2d", "float32"), ("linear", "float32")]


NORMS = {
    "batch norm": (lambda x: nn.BatchNorm2D(4)(x), ["norm scale", "norm bias", "norm mean", "norm variance"]),
    "group norm": (lambda x: nn.GroupNorm(2, 4)(x), ["norm scale", "norm bias"]),
    "instance norm": (lambda x: nn.InstanceNorm2D(4)(x), ["norm scale", "norm bias"]),
    "layer norm": (lambda x: nn.LayerNorm([6])(x), ["norm scale", "norm bias"]),
    "layer norm over everything": (lambda x: nn.LayerNorm([4, 6, 6])(x), ["norm scale", "norm bias"]),
    "RMS norm by hand": (lambda x: x * paddle.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * parameter(6), ["scale"]),
}


@pytest.mark.parametrize("case", NORMS)
def test_nothing_of_a_norm_is_pruned(case):
    layers, roles = NORMS[case]
    params = params_of(layers, IMAGE)
    assert sorted(p.role for p in params) == sorted(roles)
    assert not any(verdict.pruned for verdict in judge(params))


def test_a_weight_that_a_norm_normalises_is_still_pruned():
    """PaddleSlim skips by the word `norm` in the op's name, and with it whatever enters there."""

    def normed(x):
        return F.layer_norm(parameter(4, 6), 6).sum() + (x @ parameter(4, 6)).sum()

    assert sorted(roles_of(normed, [2, 4])) == ["linear", "unknown"]


def test_a_layer_called_norm_is_pruned_all_the_same():
    def named(x):
        return nn.Linear(4, 6, weight_attr=paddle.ParamAttr(name="norm_like.w"), bias_attr=False)(x)

    (verdict,) = judge(params_of(named, [2, 4]))
    assert verdict.pruned


@pytest.mark.parametrize("count", [1, 4])
def test_the_slope_of_a_prelu_is_not_pruned(count):
    (verdict,) = judge(params_of(lambda x: nn.PReLU(count)(x), IMAGE))
    assert (verdict.param.role, verdict.pruned, verdict.reason) == ("prelu alpha", False, "the slope of a PReLU")


@pytest.mark.parametrize(
    "layers, shape",
    [
        (lambda x: nn.Linear(4, 6)(x), [2, 4]),
        (lambda x: nn.Conv2D(4, 6, 3)(x), IMAGE),
        (lambda x: nn.Conv1D(4, 6, 3)(x), [2, 4, 9]),
        (lambda x: nn.Conv2DTranspose(4, 6, 3)(x), IMAGE),
    ],
)
def test_a_bias_is_not_pruned_and_the_reason_says_so(layers, shape):
    verdict = next(v for v in judge(params_of(layers, shape)) if len(v.param.shape) == 1)
    assert (verdict.param.role, verdict.pruned, verdict.reason) == ("bias", False, "a bias")


@pytest.mark.parametrize(
    "layers, shape, reader",
    [
        (lambda x: nn.Bilinear(4, 4, 3)(x, x), [2, 4], "pd_op.bilinear"),
        (lambda x: x @ paddle.sin(parameter(4, 6)), [2, 4], "pd_op.sin"),
    ],
)
def test_a_weight_of_an_unknown_reader_is_skipped_and_the_reason_names_the_reader(layers, shape, reader):
    verdict = next(v for v in judge(params_of(layers, shape)) if v.param.role == "unknown")
    assert not verdict.pruned
    assert verdict.reason == f"read by {reader}, an op whose weights this package does not know"


def test_a_standardised_weight_is_no_bias():
    assert roles_of(lambda x: F.conv2d(x, (lambda w: w - w.mean())(parameter(6, 4, 1, 1))), IMAGE) == ["unknown"]


def test_a_param_that_nothing_reads_is_not_pruned():
    def unused(x):
        parameter(4, 4)
        return x * parameter(4)

    reasons = {v.reason for v in judge(params_of(unused, [2, 4]))}
    assert "nothing in the Program reads it" in reasons


def test_params_come_in_the_order_in_which_the_program_reads_them():
    def crossed(x):
        later, first = nn.Linear(6, 2, bias_attr=False), nn.Linear(4, 6, bias_attr=False)
        return later(first(x))

    assert [p.name for p in params_of(crossed, [2, 4])] == ["linear_1.w_0", "linear_0.w_0"]


def test_what_is_read_first_inside_a_loop_comes_first():
    def loop_first(x):
        last, inner = nn.Linear(4, 6, bias_attr=False), nn.Linear(4, 4, bias_attr=False)
        return last(
            paddle.static.nn.while_loop(
                lambda i, h: i < 3, lambda i, h: [i + 1, inner(h)], [paddle.zeros([1], "int64"), x]
            )[1]
        )

    assert [p.name for p in params_of(loop_first, [2, 4], train=False)] == ["linear_1.w_0", "linear_0.w_0"]


# -- 1x1 convolutions


@pytest.mark.parametrize(
    "layers, is_conv1x1",
    [
        (lambda x: nn.Conv2D(4, 6, 1)(x), True),
        (lambda x: nn.Conv2D(4, 6, 1, stride=2)(x), True),
        (lambda x: nn.Conv2D(4, 6, 1, padding=1)(x), True),
        (lambda x: nn.Conv2D(4, 6, 3)(x), False),
        (lambda x: nn.Conv2D(4, 6, 1, groups=2)(x), False),
        (lambda x: nn.Conv2D(4, 4, 1, groups=4)(x), False),
        (lambda x: nn.Conv2DTranspose(4, 6, 1)(x), False),
        (lambda x: nn.Conv2D(4, 6, (1, 3))(x), False),
        (lambda x: nn.Linear(6, 2)(x), False),
        (lambda x: nn.Conv3D(4, 6, 1)(x.unsqueeze(2)), False),
    ],
)
def test_conv1x1_only_means_conv2d_with_a_1x1_kernel_and_one_group(layers, is_conv1x1):
    param = weight_of(layers, IMAGE)
    assert param.is_conv1x1 is is_conv1x1
    assert conv1x1_only(param)[0] is is_conv1x1


def test_conv1x1_only_takes_no_1x1_slope_of_a_prelu():
    """PaddleSlim goes by the shape alone."""
    alpha = Param("alpha", (1, 4, 1, 1), "float32", "prelu alpha", "pd_op.prelu")
    assert not conv1x1_only(alpha)[0]


# -- what users select


def test_a_users_selection_may_answer_with_a_bool():
    verdicts = judge(params_of(two_linears, [2, 4]), select=lambda param: param.shape == (4, 6))
    assert [v.param.name for v in verdicts if v.pruned] == ["linear_0.w_0"]


def test_a_users_selection_may_answer_with_a_reason():
    verdicts = judge(params_of(two_linears, [2, 4]), select=lambda param: (param.shape == (4, 6), "because"))
    assert {v.reason for v in verdicts if v.param.is_weight} == {"because"}


def test_a_users_selection_is_named_as_the_reason():
    def only_wide(param):
        return param.shape[1] > 4

    verdict = judge(params_of(two_linears, [2, 4]), select=only_wide)[-2]
    assert (verdict.param.name, verdict.reason) == ("linear_1.w_0", "not selected by only_wide")


def test_a_users_selection_cannot_prune_a_bias():
    verdicts = judge(params_of(two_linears, [2, 4]), select=lambda param: True)
    assert {v.param.role for v in verdicts if v.pruned} == {"linear"}


def test_skipped_names_are_skipped_with_that_reason():
    verdicts = judge(params_of(two_linears, [2, 4]), skip={"linear_0.w_0"})
    assert [v.reason for v in verdicts if v.param.name == "linear_0.w_0"] == ["named by skip_params_func"]
    assert [v.param.name for v in verdicts if v.pruned] == ["linear_1.w_0"]


def test_explain_lists_every_parameter_with_role_and_reason():
    explanation = UnstructuredPruner(Net(convnet, [2, 2, 4, 4]).program, prune_params_type="conv1x1_only").explain()
    assert {v.param.name: (v.param.role, v.pruned, v.reason) for v in explanation} == {
        "conv2d_0.w_0": ("conv2d", False, "not a 1x1 conv2d of one group"),
        "conv2d_0.b_0": ("bias", False, "a bias"),
        "batch_norm2d_0.w_0": ("norm scale", False, "the scale of a norm"),
        "batch_norm2d_0.b_0": ("norm bias", False, "the bias of a norm"),
        "batch_norm2d_0.w_1": ("norm mean", False, "the mean of a norm"),
        "batch_norm2d_0.w_2": ("norm variance", False, "the variance of a norm"),
        "conv2d_1.w_0": ("conv2d", True, "conv2d weight, 1x1"),
        "conv2d_1.b_0": ("bias", False, "a bias"),
        "linear_0.w_0": ("linear", False, "not a 1x1 conv2d of one group"),
        "linear_0.b_0": ("bias", False, "a bias"),
    }
    lines = str(explanation).splitlines()
    assert len(lines) == 2 + 10
    assert lines[2].split() == "conv2d_0.w_0 conv2d 4x2x3x3 no not a 1x1 conv2d of one group".split()
