# SPDX-License-Identifier: Apache-2.0
"""Criteria that look at more than weights, on an nn.Layer: the static door's masks, and nothing of it stays behind."""

import copy
import logging

import numpy as np
import paddle
import pytest
from layer_nets import WEIGHTS, Convnet, Mixed, made, train
from nets import Net
from paddle import nn
from paddle.static import InputSpec

import paddle_unstructured as pu

SPEC = [InputSpec([None, 4, 6, 6])]
STATIC_NAMES = dict(zip(WEIGHTS, ["conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"]))
FILTER = {"pattern": pu.Filter()}
CASES = [
    {"criterion": pu.Saliency(batches=2), "allocation": pu.LAMP()},
    {"criterion": pu.Saliency(batches=3), "pattern": pu.Block(2, 1)},
    {"criterion": pu.Saliency(batches=2, signed=True), "allocation": pu.Uniform()},
    {"criterion": pu.Saliency(batches=1), "pattern": pu.NM(2, 4)},
    {"criterion": pu.APoZ(batches=2), **FILTER},
    {"criterion": pu.MeanActivation(batches=3), "allocation": pu.ERK(), **FILTER},
    {"criterion": pu.InputNorm(batches=2), "allocation": pu.LAMP()},
    {"criterion": pu.NormScale(), "select": lambda param: param.name in ("first.weight", "conv2d_0.w_0"), **FILTER},
    {"criterion": pu.Saliency(batches=1), "allocation": pu.Threshold(0.002)},
]


def momentum(parameters=None):
    clip = nn.ClipGradByGlobalNorm(0.1)  # what a criterion sees is clipped, as the update is
    return paddle.optimizer.Momentum(0.05, 0.9, parameters, weight_decay=0.01, grad_clip=clip)


def complete(parts):
    is_asked = isinstance(parts.get("pattern"), pu.NM) or isinstance(parts.get("allocation"), pu.Threshold)
    return parts if is_asked else {**parts, "ratio": 0.6}


@pytest.mark.parametrize("parts", CASES, ids=lambda parts: repr(parts["criterion"]))
def test_masks_are_those_of_the_static_program(parts):
    """Two doors, the same weights and batches: every sum has the same bits, and so has every mask."""
    model = made()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    optimizer = momentum(model.parameters())
    eager = pu.UnstructuredPruner(model, optimizer=optimizer, input_spec=SPEC, **complete(parts))
    train(model, optimizer, eager, steps=4)
    assert eager.sparsity() > 0.2
    paddle.enable_static()
    try:
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = Net(lambda x: Convnet()(x), [5, 4, 6, 6], momentum)
            for name, own in STATIC_NAMES.items():
                net.put(own, state[name])
            static = pu.UnstructuredPruner(net.program, **complete(parts))
            net.train(static, 4)
            for name in eager.masks:
                theirs = static.state_dict()["masks"][STATIC_NAMES[name]]
                assert np.array_equal(eager.state_dict()["masks"][name], theirs), name
    finally:
        paddle.disable_static()


