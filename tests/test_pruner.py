"""The machine: what a user's training loop sees after every run. One section per decision of the design."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear, masks_in, two_linears
from paddle import optimizer

from paddle_unstructured import (
    Block,
    Constant,
    Element,
    Global,
    Polynomial,
    Threshold,
    Uniform,
    UnstructuredPruner,
    sparsity_report,
)
from paddle_unstructured.graph import PirGraph
from paddle_unstructured.masking.update import MaskUpdate

pytestmark = pytest.mark.usefixtures("static")

TWO = ("linear_0.w_0", "linear_1.w_0")  # 24 + 12 weights


def sgd():
    return optimizer.SGD(0.1)


def momentum():
    return optimizer.Momentum(0.1, 0.9)


def adam():
    return optimizer.Adam(0.05)


def two(make_optimizer=momentum, **kwargs) -> Net:
    return Net(two_linears, [3, 4], make_optimizer, **kwargs)


def table(*sparsities: float):
    """A schedule written out; the last sparsity stays."""
    return lambda step: sparsities[min(step, len(sparsities) - 1)]


# -- 1. Masks live in the graph: the stored weights are exactly sparse after every run

OPTIMIZERS = {
    "SGD": sgd,
    "Momentum": momentum,
    "Momentum, weight decay": lambda: optimizer.Momentum(0.1, 0.9, weight_decay=0.01),
    "Momentum, Nesterov": lambda: optimizer.Momentum(0.1, 0.9, use_nesterov=True),
    "Momentum, clipped": lambda: optimizer.Momentum(0.1, 0.9, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.5)),
    "Adam": adam,
    "AdamW": lambda: optimizer.AdamW(0.05, weight_decay=0.1),
    "RMSProp": lambda: optimizer.RMSProp(0.05),
    "Adagrad": lambda: optimizer.Adagrad(0.1),
    "Adamax": lambda: optimizer.Adamax(0.05),
    "Adadelta": lambda: optimizer.Adadelta(0.5),
    "Lamb": lambda: optimizer.Lamb(0.05),
}
# Every value of each of the three meets both values of the others.
SETTINGS = [
    ("before", "own", "float32"),
    ("before", "global", "float64"),
    ("after", "global", "float32"),
    ("after", "own", "float64"),
]


@pytest.mark.parametrize("made, where, dtype", SETTINGS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stored_weights_are_exactly_sparse_after_every_run_and_still_train(name, made, where, dtype):
    net = two(None if made == "before" else OPTIMIZERS[name], own_scope=where == "own", dtype=dtype)
    pruner = UnstructuredPruner(
        net.program, schedule=table(0.0, 0.5, 0.5, 0.75, 0.75), scope=net.scope if where == "own" else None
    )
    if made == "before":
        net.minimize(OPTIMIZERS[name])
    zeros = []
    for step in range(6):
        before = [net.get(weight) for weight in TWO]
        net.run()
        zeros.append(net.zeros(*TWO))
        for weight, old in zip(TWO, before):
            moved = net.get(weight) != old
            assert moved[old != 0].all() or not moved.all() and moved.any()
        pruner.step()
        assert net.zeros(*TWO) == round(36 * [0.0, 0.5, 0.5, 0.75, 0.75, 0.75][step])
    assert zeros == [0, 0, 18, 18, 27, 27]


def test_nothing_has_to_be_called_between_runs():
    net = two(adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    for _ in range(5):
        net.run()
        assert net.zeros(*TWO) == 18


def test_the_zeros_are_where_the_masks_are():
    net = two(adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    net.run()
    for weight in TWO:
        np.testing.assert_array_equal(net.get(weight) == 0, net.get(pruner.masks[weight]) == 0)


def test_a_mask_is_a_persistable_variable_of_the_weights_dtype_and_shape():
    net = two(dtype="float64")
    pruner = UnstructuredPruner(net.program)
    assert pruner.masks == {weight: weight + "_mask" for weight in TWO}
    assert sorted(masks_in(net.program)) == sorted(pruner.masks.values())
    for weight, mask in pruner.masks.items():
        assert (net.get(mask).dtype, net.get(mask).shape) == (net.get(weight).dtype, net.get(weight).shape)


def test_the_moving_average_of_a_weight_is_tied_with_one_call():
    net = two()
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        weight = next(v for v in net.program.global_block().all_parameters() if v.name == TWO[0])
        average = paddle.pir.core.create_persistable_value(
            dtype="float32", shape=[4, 6], name="average", initializer=paddle.nn.initializer.Constant(0.5)
        )
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        paddle.assign(average * 0.9 + weight * 0.1, output=average)
    net.exe.run(startup)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.tie(average, TWO[0])
    net.train(pruner)
    for _ in range(3):
        np.testing.assert_array_equal(net.get("average") == 0, net.get(TWO[0]) == 0)
        assert net.zeros("average") > 0
        net.run()


def test_a_shadow_of_another_precision_written_after_the_pruner_was_made_is_tied_too():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        shadow = paddle.pir.core.create_persistable_value(
            dtype="float64", shape=[4, 6], name="master", initializer=paddle.nn.initializer.Constant(1.0)
        )
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        paddle.assign(shadow + 1.0, output=shadow)
    net.exe.run(startup)
    pruner.tie("master", TWO[0])
    net.run()
    np.testing.assert_array_equal(net.get("master") == 0, net.get(TWO[0]) == 0)


def test_update_params_masks_loaded_weights_and_is_idempotent():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    for weight in TWO:
        net.put(weight, np.ones(net.get(weight).shape))
    pruner.update_params()
    once = net.everything()
    assert net.zeros(*TWO) == 18
    pruner.update_params()
    for name, value in net.everything().items():
        np.testing.assert_array_equal(value, once[name])


def test_update_params_masks_what_is_tied_too():
    net = two()
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        paddle.pir.core.create_persistable_value(
            dtype="float32", shape=[4, 6], name="average", initializer=paddle.nn.initializer.Constant(0.5)
        )
    net.exe.run(startup)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.tie("average", TWO[0])
    net.train(pruner)
    net.put("average", np.ones([4, 6]))
    pruner.update_params()
    np.testing.assert_array_equal(net.get("average") == 0, net.get(TWO[0]) == 0)


# -- 2. Before or after `minimize`, the algorithm is the same


@pytest.mark.parametrize("make_optimizer", [momentum, adam])
def test_before_and_after_minimize_train_to_the_same_bits(make_optimizer):
    results = []
    for made in ("before", "after"):
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = two(None if made == "before" else make_optimizer)
            pruner = UnstructuredPruner(net.program, schedule=table(0.0, 0.5, 0.75))
            if made == "before":
                net.minimize(make_optimizer)
            net.train(pruner, 5)
            results.append([net.get(weight) for weight in TWO])
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_a_pruner_made_under_no_grad_leaves_every_parameter_trainable():
    net = two()
    with paddle.no_grad():
        UnstructuredPruner(net.program)
    assert not any(value.stop_gradient for value in net.program.global_block().all_parameters())


@pytest.mark.parametrize("make_optimizer", [None, momentum])
def test_a_pruner_leaves_every_parameter_trainable(make_optimizer):
    """An in-place product marks its target as one that needs no gradient, and `minimize` would then skip it."""
    net = two(make_optimizer)
    net.train(UnstructuredPruner(net.program))
    assert not any(value.stop_gradient for value in net.program.global_block().all_parameters())


def test_a_program_without_an_optimizer_gets_no_products():
    net = two(None)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    assert not any(op.name() == "pd_op.multiply_" for op in net.program.global_block().ops)
    assert net.zeros(*TWO) == 18


def test_products_are_appended_once():
    net = two()
    pruner = UnstructuredPruner(net.program)
    count = net.program.num_ops()
    net.train(pruner, 3)
    pruner.update_params()
    assert net.program.num_ops() == count


def test_an_update_appended_after_steps_is_masked_from_the_next_step_on():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    weight = next(v for v in net.program.global_block().all_parameters() if v.name == TWO[0])
    with paddle.static.program_guard(net.program):
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        paddle.assign(weight + 0.01, output=weight)
    pruner.step()
    for _ in range(3):
        net.run()
        assert net.zeros(*TWO) == 18


def test_a_second_minimize_is_masked_too():
    net = two(sgd)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    net.minimize(momentum)
    assert sum(op.name() == "pd_op.momentum_" for op in net.program.global_block().ops) == 4
    pruner.step()
    for _ in range(3):
        net.run()
        assert net.zeros(*TWO) == 18


def test_an_inference_program_from_a_file_is_pruned_in_one_shot(tmp_path):
    dense = Net(convnet, [2, 2, 4, 4])
    paddle.static.save_inference_model(
        str(tmp_path / "model"), [dense.input], [dense.output], dense.exe, program=dense.program
    )
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = paddle.static.load_inference_model(str(tmp_path / "model"), dense.exe)
        pruner = UnstructuredPruner(program, ratio=0.5)
        pruner.step()
        assert UnstructuredPruner.total_sparse(program) == round(0.5 * 136) / 136  # 72 + 16 + 48 weights
        weights = {param.name: np.array(scope.find_var(param.name).get_tensor()) for param in pruner.params}
        data = np.random.default_rng(0).normal(size=[2, 2, 4, 4]).astype("float32")
        (output,) = dense.exe.run(program, feed={feeds[0]: data}, fetch_list=fetches)
    assert np.isfinite(output).all()
    assert sum(int((weight == 0).sum()) for weight in weights.values()) == 68


# -- 3. Masks are computed on the device


def test_no_weight_is_copied_to_the_host_in_a_training_loop(monkeypatch):
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=table(0.2, 0.4, 0.6))

    def refuse(self, name):
        raise AssertionError(f"{name} was copied to the host")

    monkeypatch.setattr(PirGraph, "array", refuse)
    net.train(pruner, 4)
    pruner.update_params()
    assert pruner.sparsity() == round(0.6 * 36) / 36


def test_an_update_fetches_only_a_few_numbers_per_layer(monkeypatch):
    net, fetched = two(), []
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    for way in ("numpy", "tolist", "item", "__array__"):
        fetch = getattr(paddle.Tensor, way)
        monkeypatch.setattr(
            paddle.Tensor, way, lambda self, *args, fetch=fetch: fetched.append(self.size) or fetch(self, *args)
        )
    net.train(pruner)
    assert fetched and max(fetched) == len(TWO)


def test_an_update_warns_of_nothing():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.train(pruner)


# -- 4. Rank, not threshold: exact numbers


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.1, 0.33, 0.5, 0.55, 0.99, 1.0])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_exactly_round_of_ratio_times_n_weights_are_pruned(ratio, floor):
    net = two()
    net.train(pruner := UnstructuredPruner(net.program, ratio=ratio, allocation=Global(floor)))
    assert net.zeros(*TWO) == round(ratio * 36)
    assert pruner.sparsity() == round(ratio * 36) / 36


def test_equal_weights_fall_in_stored_order():
    net = Net(linear(2, 3), [3, 2])
    net.put("linear_0.w_0", np.full([2, 3], 0.1))
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert (net.get("linear_0.w_0") != 0).tolist() == [[False] * 3, [True] * 3]


def test_equal_weights_of_two_layers_fall_in_the_order_of_the_program():
    net = two(None)
    for weight in TWO:
        net.put(weight, np.full(net.get(weight).shape, -0.1))
    UnstructuredPruner(net.program, ratio=0.75, allocation=Global(floor=0)).step()
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (24, 3)


def test_the_lowest_magnitudes_fall():
    net = Net(linear(2, 3), [3, 2])
    net.put("linear_0.w_0", [[0.5, -0.1, 3.0], [-4.0, 0.2, -0.3]])
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert net.get("linear_0.w_0").tolist() == np.array([[0.5, 0, 3.0], [-4.0, 0, 0]], "float32").tolist()


def test_float64_weights_are_told_apart_beyond_float32():
    net = Net(linear(2, 2), [3, 2], dtype="float64")
    net.put("linear_0.w_0", [[1 + 3e-12, 1 + 1e-12], [1 + 2e-12, 1.0]])
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert (net.get("linear_0.w_0") == 0).tolist() == [[False, True], [False, True]]


def test_weights_read_only_inside_a_loop_are_pruned_and_stay_sparse():
    def loop(x):
        layer, x.stop_gradient = paddle.nn.Linear(4, 4), False  # Paddle gives the layer no gradient otherwise
        return paddle.static.nn.while_loop(
            lambda i, h: i < 3, lambda i, h: [i + 1, paddle.tanh(layer(h))], [paddle.zeros([1], "int64"), x]
        )[1]

    net = Net(loop, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    for _ in range(3):
        before = net.get("linear_0.w_0")
        net.run()
        assert net.zeros("linear_0.w_0") == 8
        assert (net.get("linear_0.w_0") != before).any()


def test_a_recurrent_net_is_pruned_and_stays_sparse():
    net = Net(lambda x: paddle.nn.LSTM(4, 5)(x)[0], [3, 2, 4], adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    names = list(pruner.masks)
    net.train(pruner)
    net.run()
    assert net.zeros(*names) == 90  # of 80 + 100


def test_a_net_in_mixed_precision_is_pruned():
    """Its training crashes inside Paddle 3.3.1 on CPU, so this is its inference."""

    def mixed(x):
        with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            x = two_linears(x)
        return x.cast("float32")

    net = Net(mixed, [3, 4])
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    assert np.isfinite(net.run()[0]) and net.zeros(*TWO) == 18


@pytest.mark.parametrize("branch", ["taken", "not taken"])
def test_weights_read_only_inside_a_branch_are_pruned_and_stay_sparse(branch):
    def branches(x):
        layer = paddle.nn.Linear(4, 4)
        condition = paddle.full([1], branch == "taken", "bool")
        return paddle.static.nn.cond(condition, lambda: layer(x), lambda: x * 2.0)

    net = Net(branches, [3, 4], momentum)
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    net.run()
    assert net.zeros("linear_0.w_0") == 8


# -- 5. A mask is state of its own


def test_a_zero_initialised_layer_trains():
    """PaddleSlim's mask is (weight != 0): such a layer would be masked at the first step for ever."""
    zeros = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(0.0))
    net = Net(linear(4, 4, weight_attr=zeros), [3, 4], momentum)
    net.train(UnstructuredPruner(net.program, schedule=table(0.0, 0.0, 0.5)), 2)
    assert net.zeros("linear_0.w_0") == 0


