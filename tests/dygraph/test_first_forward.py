# SPDX-License-Identifier: Apache-2.0
"""What layers do not tell, the first forward does: the model is traced as it was called, and a state remembers it."""

import copy
import logging

import numpy as np
import paddle
import pytest
from layer_nets import Odd, made, train
from paddle import nn
from paddle.static import InputSpec

import paddle_unstructured as pu


def sgd(model):
    return paddle.optimizer.SGD(0.05, parameters=model.parameters())


def call(model, pruner, optimizer, steps=1):
    train(model, optimizer, pruner, steps, shape=(5, 6))


def masks(pruner):
    return {name: mask.tobytes() for name, mask in pruner.state_dict()["masks"].items()}


@pytest.mark.parametrize("full_graph", [False, True])
def test_a_converted_model_is_traced_as_it_was_written(full_graph):
    model = paddle.jit.to_static(made(Odd), full_graph=full_graph)
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    model(paddle.randn([2, 6]))
    pruner.step()
    assert list(pruner.masks) == ["own", "square.weight"]


def test_a_weight_of_its_own_is_pruned_from_the_first_step_on_as_with_a_spec(caplog):
    model, told = made(Odd), made(Odd)
    optimizer = sgd(model)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    assert list(pruner.masks) == ["square.weight"]
    with caplog.at_level(logging.WARNING):
        call(model, pruner, optimizer, 2)
    assert "a forward that came after the pruner tells what reads own; they are pruned too" in caplog.text
    assert not model._forward_pre_hooks and list(pruner.masks) == ["own", "square.weight"]
    assert "computed" not in caplog.text and pruner.sparsity() == 0.5
    spec = [InputSpec([5, 6])]
    other = pu.UnstructuredPruner(told, ratio=0.5, optimizer=sgd(told), input_spec=spec)
    call(told, other, sgd(told))
    assert list(other.masks) == list(pruner.masks)
    roles = {v.param.name: (v.param.role, v.pruned) for v in pruner.explain()}
    assert roles == {v.param.name: (v.param.role, v.pruned) for v in other.explain()}


def test_reasons_are_those_of_the_trace_also_where_nothing_else_is_pruned():
    model = made(Odd)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, select=lambda param: param.name == "square.weight")
    model(paddle.randn([2, 6]))
    pruner.step()
    found = {v.param.name: (v.param.role, v.pruned) for v in pruner.explain()}
    assert found["own"] == ("linear", False) and found["square.weight"] == ("linear", True)


def test_a_resumed_run_knows_what_the_first_one_was_called_with(tmp_path):
    model = made(Odd)
    optimizer = sgd(model)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    call(model, pruner, optimizer, 2)
    pruner.save(tmp_path / "state")
    again = made(Odd, seed=2)
    again.set_state_dict(model.state_dict())
    resumed = pu.UnstructuredPruner(again, ratio=0.5, optimizer=sgd(again))
    resumed.load(tmp_path / "state")
    assert masks(resumed) == masks(pruner) and list(resumed.masks) == ["own", "square.weight"]
    state = pruner.state_dict()
    for nonsense in (3, [{"shape": "x"}], [{"dtype": "float32"}], {"shape": [5, 6]}):
        with pytest.raises(ValueError, match="its inputs make no sense"):
            pu.UnstructuredPruner(made(Odd), ratio=0.5).load_state_dict({**state, "inputs": nonsense})


class Named(nn.Layer):
    """Called with a dict, a list and names, as detectors and transformers are."""

    def __init__(self):
        super().__init__()
        self.own = self.create_parameter([6, 8])
        self.head = nn.Linear(8, 4)

    def forward(self, inputs, extra=None, scale=1.0):
        x = inputs["x"].matmul(self.own) * scale
        return self.head(x if extra is None else x + extra[0])


def test_dicts_lists_constants_and_names_are_remembered():
    for given, named in (
        ([{"x": paddle.randn([2, 6])}], {}),
        ([{"x": paddle.randn([2, 6])}], {"extra": [paddle.randn([2, 8])], "scale": 0.5}),
    ):
        model = made(Named)
        pruner = pu.UnstructuredPruner(model, ratio=0.5)
        model(*given, **named)
        pruner.step()
        assert set(pruner.masks) == {"own", "head.weight"} and pruner.sparsity() == 0.5


class Untraceable(nn.Layer):
    def __init__(self):
        super().__init__()
        self.own, self.head = self.create_parameter([6, 6]), nn.Linear(6, 4)

    def forward(self, x):
        if not paddle.in_dynamic_mode():
            raise RuntimeError("this model is eager")
        return self.head(x @ self.own)


def test_a_model_that_cannot_be_traced_stays_with_what_its_layers_tell(caplog):
    model = made(Untraceable)
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            model(paddle.randn([2, 6]))
            pruner.step()
    assert caplog.text.count("what layers do not tell stays dense: Untraceable cannot be traced") == 1
    assert list(pruner.masks) == ["head.weight"] and not model._forward_pre_hooks
    model = made(Odd)
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    model.forward = lambda x: x
    with caplog.at_level(logging.WARNING):
        model(object())
        pruner.step()
    assert "the model cannot be traced as it is called: a object cannot be traced" in caplog.text


def test_a_forward_after_the_first_update_changes_nothing_and_says_so(caplog):
    model = made(Odd)
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.step()
    model(paddle.randn([2, 6]))
    with caplog.at_level(logging.WARNING):
        pruner.step()
    assert "a forward that came after the first mask update tells what reads own, 48 weights, which stay" in caplog.text
    assert list(pruner.masks) == ["square.weight"]


def test_models_whose_layers_tell_all_are_not_traced_and_copies_wait_for_nothing():
    assert not (model := made())._forward_pre_hooks
    pu.UnstructuredPruner(model, ratio=0.5)
    assert not model._forward_pre_hooks
    odd = made(Odd)
    pruner = pu.UnstructuredPruner(odd, ratio=0.5)
    twin = copy.deepcopy(odd)
    twin(paddle.randn([2, 6]))
    pruner.step()
    assert list(pruner.masks) == ["square.weight"] and np.isfinite(twin(paddle.randn([2, 6])).numpy()).all()
