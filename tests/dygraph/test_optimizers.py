# SPDX-License-Identifier: Apache-2.0
"""Exact zeros after every step of every optimizer, eager and under to_static, by whatever call; and no trace of us."""

import copy

import numpy as np
import paddle
import pytest
from layer_nets import WEIGHTS, Convnet, made, train, zeros

import paddle_unstructured as pu
from paddle_unstructured.graph.watched import watch

OPTIMIZERS = {
    "SGD": lambda p: paddle.optimizer.SGD(0.05, parameters=p, weight_decay=1e-3),
    "Momentum": lambda p: paddle.optimizer.Momentum(0.05, 0.9, parameters=p, use_nesterov=True),
    "Adam": lambda p: paddle.optimizer.Adam(0.01, parameters=p),
    "AdamW": lambda p: paddle.optimizer.AdamW(0.01, parameters=p),
    "Adamax": lambda p: paddle.optimizer.Adamax(0.01, parameters=p),
    "Adagrad": lambda p: paddle.optimizer.Adagrad(0.01, parameters=p),
    "RMSProp": lambda p: paddle.optimizer.RMSProp(0.01, momentum=0.9, parameters=p),
    "Lamb": lambda p: paddle.optimizer.Lamb(0.01, parameters=p),
    "clipped": lambda p: paddle.optimizer.Adam(0.01, parameters=p, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0)),
}


def backward(model, seed=0):
    data = np.random.default_rng(seed).normal(size=[5, 4, 6, 6]).astype("float32")
    loss = ((model(paddle.to_tensor(data)) - 1.0) ** 2).mean()
    loss.backward()
    return loss


def converted():
    return paddle.jit.to_static(made(), full_graph=True)


@pytest.mark.parametrize("first_step", ["before", "after"])
@pytest.mark.parametrize("make", [made, converted])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_are_exact_after_every_step(name, make, first_step):
    model = make()
    optimizer = OPTIMIZERS[name](model.parameters())
    if first_step == "before":
        backward(model, 100)
        optimizer.step()
        optimizer.clear_grad()
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    pruner.step()
    for step in range(3):
        backward(model, step)
        before = model.head.weight.numpy()
        optimizer.step()
        optimizer.clear_grad()
        assert zeros(model) == 180
        assert (model.head.weight.numpy() != before).any()


def test_an_optimizer_that_nobody_watches_refills_pruned_weights():
    """Else the tests above would pass whatever we do."""
    model = made()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.step()
    backward(model)
    optimizer.step()
    assert zeros(model) < 20


def test_minimize_keeps_zeros_too():
    model = made()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer).step()
    optimizer.minimize(backward(model))
    assert zeros(model) == 180