def test_a_zero_initialised_layer_loses_exactly_the_asked_half_and_the_other_half_trains():
    zeros = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(0.0))
    net = Net(linear(4, 4, weight_attr=zeros), [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    assert int((net.get("linear_0.w_0_mask") == 0).sum()) == 8
    net.run()
    assert net.zeros("linear_0.w_0") == 8


def test_set_static_masks_takes_the_zeros_of_a_pruned_model():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.0)
    weight = net.get(TWO[0])
    weight[1:3] = 0
    net.put(TWO[0], weight)
    pruner.set_static_masks()
    assert pruner.sparsity() == 12 / 36
    net.train(pruner, 3)
    assert (net.get(TWO[0]) == 0).tolist() == (weight == 0).tolist()
    assert net.zeros(TWO[1]) == 0


def test_set_static_masks_warns_of_a_layer_that_is_zero_altogether(caplog):
    net = two()
    net.put(TWO[1], np.zeros([6, 2]))
    UnstructuredPruner(net.program, ratio=0.0).set_static_masks()
    assert f"no weight is left in {TWO[1]}" in caplog.text


# -- 6. `step()` is free when nothing is due


def test_a_constant_sparsity_means_one_update(monkeypatch):
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    monkeypatch.setattr(PirGraph, "tensors", lambda *_: pytest.fail("the device was asked"))
    net.train(pruner, 5)


def test_a_schedule_means_an_update_where_it_rises(monkeypatch):
    net, updates = two(), []
    prune = MaskUpdate.prune
    monkeypatch.setattr(MaskUpdate, "prune", lambda *a, **k: updates.append(pruner.steps) or prune(*a, **k))
    pruner = UnstructuredPruner(net.program, schedule=Polynomial(final=0.8, begin_step=2, end_step=8, update_every=3))
    net.train(pruner, 12)
    assert updates == [5, 8]


def test_steps_are_counted_from_zero():
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=Constant(0.5, begin_step=2))
    net.train(pruner, 2)
    assert (pruner.steps, net.zeros(*TWO)) == (2, 0)
    net.train(pruner)
    assert (pruner.steps, net.zeros(*TWO)) == (3, 18)