class Parts(nn.Layer):
    """A layer used twice, two functional activations, a norm without an activation, dropout, [n, 6]."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.plain = nn.Linear(6, 6, bias_attr=False)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = nn.functional.leaky_relu(self.norm(self.shared(x)), 0.2)
        x = self.drop(nn.functional.gelu(self.shared(x) * 2.0))
        return self.last(nn.functional.hardsigmoid(self.plain(x)))


def gathered(pruner):
    return {name: array for state in pruner.state_dict()["gathered"] for name, array in state["sums"].items()}


def test_outputs_are_those_behind_norm_and_functional_activation_of_the_first_use():
    model = Parts()
    pruner = pu.UnstructuredPruner(
        model, ratio=0.5, criterion=pu.MeanActivation(batches=9), input_spec=[InputSpec([None, 6])], **FILTER
    )
    x = paddle.randn([4, 6])
    model(x)
    model.eval()
    model(x)  # a test in between is none of its batches
    first = nn.functional.leaky_relu(model.norm(model.shared(x)), 0.2)
    np.testing.assert_allclose(gathered(pruner)["shared.weight"], first.abs().mean(0).numpy(), rtol=1e-6)
    assert set(gathered(pruner)) == {"shared.weight", "plain.weight", "last.weight"}
    plain = gathered(pruner)["plain.weight"]
    assert ((plain > 0) & (plain < 1)).all()  # of a hard sigmoid


def test_a_converted_model_runs_eagerly_while_outputs_are_gathered_and_converted_again_after_that():
    model = paddle.jit.to_static(made(), full_graph=True)
    optimizer, converted = momentum(model.parameters()), model.forward
    pruner = pu.UnstructuredPruner(
        model, ratio=0.5, criterion=pu.APoZ(batches=2), optimizer=optimizer, input_spec=SPEC, **FILTER
    )
    train(model, optimizer, pruner)
    assert model.forward is not converted and pruner.sparsity() == 0
    train(model, optimizer, pruner, steps=2)
    assert model.forward is converted and pruner.sparsity() > 0.3


@pytest.mark.parametrize("criterion", [pu.Saliency(batches=2), pu.MeanActivation(batches=2)])
def test_nothing_is_left_behind_when_the_last_sparsity_is_reached(criterion):
    model = made()
    optimizer = momentum(model.parameters())
    before = set(vars(optimizer))
    pruner = pu.UnstructuredPruner(
        model, ratio=0.5, criterion=criterion, optimizer=optimizer, input_spec=SPEC, **FILTER
    )
    train(model, optimizer, pruner, steps=3)
    pruner.unwatch()
    assert pruner.sparsity() > 0.3 and set(vars(optimizer)) - before <= {"_learning_rate_map", "_aux_vars"}
    assert not any(layer._forward_post_hooks or layer._forward_pre_hooks for layer in model.sublayers(True))


def test_a_copy_made_while_outputs_are_gathered_gathers_nothing():
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5, criterion=pu.APoZ(batches=9), input_spec=SPEC, **FILTER)
    twin = copy.deepcopy(model)
    twin(paddle.randn([2, 4, 6, 6]))
    assert not any(array.any() for array in gathered(pruner).values())


@pytest.mark.parametrize("criterion", [pu.Saliency(batches=4), pu.MeanActivation(batches=4)])
def test_gathering_goes_on_from_a_saved_state(criterion, tmp_path):
    def start(seed):
        model = made(seed=seed)
        optimizer = momentum(model.parameters())
        how = {"criterion": criterion, "optimizer": optimizer, "input_spec": SPEC, "ratio": 0.6, **FILTER}
        return model, optimizer, pu.UnstructuredPruner(model, **how)

    with paddle.utils.unique_name.guard():
        whole = start(1)
        train(*whole, steps=6)
    with paddle.utils.unique_name.guard():
        model, optimizer, pruner = start(1)
        train(model, optimizer, pruner, steps=2)
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    paddle.save(optimizer.state_dict(), str(tmp_path / "model.pdopt"))
    pruner.save(tmp_path / "model.pruner")
    with paddle.utils.unique_name.guard():
        model, optimizer, pruner = start(2)
        train(model, optimizer, pruner)
    model.set_state_dict(paddle.load(str(tmp_path / "model.pdparams")))
    optimizer.set_state_dict(paddle.load(str(tmp_path / "model.pdopt")))
    pruner.load(tmp_path / "model.pruner")
    assert all(array.any() for array in gathered(pruner).values())
    train(model, optimizer, pruner, steps=4)
    assert pruner.sparsity() > 0.3
    for name, tensor in whole[0].state_dict().items():
        assert np.array_equal(tensor.numpy(), model.state_dict()[name].numpy()), name


@pytest.mark.filterwarnings("ignore:Op `increment`")  # of LookAhead
@pytest.mark.parametrize("kind", ["groups", "multi_tensor", "inside another"])
def test_saliency_sees_the_gradients_of_any_kind_of_optimizer(kind):
    model = made()
    parameters = model.parameters()
    if kind == "groups":
        optimizer = paddle.optimizer.Adam(0.01, parameters=[{"params": parameters[:2]}, {"params": parameters[2:]}])
    elif kind == "multi_tensor":
        optimizer = paddle.optimizer.Adam(0.01, parameters=parameters, use_multi_tensor=True)
    else:
        optimizer = paddle.incubate.LookAhead(paddle.optimizer.SGD(0.01, parameters))
    pruner = pu.UnstructuredPruner(model, ratio=0.5, criterion=pu.Saliency(batches=2), optimizer=optimizer)
    train(model, optimizer, pruner)
    assert all(array.any() for array in gathered(pruner).values())
    train(model, optimizer, pruner)
    assert pruner.sparsity() == 0.5


def test_without_an_optimizer_there_are_no_gradients_to_gather():
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5, criterion=pu.Saliency(batches=1))
    with pytest.raises(ValueError, match=r"needs gradients.*give `optimizer`, or call watch\(optimizer\)"):
        pruner.step()
    optimizer = momentum(model.parameters())
    pruner.watch(optimizer)
    with pytest.raises(ValueError, match="needs gradients"):
        pu.UnstructuredPruner(made(), ratio=0.5, criterion=pu.Saliency(batches=1)).step()
    train(model, optimizer, pruner, steps=3)
    assert pruner.sparsity() == 0.5


def test_a_model_that_is_not_called_is_told_once(caplog):
    pruner = pu.UnstructuredPruner(made(), ratio=0.5, criterion=pu.APoZ(batches=1), input_spec=SPEC, **FILTER)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            pruner.step()
    assert caplog.text.count("has seen nothing since the last step()") == 1 and pruner.sparsity() == 0


def test_what_is_behind_a_layer_is_known_by_a_trace_only():
    for criterion in (pu.APoZ(), pu.MeanActivation(), pu.NormScale()):
        with pytest.raises(ValueError, match="is known once the model is traced.*give `input_spec`"):
            pu.UnstructuredPruner(made(), ratio=0.5, criterion=criterion, **FILTER)
    with pytest.raises(ValueError, match="needs a norm with a scale behind the layer.*behind point.weight"):
        pu.UnstructuredPruner(made(), ratio=0.5, criterion=pu.NormScale(), input_spec=SPEC, **FILTER)


class Own(nn.Layer):
    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([6, 8])

    def forward(self, x):
        return nn.functional.relu(x.matmul(self.weight))


def test_inputs_of_layers_are_seen_without_a_trace():
    model = made(Mixed)
    kinds = {"depthwise", "grouped", "up_grouped", "line", "head"}
    pruner = pu.UnstructuredPruner(
        model, ratio=0.5, criterion=pu.InputNorm(batches=2), select=lambda p: p.name.split(".")[0] in kinds
    )
    model(paddle.randn([2, 4, 8, 8]), paddle.randint(0, 11, [2, 5]))
    assert {name: len(array) for name, array in gathered(pruner).items()} == {
        "depthwise.weight": 4,
        "grouped.weight": 4,
        "up_grouped.weight": 4,
        "line.weight": 6,
        "head.weight": 8,
    }
    assert all((array > 0).all() for array in gathered(pruner).values())


def test_a_weight_that_no_layer_of_paddles_multiplies_cannot_be_watched():
    with pytest.raises(ValueError, match="cannot watch weight: no layer of paddle.nn computes it"):
        pu.UnstructuredPruner(
            Own(), ratio=0.5, criterion=pu.APoZ(), input_spec=[InputSpec([None, 6])], pattern=pu.Filter()
        )
