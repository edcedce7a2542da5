# SPDX-License-Identifier: Apache-2.0
"""Of how many weights a sparsity is told: of a head that is cut off, and of weights that were left out."""

import logging

import paddle
import pytest
from nets import Net, two_linears

from paddle_unstructured import Block, UnstructuredPruner
from paddle_unstructured.export import export, export_model, open_model

pytestmark = pytest.mark.usefixtures("static")


def two_heads(x):
    """A body [4, 6], an auxiliary head [6, 2] and a head [6, 2]; both are in the loss, the output is the head's."""
    body = paddle.tanh(paddle.nn.Linear(4, 6)(x))
    auxiliary, head = paddle.nn.Linear(6, 2)(body), paddle.nn.Linear(6, 2)(body)
    return paddle.concat([auxiliary, head], 1)


def output_of_head(net):
    op = net.output.get_defining_op().operand_source(0).get_defining_op()  # the list that concat reads
    return op.operand_source(1)


@pytest.fixture
def net():
    return Net(two_heads, [3, 4], lambda: paddle.optimizer.Adam(0.01))


def test_pruned_params_that_the_exported_model_does_not_have_are_named(net, tmp_path, caplog):
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 1)
    exported = export(net.program, [net.input], [output_of_head(net)], tmp_path / "model", pruner)
    said = "1 pruned params with 12 weights are not in the exported model: linear_1.w_0"
    assert exported.absent == {"linear_1.w_0": 12}
    assert said in caplog.text and said in str(exported)
    zeros = net.zeros("linear_0.w_0", "linear_2.w_0")
    assert exported.sparsity == f"sparsity {zeros / 36:.4f}: {zeros} of 36 selected weights; {said}"


def test_a_whole_model_has_no_absent_params(net, tmp_path, caplog):
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 1)
    exported = export(net.program, [net.input], [net.output], tmp_path / "model", pruner)
    assert exported.absent == {} and exported.sparsity == "sparsity 0.5000: 24 of 48 selected weights"
    assert not caplog.records


def test_masks_that_a_saved_model_has_no_params_for_are_named(net, tmp_path, caplog):
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 1)
    pruner.save(tmp_path / "masks.pruner")
    paddle.static.save_inference_model(
        str(tmp_path / "head"), [net.input], [output_of_head(net)], net.exe, program=net.program
    )
    exported = export_model(tmp_path / "head", tmp_path / "model", masks=tmp_path / "masks.pruner")
    if "linear_1.w_0" in open_model(tmp_path / "head").param_names:  # Paddle 3.0 saves what no output reads, too
        assert exported.absent == {} and "linear_1.w_0" not in caplog.text
    else:
        assert exported.absent == {"linear_1.w_0": 12} and "linear_1.w_0" in caplog.text


def reached(caplog):
    found = [(r.levelname, r.getMessage()) for r in caplog.records if "the target" in r.getMessage()]
    caplog.clear()
    return found


def frozen_first(x):
    return paddle.nn.Linear(6, 2)(paddle.tanh(paddle.nn.Linear(4, 6, weight_attr=paddle.ParamAttr(trainable=False))(x)))


def vector_last(x):
    return paddle.nn.Linear(4, 6)(x) @ paddle.create_parameter([6], "float32", name="vector")


@pytest.mark.parametrize(
    "layers, pattern, selected, whole", [(frozen_first, None, 12, 36), (vector_last, Block(2, 1), 24, 30)]
)
def test_of_which_weights_a_target_is_reached_is_said_once(layers, pattern, selected, whole, tmp_path, caplog):
    net = Net(layers, [3, 4], lambda: paddle.optimizer.Adam(0.01))
    pruner = UnstructuredPruner(net.program, ratio=0.5, pattern=pattern)
    said = f"the target 0.5 is reached in the {selected} selected of {whole} weights ({100 * selected / whole:.1f} %)"
    pruner.save(tmp_path / "early.pruner")
    assert not reached(caplog)
    net.train(pruner, 2)
    [(level, message)] = reached(caplog)
    assert level == "WARNING" and message.startswith(said)
    for name in ("masks.pruner", "later.pruner"):
        net.train(pruner)
        pruner.save(tmp_path / name)
    pruner.load_state_dict(pruner.state_dict())
    export(net.program, [net.input], [net.output], tmp_path / "model", pruner)
    assert not reached(caplog)
    pruner.ratio = 0.75
    net.train(pruner)
    [(_, message)] = reached(caplog)
    assert message == said.replace("target 0.5", "target 0.75") + "; explain() names the others"


@pytest.mark.parametrize("first", ["save", "export", "step"])
def test_a_pruner_that_has_loaded_its_masks_says_it_once_where_they_are_written(first, tmp_path, caplog):
    net = Net(frozen_first, [3, 4], lambda: paddle.optimizer.Adam(0.01))
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    pruner.save(tmp_path / "masks.pruner")
    assert len(reached(caplog)) == 1
    loaded = UnstructuredPruner(net.program, ratio=0.5)
    loaded.load(tmp_path / "masks.pruner")
    calls = {
        "step": lambda: net.train(loaded),
        "save": lambda: loaded.save(tmp_path / "again.pruner"),
        "export": lambda: export(net.program, [net.input], [net.output], tmp_path / "model", loaded),
    }
    calls.pop(first)()
    assert len(reached(caplog)) == (first != "step")
    for call in calls.values():
        call()
    assert len(reached(caplog)) == (first == "step")


@pytest.mark.parametrize("select", [None, lambda param: param.name == "linear_0.w_0"], ids=["all", "one"])
def test_nothing_is_said_where_the_user_has_chosen_and_where_all_are_selected(select, tmp_path, caplog):
    net = Net(two_linears, [3, 4], lambda: paddle.optimizer.Adam(0.01))
    with caplog.at_level(logging.INFO):
        pruner = UnstructuredPruner(net.program, ratio=0.5, select=select)
        net.train(pruner)
        pruner.save(tmp_path / "masks.pruner")
    assert not reached(caplog)