def test_masks_only_grow_while_the_target_rises():
    net = two(lambda: optimizer.Adam(0.5))  # large steps: the order of the weights changes all the time
    pruner = UnstructuredPruner(net.program, schedule=lambda step: min(0.9, step / 10))
    before = [net.get(pruner.masks[weight]) for weight in TWO]
    for _ in range(11):
        net.train(pruner)
        after = [net.get(pruner.masks[weight]) for weight in TWO]
        assert all((new <= old).all() for old, new in zip(before, after))
        before = after


def test_a_living_zero_falls_before_other_weights_but_after_what_is_pruned():
    net = Net(linear(2, 3), [3, 2])
    pruner = UnstructuredPruner(net.program, schedule=table(1 / 6, 2 / 6))
    net.put("linear_0.w_0", [[5.0, 4.0, 3.0], [2.0, 1.0, 9.0]])
    pruner.step()
    net.put("linear_0.w_0", [[0.0, 4.0, 3.0], [2.0, 0.0, 9.0]])
    pruner.step()
    assert net.get("linear_0.w_0_mask").tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]


# -- 7. A pruned weight stays pruned


def test_nothing_regrows_when_the_ratio_is_lowered(caplog):
    net = two(adam)
    pruner = UnstructuredPruner(net.program, ratio=0.75)
    net.train(pruner)
    masks = [net.get(mask) for mask in pruner.masks.values()]
    pruner.ratio = 0.25
    net.train(pruner, 3)
    assert all((net.get(mask) == old).all() for mask, old in zip(pruner.masks.values(), masks))
    assert "pruned weights stay pruned" in caplog.text


