# SPDX-License-Identifier: Apache-2.0
"""What else takes an nn.Layer: permutation, sensitivity, distillation, the recipe; and what does not, and says so."""

import numpy as np
import paddle
import pytest
from layer_nets import WEIGHTS, Convnet, made, train
from nets import Net
from paddle import nn
from paddle.static import InputSpec

import paddle_unstructured as pu
from paddle_unstructured.channels.permute import permute_channels
from paddle_unstructured.channels.shrink import remove_channels
from paddle_unstructured.sensitivity import allocate_by_sensitivity, sensitivity

SPEC = [InputSpec([None, 4, 6, 6])]
STATIC_NAMES = ["conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"]


def statically(act):
    """What `act(net)` gives of the same net with the same weights as a Program."""
    state = {name: tensor.numpy() for name, tensor in made().state_dict().items()}
    paddle.enable_static()
    try:
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = Net(lambda x: Convnet()(x), [5, 4, 6, 6])
            for name, own in zip(WEIGHTS, STATIC_NAMES):
                net.put(own, state[name])
            return act(net)
    finally:
        paddle.disable_static()


def test_permuted_channels_compute_what_they_did_and_are_those_of_the_static_program():
    model, x = made(), paddle.randn([3, 4, 6, 6])
    model.eval()
    before = model(x).numpy()
    rows = permute_channels(model, 2, input_spec=SPEC)
    assert [row.param for row in rows] == WEIGHTS and [row.permuted for row in rows][-1] is False
    np.testing.assert_allclose(model(x).numpy(), before, atol=1e-6)
    found = statically(
        lambda net: ([row.permuted for row in permute_channels(net.program, 2)], net.get("conv2d_0.w_0"))
    )
    assert [row.permuted for row in rows] == found[0] and any(found[0])
    assert np.array_equal(model.first.weight.numpy(), found[1])


def test_what_an_optimizer_keeps_is_permuted_with_its_weights():
    model, twin = made(), made()
    steps = []
    for net in (model, twin):
        optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
        (net(paddle.ones([2, 4, 6, 6])) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        steps.append(optimizer)
    assert any(row.permuted for row in permute_channels(model, 2, input_spec=SPEC, optimizer=steps[0]))
    for net, optimizer in zip((model, twin), steps):
        (net(paddle.ones([2, 4, 6, 6]) * 0.5) ** 2).mean().backward()
        optimizer.step()
    model.eval(), twin.eval()
    x = paddle.randn([3, 4, 6, 6])
    np.testing.assert_allclose(model(x).numpy(), twin(x).numpy(), atol=1e-5)


def test_permutation_comes_before_the_pruner_and_after_a_trace():
    model = made()
    with pytest.raises(ValueError, match="`input_spec` must be given for an nn.Layer"):
        permute_channels(model, 2)
    pu.UnstructuredPruner(model, ratio=0.5, input_spec=SPEC)
    with pytest.raises(ValueError, match="must have no masks yet"):
        permute_channels(model, 2)


def test_sensitivity_measures_the_layer_as_it_does_the_program():
    model, x = made(), paddle.ones([5, 4, 6, 6])
    before = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    model.eval()
    table = sensitivity(model, lambda: -float((model(x) ** 2).mean()), [0.5, 0.9], progress=False)
    assert {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()} == before
    found = statically(lambda net: sensitivity(net.program, lambda: 1.0, [0.5, 0.9], progress=False))
    assert [(row.param, row.sparsity) for row in table.rows] == [(n, s) for n in WEIGHTS for s in (0.5, 0.9)]
    assert [row.pruned for row in table.rows] == [row.pruned for row in found.rows]
    assert all(row.drop != 0 for row in table.rows)
    assert set(allocate_by_sensitivity(table, target=0.6)) == set(WEIGHTS)


def test_distillation_mixes_tensors_and_gives_the_teacher_no_gradient():
    logits, teacher = (paddle.to_tensor(np.random.default_rng(i).normal(size=[4, 3]).astype("float32")) for i in (0, 1))
    logits.stop_gradient = teacher.stop_gradient = False
    loss = (logits**2).mean()
    mixed = pu.distill(loss, logits, teacher, weight=0.25, temperature=2.0)
    wanted = nn.functional.softmax(teacher / 2, -1)
    gap = nn.functional.log_softmax(teacher / 2, -1) - nn.functional.log_softmax(logits / 2, -1)
    assert float(mixed) == pytest.approx(0.75 * float(loss) + 0.25 * 4 * float((wanted * gap).sum(-1).mean()), rel=1e-5)
    mixed.backward()
    assert teacher.grad is None and logits.grad is not None
    with pytest.raises(ValueError, match="the same classes apart"):
        pu.distill(loss, logits, teacher[:, :2])
    with pytest.raises(TypeError, match="`inputs` belongs to static Programs"):
        pu.distill(loss, logits, teacher, inputs={"x": loss})
    with pytest.raises(TypeError, match="`teacher_logits` must be a Tensor"):
        pu.distill(loss, logits, np.zeros([4, 3]))


def test_a_recipe_trains_a_layer():
    model, teacher = made(), made(seed=2)
    recipe = pu.Recipe(ratio=0.75, steps=8, weight=0.3)
    rate = paddle.optimizer.lr.LambdaDecay(0.05, recipe.rate)
    optimizer = paddle.optimizer.Momentum(rate, parameters=model.parameters())
    pruner = recipe.pruner(model, optimizer=optimizer)
    for step in range(8):
        x = paddle.to_tensor(np.random.default_rng(step).normal(size=[5, 4, 6, 6]).astype("float32"))
        logits = model(x)
        recipe.loss((logits**2).mean(), logits, teacher(x)).backward()
        optimizer.step()
        optimizer.clear_grad()
        rate.step()
        pruner.step()
    assert pruner.sparsity() == 0.75 and pruner.target_reached()


def test_what_takes_programs_alone_says_what_to_do_with_a_layer():
    with pytest.raises(TypeError, match=r"got an nn.Layer \(Convnet\); call it on paddle.static.data.*export"):
        remove_channels(made(), None)


def test_the_trace_of_a_layer_does_not_change_what_it_trains():
    """Parameters of the traced Program get the Layer's names: the tensors keep their own."""
    model = made()
    names = [tensor.name for tensor in model.parameters()]
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    pruner = pu.UnstructuredPruner(model, ratio=0.5, input_spec=SPEC, optimizer=optimizer)
    converted = paddle.jit.to_static(model, full_graph=True)
    train(converted, optimizer, pruner, steps=2)
    assert [tensor.name for tensor in model.parameters()] == names and pruner.sparsity() == 0.5