@pytest.mark.filterwarnings("ignore:AmpScaler can only be enabled")
def test_a_gradient_scaler_steps_through_the_watched_optimizer():
    model = made()
    optimizer, scaler = OPTIMIZERS["Momentum"](model.parameters()), paddle.amp.GradScaler(init_loss_scaling=8.0)
    pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer).step()
    for _ in range(2):
        scaler.scale(((model(paddle.randn([5, 4, 6, 6])) - 1.0) ** 2).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.clear_grad()
        assert zeros(model) == 180


def test_an_optimizer_may_be_watched_later_and_in_groups():
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    groups = [{"params": model.head.parameters()}, {"params": [*model.first.parameters(), *model.point.parameters()]}]
    optimizer = paddle.optimizer.Adam(0.01, parameters=groups)
    pruner.watch(optimizer)
    pruner.watch(optimizer)  # no harm
    train(model, optimizer, pruner)
    backward(model)
    optimizer.step()
    assert zeros(model) == 180


def test_two_optimizers_of_one_model():
    model = made()
    body = OPTIMIZERS["Adam"]([*model.first.parameters(), *model.point.parameters()])
    head = OPTIMIZERS["Momentum"](model.head.parameters())
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.watch(body)
    pruner.watch(head)
    train(model, body, pruner)
    head.clear_grad()
    for step in range(2):
        backward(model, step)
        body.step()
        head.step()
        assert zeros(model) == 180


def test_weights_that_the_optimizer_does_not_train_are_left_alone_and_told():
    model = made()
    optimizer = OPTIMIZERS["Adam"](model.head.parameters())
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    assert list(pruner.masks) == ["head.weight"]
    model = made()
    later = pu.UnstructuredPruner(model, ratio=0.5)
    later.watch(OPTIMIZERS["Adam"](model.head.parameters()))
    later.step()
    assert list(later.masks) == ["head.weight"]
    reasons = {v.param.name: v.reason for v in later.explain()}
    assert "the optimizer does not train it" in reasons["first.weight"]


def test_frozen_weights_are_left_alone():
    model = made()
    model.first.weight.stop_gradient = True
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    assert list(pruner.masks) == WEIGHTS[1:]
    for tensor in model.parameters():
        tensor.stop_gradient = True
    assert list(pu.UnstructuredPruner(model, ratio=0.5).masks) == WEIGHTS  # nothing is trained: a model for inference


def test_the_optimizer_is_as_before_once_it_is_not_watched():
    model = made()
    optimizer = OPTIMIZERS["Adam"](model.parameters())
    before = set(vars(optimizer))
    first = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    second = pu.UnstructuredPruner(model, ratio=0.6, optimizer=optimizer)
    first.step()
    first.unwatch()
    backward(model)
    optimizer.step()
    assert zeros(model) == 180  # the other one still watches
    second.unwatch()
    assert set(vars(optimizer)) == before and type(optimizer.step).__name__ == "method"
    backward(model)
    optimizer.step()
    assert zeros(model) < 180
    first.step()
    assert zeros(model) == 180  # and without, step() sees to it


def test_a_copy_of_a_watched_optimizer_has_its_own_step():
    model = made()
    optimizer = OPTIMIZERS["SGD"](model.parameters())
    pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    twin = copy.deepcopy(optimizer)
    assert twin.step.__self__ is twin and twin.minimize.__self__ is twin
    assert optimizer.state_dict().keys() == OPTIMIZERS["SGD"](made().parameters()).state_dict().keys()


def test_master_weights_are_as_sparse_as_their_weights():
    model = paddle.nn.Linear(8, 8)
    model.to(dtype="bfloat16")
    optimizer = paddle.optimizer.SGD(0.05, parameters=model.parameters(), multi_precision=True)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    pruner.step()
    for _ in range(2):
        ((model.weight.astype("float32") - 1.0) ** 2).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        master = optimizer._master_weights[model.weight.name]
        assert int((master == 0).sum()) == int((model.weight.astype("float32") == 0).sum()) == 32


def test_a_step_that_is_traced_into_a_program_is_refused():
    optimizer = OPTIMIZERS["SGD"](made().parameters())
    optimizer.step = lambda: None  # whatever Paddle makes of it there
    watch(optimizer, lambda _: None)
    paddle.enable_static()
    try:
        with pytest.raises(RuntimeError, match="was traced into a Program, where masks would not hold"):
            optimizer.step()
    finally:
        paddle.disable_static()


def test_what_is_no_optimizer_of_the_model_is_refused_by_name():
    model, other = made(), Convnet()
    with pytest.raises(ValueError, match="`optimizer` must train parameters of the model"):
        pu.UnstructuredPruner(model, ratio=0.5, optimizer=OPTIMIZERS["SGD"](other.parameters()))
    with pytest.raises(TypeError, match="`optimizer` must be a paddle.optimizer.Optimizer made with `parameters`"):
        pu.UnstructuredPruner(model, ratio=0.5, optimizer="Adam")
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    with pytest.raises(TypeError, match="`optimizer` must be"):
        pruner.watch(None)