def test_a_pruned_weight_stays_pruned_also_when_somebody_sets_it():
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=table(0.5, 0.6))
    net.train(pruner)
    pruned = net.get(TWO[0]) == 0
    net.put(TWO[0], np.where(pruned, 100.0, net.get(TWO[0])))
    pruner.step()
    assert (net.get(TWO[0])[pruned] == 0).all()
    assert net.zeros(*TWO) == round(0.6 * 36)


def test_a_pruned_weight_stays_pruned_also_when_a_users_allocation_would_keep_it():
    class Generous(Global):
        def decide(self, units, alive, sizes, budget):
            decision = super().decide(units, alive, sizes, budget)
            return replace(decision, keep=[paddle.ones_like(k) for k in decision.keep])

    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.0, allocation=Generous())
    weight = net.get(TWO[0])
    weight[0] = 0
    net.put(TWO[0], weight)
    pruner.set_static_masks()
    pruner.ratio = 0.5
    net.train(pruner, 3)
    assert (net.get(TWO[0]) == 0).tolist() == (weight == 0).tolist()


def test_the_ratio_may_be_assigned_between_steps():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.25)
    net.train(pruner)
    assert pruner.ratio == 0.25
    pruner.ratio = 0.5
    net.train(pruner)
    assert (pruner.ratio, net.zeros(*TWO)) == (0.5, 18)


