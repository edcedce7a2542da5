# SPDX-License-Identifier: Apache-2.0
"""What a weight of an nn.Layer is for: by the ops once it is traced, by the layers that hold it before."""

import paddle
import pytest
from layer_nets import Convnet, Mixed, Odd, made
from paddle.static import InputSpec

import paddle_unstructured as pu
from paddle_unstructured.graph import LayerGraph

MIXED = [InputSpec([None, 4, 8, 8]), InputSpec([None, 5], "int64")]
SPECS = {Convnet: [InputSpec([None, 4, 6, 6])], Mixed: MIXED}


class Normed(paddle.nn.Layer):
    """A convolution whose weight is divided by the norm of each row."""

    def __init__(self):
        super().__init__()
        self.v = self.create_parameter([8, 4, 3, 3])

    def forward(self, x):
        return paddle.nn.functional.conv2d(x, self.v / (self.v**2).sum([1, 2, 3], keepdim=True).sqrt())


def params_of(model, spec=None):
    return {param.name: param for param in LayerGraph(model, spec).params()}


@pytest.mark.parametrize("kind", SPECS)
def test_the_layers_of_paddle_are_told_as_their_ops_are(kind):
    structure, trace = params_of(made(kind)), params_of(made(kind), SPECS[kind])
    assert structure.keys() == trace.keys()
    for name, param in trace.items():
        assert structure[name] == param, name
    assert list(params_of(made(kind), SPECS[kind])) != []


def test_a_trace_follows_weights_that_no_layer_explains():
    roles = {name: param.role for name, param in params_of(Odd(), [InputSpec([None, 6])]).items()}
    assert roles["own"] == "linear" and roles["square.weight"] == "linear" and roles["standardised.weight"] == "unknown"


def test_without_a_trace_they_stay_dense_and_the_reason_says_how_to_get_one():
    model = Odd()
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    reasons = {v.param.name: v.reason for v in pruner.explain()}
    assert list(pruner.masks) == ["square.weight"]  # tied: once
    assert "give `input_spec`" in reasons["own"] and "`forward` of its own" in reasons["standardised.weight"]
    insisted = pu.UnstructuredPruner(model, ratio=0.5, select=lambda param: param.name == "own")
    assert list(insisted.masks) == ["own"]


def test_an_earlier_trace_is_remembered_by_reports():
    model = Odd()
    pruner = pu.UnstructuredPruner(model, ratio=0.5, input_spec=[InputSpec([None, 6])])
    pruner.step()
    rows = {row.name: row.role for row in pu.sparsity_report(model).rows}
    assert rows["own"] == "linear"


def test_tracing_leaves_the_model_as_it_was():
    model = made()
    before = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    forward = model.forward
    params_of(model, SPECS[Convnet])
    assert model.forward == forward and model.training and paddle.in_dynamic_mode()
    assert {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()} == before


def test_a_model_that_to_static_has_converted_is_traced_too():
    model = paddle.jit.to_static(made(), full_graph=True)
    assert params_of(model, SPECS[Convnet])["head.weight"].role == "linear"


def test_what_cannot_be_traced_says_why():
    with pytest.raises(
        ValueError, match="cannot be traced with `input_spec`.*Error: .*[Ii]nput.*; leave `input_spec` out"
    ):
        LayerGraph(Convnet(), [InputSpec([6])])
    with pytest.raises(TypeError, match="`input_spec` must be a list of paddle.static.InputSpec"):
        LayerGraph(Convnet(), "x")


def test_bad_input_is_refused_at_the_door():
    with pytest.raises(ValueError, match="the model must have parameters, and ReLU has none"):
        pu.UnstructuredPruner(paddle.nn.ReLU(), ratio=0.5)
    with pytest.raises(ValueError, match="nothing to prune"):
        pu.UnstructuredPruner(paddle.nn.BatchNorm2D(3), ratio=0.5)
    with pytest.raises(TypeError, match="`place` belongs to a static Program"):
        pu.UnstructuredPruner(made(), ratio=0.5, place=paddle.CPUPlace())
    pruner, other = pu.UnstructuredPruner(made(), ratio=0.5), made()
    paddle.enable_static()
    try:
        with pytest.raises(ValueError, match="call paddle.disable_static"):
            pu.UnstructuredPruner(other, ratio=0.5)
        program = paddle.static.Program()
        with pytest.raises(TypeError, match="`optimizer` belongs to an nn.Layer"):
            pu.UnstructuredPruner(program, ratio=0.5, optimizer=object())
        with pytest.raises(ValueError, match="call paddle.disable_static"):  # not the end of the process
            pruner.step()
        assert pruner.state_dict()["masks"] and pruner.explain()
    finally:
        paddle.disable_static()


def test_a_wholly_pruned_row_that_is_divided_by_its_norm_is_warned_of_as_in_a_program(caplog):
    pruner = pu.UnstructuredPruner(Normed(), ratio=0.25, pattern=pu.Filter(), input_spec=[InputSpec([None, 4, 6, 6])])
    pruner.step()
    [said] = [r.getMessage() for r in caplog.records if "their own norm" in r.getMessage()]
    assert f"no weight is left in 2 rows of {pruner.params[0].name}" in said