# -- 10. Which params


def test_conv1x1_only_prunes_1x1_convolutions_only():
    net = Net(convnet, [2, 2, 4, 4], momentum)
    net.train(UnstructuredPruner(net.program, ratio=0.5, prune_params_type="conv1x1_only"))
    zeros = {name: int((value == 0).sum()) for name, value in net.everything().items() if name.endswith(".w_0")}
    assert zeros == {"conv2d_0.w_0": 0, "batch_norm2d_0.w_0": 0, "conv2d_1.w_0": 8, "linear_0.w_0": 0}


def test_norms_and_biases_are_never_touched():
    net = Net(convnet, [2, 2, 4, 4], momentum)
    before = net.everything()
    pruner = UnstructuredPruner(net.program, ratio=1.0)
    pruner.step()
    for name in pruner.skip_params:
        np.testing.assert_array_equal(net.get(name), before[name])
    assert pruner.skip_params == {
        name
        for name in before
        if name not in pruner.masks
        and not name.endswith("_mask")
        and "velocity" not in name
        and "learning_rate" not in name
    }


def test_skip_params_func_is_given_the_program_and_names_what_stays_dense():
    net, given = two(), []
    pruner = UnstructuredPruner(net.program, ratio=0.5, skip_params_func=lambda p: given.append(p) or {TWO[0]})
    net.train(pruner)
    assert given == [net.program]
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (0, 6)
    assert TWO[0] in pruner.skip_params


def test_skip_params_func_may_return_variables():
    net = two()
    pruner = UnstructuredPruner(
        net.program,
        skip_params_func=lambda program: [
            value for value in program.global_block().all_parameters() if value.name == TWO[1]
        ],
    )
    assert list(pruner.masks) == [TWO[0]]


def test_a_skipped_name_that_is_not_there_is_logged(caplog):
    UnstructuredPruner(two().program, skip_params_func=lambda program: {"linear_7.w_0"})
    assert "linear_7.w_0" in caplog.text


def test_a_users_selection_prunes_what_it_selects():
    net = two()
    net.train(UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.name == TWO[1]))
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (0, 6)


# -- 11. No layer dies unnoticed


def test_a_floor_keeps_a_weak_layer_alive_by_default():
    net = two(None)
    net.put(TWO[1], net.get(TWO[1]) * 1e-3)
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (8, 10)  # ceil(0.3 * 0.5 * 12) = 2 stay


def test_the_layers_that_the_floor_holds_are_logged(caplog):
    net = two(None)
    net.put(TWO[1], net.get(TWO[1]) * 1e-3)
    with caplog.at_level(logging.INFO):
        UnstructuredPruner(net.program, ratio=0.5).step()
    assert f"from losing more: {TWO[1]}" in caplog.text
    assert TWO[0] not in caplog.text


def test_an_emptied_layer_is_warned_of_once(caplog):
    net = two(None)
    net.put(TWO[1], net.get(TWO[1]) * 1e-3)
    pruner = UnstructuredPruner(net.program, schedule=table(0.5, 0.6), allocation=Global(floor=0))
    pruner.step()
    assert net.zeros(TWO[1]) == 12
    pruner.step()
    warnings_ = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings_ == [f"no weight is left in {TWO[1]}; what is behind it gets no signal"]


# -- 12. Nobody is silently surprised


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_an_error_that_names_the_param_and_changes_nothing(value):
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=table(0.25, 0.5))
    net.train(pruner)
    weight = net.get(TWO[1])
    weight[5, 1] = value
    net.put(TWO[1], weight)
    before = net.everything()
    with pytest.raises(ValueError, match="NaN or infinity in the weights, .* of linear_1.w_0 at step 1"):
        pruner.step()
    assert (pruner.steps, pruner.sparsity()) == (1, 9 / 36)
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_nan_scores_of_a_users_criterion_are_an_error_too():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=lambda weight: paddle.sqrt(weight))
    with pytest.raises(ValueError, match="NaN .*linear_0.w_0, linear_1.w_0"):
        pruner.step()
    assert net.zeros(*TWO) == 0


def test_two_pruners_may_share_a_program_if_they_prune_different_params():
    net = two(adam)
    one = UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.name == TWO[0])
    other = UnstructuredPruner(net.program, ratio=0.75, select=lambda param: param.name == TWO[1])
    for _ in range(3):
        net.run()
        one.step()
        other.step()
        assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (12, 9)


def test_a_second_program_over_the_same_weights_does_not_undo_the_masks_of_the_first():
    net = two(adam)
    copy = net.program.clone(paddle.pir.IrMapping())
    first = UnstructuredPruner(net.program, ratio=0.5)
    net.train(first)
    try:
        UnstructuredPruner(copy, ratio=0.25)
    except ValueError:
        pass  # a refusal is as good
    assert net.zeros(*first.masks.values()) == 18


def test_a_net_built_anew_in_the_same_scope_is_pruned_from_the_start():
    """A notebook's cell that is run twice."""
    net = two(adam)
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    anew = two(adam)
    pruner = UnstructuredPruner(anew.program, ratio=0.25)
    anew.run()
    assert anew.zeros(*TWO) == 0
    anew.train(pruner, 3)
    assert anew.zeros(*TWO) == 9


def test_the_target_is_reached_when_the_last_sparsity_is_applied():
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=Polynomial(final=0.5, begin_step=1, end_step=3))
    reached = []
    for _ in range(5):
        net.train(pruner)
        reached.append(pruner.target_reached())
    assert reached == [False, False, False, True, True]


# -- Threshold mode, parts and words


def test_threshold_mode_prunes_what_is_below_the_threshold_and_nothing_else():
    net = two(None)
    before = {weight: net.get(weight) for weight in TWO}
    pruner = UnstructuredPruner(net.program, mode="threshold", threshold=0.2)
    pruner.step()
    for weight in TWO:
        np.testing.assert_array_equal(net.get(weight), np.where(np.abs(before[weight]) < 0.2, 0, before[weight]))
    assert pruner.threshold == 0.2 and pruner.update_threshold() == 0.2


def test_threshold_mode_prunes_what_falls_below_later():
    net = Net(linear(2, 2), [3, 2])
    pruner = UnstructuredPruner(net.program, mode="threshold", threshold=0.5)
    net.put("linear_0.w_0", [[1.0, 0.1], [2.0, -0.7]])
    pruner.step()
    assert net.get("linear_0.w_0_mask").tolist() == [[1, 0], [1, 1]]
    net.put("linear_0.w_0", [[-0.4, 9.0], [2.0, -0.7]])
    pruner.step()
    assert net.get("linear_0.w_0_mask").tolist() == [[0, 0], [1, 1]]
    assert net.zeros("linear_0.w_0") == 2


def test_local_sparsity_prunes_the_rounded_share_of_every_layer():
    net = two()
    net.train(UnstructuredPruner(net.program, ratio=0.4, local_sparsity=True))
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (round(0.4 * 24), round(0.4 * 12))


def test_sparse_block_prunes_neighbours_along_the_first_stored_axis():
    net = Net(convnet, [2, 2, 4, 4], momentum)
    net.train(UnstructuredPruner(net.program, ratio=0.5, sparse_block=[2, 1]), 3)
    for name in ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"):
        weight = net.get(name)
        gone = (weight == 0).reshape(weight.shape[0], weight.shape[1], -1).all(axis=2)
        assert gone.any() or name != "linear_0.w_0"
        np.testing.assert_array_equal(gone[0::2], gone[1::2])


def test_sparse_block_meets_the_ratio_to_within_one_block():
    net = two()
    net.train(UnstructuredPruner(net.program, ratio=0.5, sparse_block=[2, 2], allocation=Global(floor=0)))
    assert 18 - 4 < net.zeros(*TWO) <= 18


def test_a_block_of_opposite_weights_outlives_a_block_of_small_ones():
    net = Net(linear(4, 1), [3, 4])
    net.put("linear_0.w_0", [[5.0], [-5.0], [0.1], [0.1]])
    UnstructuredPruner(net.program, ratio=0.5, sparse_block=[2, 1]).step()
    assert net.get("linear_0.w_0").flatten().tolist() == [5.0, -5.0, 0.0, 0.0]


def test_a_block_of_one_is_unstructured():
    net = two()
    assert "pattern=Element()" in repr(UnstructuredPruner(net.program, sparse_block=[1, 1]))


@pytest.mark.parametrize(
    "words, parts",
    [
        ({"mode": "ratio", "ratio": 0.6}, {"schedule": Constant(0.6)}),
        ({"ratio": 0.6, "local_sparsity": True}, {"schedule": Constant(0.6), "allocation": Uniform()}),
        ({"mode": "threshold", "threshold": 0.3}, {"allocation": Threshold(0.3)}),
        ({"ratio": 0.6, "sparse_block": [2, 1]}, {"schedule": Constant(0.6), "pattern": Block(2, 1, axes="stored")}),
        ({}, {"schedule": Constant(0.55), "allocation": Global(0.3), "pattern": Element()}),
    ],
)
def test_words_and_the_parts_they_stand_for_prune_alike(words, parts):
    results = []
    for arguments in (words, parts):
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = two()
            net.train(UnstructuredPruner(net.program, **arguments), 3)
            results.append([net.get(weight) for weight in TWO])
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_a_users_criterion_decides_who_falls():
    net = Net(linear(2, 2), [3, 2])
    net.put("linear_0.w_0", [[1.0, 2.0], [3.0, 4.0]])
    UnstructuredPruner(net.program, ratio=0.5, criterion=lambda weight: -paddle.abs(weight)).step()
    assert net.get("linear_0.w_0").tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_the_pruner_says_what_it_is_made_of():
    text = repr(UnstructuredPruner(two().program, ratio=0.5))
    assert text == (
        f"UnstructuredPruner(criterion=magnitude, pattern=Element(), allocation={Global()!r}, "
        "schedule=Constant(sparsity=0.5, begin_step=0), params=2, weights=36)"
    )


def test_the_scope_and_place_are_those_given():
    net = two(own_scope=True)
    place = paddle.CPUPlace()
    pruner = UnstructuredPruner(net.program, scope=net.scope, place=place)
    assert pruner.scope is net.scope and pruner.place is place
    assert UnstructuredPruner(two().program).scope is paddle.static.global_scope()


def test_an_own_scope_leaves_the_global_one_empty():
    net = two(own_scope=True)
    net.train(UnstructuredPruner(net.program, scope=net.scope))
    assert all(paddle.static.global_scope().find_var(name) is None for name in net.everything())


def test_no_grad_set_goes_into_minimize():
    net = two(None)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        momentum().minimize(net.loss, no_grad_set=pruner.no_grad_set)
    net.exe.run(startup)
    before = net.get(TWO[0])
    net.train(pruner)
    assert (net.get(TWO[0]) != before).any()


# -- Further methods of PaddleSlim's pruner


def test_update_threshold_finds_the_cut_of_the_present_weights_and_prunes_nothing():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5, allocation=Global(floor=0))
    magnitudes = np.sort(np.concatenate([np.abs(net.get(weight)).flatten() for weight in TWO]))
    assert pruner.update_threshold() == pruner.threshold == magnitudes[17]
    assert net.zeros(*TWO) == 0
    pruner.step()
    assert net.zeros(*TWO) == 18 and pruner.threshold == magnitudes[17]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_summarize_weights_is_a_threshold_with_that_ratio_below_it(ratio):
    net = two(own_scope=True)
    pruner = UnstructuredPruner(net.program, scope=net.scope)
    threshold = pruner.summarize_weights(net.program, ratio)
    below = sum(int((np.abs(net.get(weight)) < threshold).sum()) for weight in TWO)
    assert below == round(ratio * 36)


def test_sparse_by_layer_gives_the_sparsity_of_every_weight():
    net = two(own_scope=True)
    pruner = UnstructuredPruner(net.program, ratio=0.5, local_sparsity=True, scope=net.scope)
    net.train(pruner)
    assert pruner.sparse_by_layer(net.program) == pruner.sparse_by_layer() == {TWO[0]: 0.5, TWO[1]: 0.5}


@pytest.mark.parametrize("own_scope", [False, True])
def test_total_sparse_counts_weights_and_total_sparse_conv1x1_those_of_1x1_convolutions(own_scope):
    net = Net(convnet, [2, 2, 4, 4], momentum, own_scope=own_scope)
    scope = net.scope if own_scope else None
    net.train(UnstructuredPruner(net.program, ratio=0.5, prune_params_type="conv1x1_only", scope=scope))
    assert UnstructuredPruner.total_sparse_conv1x1(net.program, scope) == 0.5
    assert UnstructuredPruner.total_sparse(net.program, scope) == 8 / 136


def test_total_sparse_conv1x1_of_a_net_without_any_is_zero():
    assert UnstructuredPruner.total_sparse_conv1x1(two().program) == 0.0


# -- Files of Paddle's own


def test_masks_travel_with_paddles_save_and_load(tmp_path):
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 3)
    paddle.static.save(net.program, str(tmp_path / "net"))
    saved = net.everything()
    with paddle.static.scope_guard(paddle.static.Scope()):
        again = two(seed=2)
        resumed = UnstructuredPruner(again.program, ratio=0.5)
        paddle.static.load(again.program, str(tmp_path / "net"), again.exe)
        for name, value in again.everything().items():
            np.testing.assert_array_equal(value, saved[name])
        for _ in range(3):
            again.run()
            assert again.zeros(*TWO) == 18
            resumed.step()
        assert all((again.get(mask) == saved[mask]).all() for mask in resumed.masks.values())


def test_an_exported_inference_model_has_the_zeros_and_not_the_masks(tmp_path):
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    paddle.static.save_inference_model(str(tmp_path / "model"), [net.input], [net.output], net.exe, program=net.program)
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, *_ = paddle.static.load_inference_model(str(tmp_path / "model"), net.exe)
        names = {value.name for value in program.global_block().all_parameters()}
        assert not [name for name in names if name.endswith("_mask")] and not masks_in(program)
        assert not any(op.name().startswith("pd_op.multiply") for op in program.global_block().ops)
        assert sparsity_report(program).counts["selected"] == (18, 36)
