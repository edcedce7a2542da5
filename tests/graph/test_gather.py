# SPDX-License-Identifier: Apache-2.0
"""What criteria gather in the training Program: right numbers, for as long as they are needed, and gone after that."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net

from paddle_unstructured import (
    APoZ,
    Filter,
    InputNorm,
    MeanActivation,
    Polynomial,
    Random,
    Saliency,
    Threshold,
    UnstructuredPruner,
)

pytestmark = pytest.mark.usefixtures("static")
OPTIMIZERS = {
    name: lambda make=make: make()
    for name, make in {
        "sgd": lambda: paddle.optimizer.SGD(0.1),
        "momentum": lambda: paddle.optimizer.Momentum(0.1, 0.9),
        "adam": lambda: paddle.optimizer.Adam(0.01),
        "rmsprop": lambda: paddle.optimizer.RMSProp(0.01),
        "adagrad": lambda: paddle.optimizer.Adagrad(0.01),
        "lamb": lambda: paddle.optimizer.Lamb(0.01),
    }.items()
}


def two(x):
    return paddle.nn.Linear(6, 4)(F.relu(paddle.nn.Linear(4, 6)(x)))


def accumulators(net):
    return sorted(
        op.attrs()["name"]
        for op in net.program.global_block().ops
        if op.name() == "pd_op.data" and "gathered" in op.attrs()["name"]
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("optimizer", [paddle.optimizer.SGD, paddle.incubate.optimizer.LarsMomentumOptimizer])
def test_saliency_is_the_sum_of_weight_times_gradient_over_the_batches(optimizer, signed):
    words = {} if optimizer is paddle.optimizer.SGD else {"momentum": 0.9}
    net = Net(lambda x: paddle.nn.Linear(4, 3, bias_attr=False)(x), [2, 4], lambda: optimizer(0.1, **words))
    UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=8, signed=signed))
    expected = np.zeros((4, 3))
    for step in range(3):
        weight, x = net.get("linear_0.w_0"), np.random.default_rng(step).normal(size=(2, 4))
        gradient = x.T @ (2 * (x @ weight - 1) / 6)
        net.run()
        expected += weight * gradient if signed else np.abs(weight * gradient)
    np.testing.assert_allclose(net.get(accumulators(net)[0]), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_pruning_waits_for_its_batches_under_any_optimizer(optimizer):
    net = Net(two, [2, 4], optimizer)
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=3))
    sparsities = []
    for _ in range(5):
        net.train(pruner)
        sparsities.append(pruner.sparsity())
    assert sparsities == [0, 0, 0.5, 0.5, 0.5]


def test_a_pruner_made_before_minimize_gathers_from_the_first_step_after_it():
    net = Net(two, [2, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=2))
    net.minimize(lambda: paddle.optimizer.SGD(0.1))
    net.train(pruner, 4)
    assert pruner.sparsity() == 0.5


def test_accumulators_are_gone_when_the_last_sparsity_is_reached():
    net = Net(two, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=2))
    ops, names = net.program.num_ops(), accumulators(net)
    assert len(names) == 2
    net.train(pruner, 2)
    assert accumulators(net) == [] and net.program.num_ops() < ops
    assert all(net.scope.find_var(name) is None for name in names)
    net.train(pruner, 2)


def test_a_higher_ratio_gathers_anew():
    net = Net(two, [2, 4], lambda: paddle.optimizer.Momentum(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.25, criterion=Saliency(batches=2))
    net.train(pruner, 3)
    for ratio in (0.5, 0.75):
        pruner.ratio = ratio
        net.train(pruner, 4)
        assert pruner.sparsity() == ratio
    assert net.zeros("linear_0.w_0", "linear_1.w_0") == 36


def test_a_gradual_schedule_gathers_between_its_updates():
    net = Net(two, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    ramp = Polynomial(final=0.5, begin_step=2, end_step=12, update_every=5)
    pruner = UnstructuredPruner(net.program, criterion=Saliency(batches=3), schedule=ramp)
    rises = []
    for step in range(14):
        before = pruner.sparsity()
        net.train(pruner)
        if pruner.sparsity() > before:
            rises.append(step)
    assert rises == [7, 12]  # at step 2 the sparsity is still 0


def test_a_threshold_on_saliency_prunes_again_and_again():
    net = Net(two, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    pruner = UnstructuredPruner(net.program, allocation=Threshold(0.05), criterion=Saliency(batches=2))
    net.train(pruner, 7)
    assert 0 < pruner.sparsity() < 1


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_masks_can_be_applied_saved_and_loaded_at_any_time(steps, tmp_path):
    net = Net(two, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=2))
    net.train(pruner, steps)
    pruner.update_params()
    pruner.save(str(tmp_path / "state"))
    pruner.load(str(tmp_path / "state"))
    net.train(pruner, 3)
    assert pruner.sparsity() == 0.5


def test_a_threshold_is_not_made_up_before_the_batches_were_seen():
    net = Net(two, [2, 4], lambda: paddle.optimizer.SGD(0.1))
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=2))
    with pytest.raises(ValueError, match="has not seen its batches"):
        pruner.update_threshold()


def test_a_program_without_gradients_is_refused_at_the_step_that_wants_them():
    net = Net(two, [2, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency())
    net.run()
    with pytest.raises(ValueError, match="minimize"):
        pruner.step()


@pytest.mark.parametrize("criterion, worth", [(APoZ(batches=2), lambda y: y != 0), (MeanActivation(batches=2), np.abs)])
def test_activations_are_those_behind_bias_norm_and_relu(criterion, worth):
    net = Net(
        lambda x: paddle.nn.Linear(6, 2)(F.relu(paddle.nn.LayerNorm(6)(paddle.nn.Linear(4, 6)(x)))),
        [8, 4],
        lambda: paddle.optimizer.SGD(0.0),
    )
    pruner = UnstructuredPruner(
        net.program, ratio=0.5, criterion=criterion, pattern=Filter(), select=lambda p: p.name == "linear_1.w_0"
    )
    relu = next(op.result(0) for op in net.program.global_block().ops if op.name() == "pd_op.relu")
    expected = sum(worth(net.run((relu,))[1]).mean(0) for _ in range(2))
    np.testing.assert_allclose(net.get(accumulators(net)[0]), expected, rtol=1e-5)
    pruner.step()


NORMS = {
    "tokens": ([8, 5, 4], lambda x: paddle.nn.Linear(4, 3)(x)),
    "grouped": ([8, 4, 5, 5], lambda x: paddle.nn.Conv2D(4, 6, 3, groups=2)(x)),
    "depthwise": ([8, 4, 5, 5], lambda x: paddle.nn.Conv2D(4, 8, 3, groups=4)(x)),
    "channels last": ([8, 5, 5, 4], lambda x: paddle.nn.Conv2D(4, 3, 3, data_format="NHWC")(x)),
    "transposed": ([8, 4, 5, 5], lambda x: paddle.nn.Conv2DTranspose(4, 3, 3)(x)),
}


@pytest.mark.parametrize("shape, build", NORMS.values(), ids=NORMS)
def test_input_norm_scores_each_weight_by_the_input_that_it_reads(shape, build):
    net = Net(build, shape)
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=InputNorm(batches=2))
    axis = next(i for i, n in enumerate(shape) if n == 4 and (len(shape) != 3 or i == 2))
    squares = []
    for scale in (1.0, 3.0):
        x = (
            scale
            * np.random.default_rng(0).normal(size=shape).astype("float32")
            * 2.0 ** np.arange(4).reshape([4 if i == axis else 1 for i in range(len(shape))])
        )
        squares.append((np.moveaxis(x, axis, 0).reshape(4, -1) ** 2).mean(1))
        weight = net.get(pruner.params[0].name)
        paddle.static.Executor().run(net.program, feed={"x": x.astype("float32")}, scope=net.scope)
        pruner.step()
    norm, param = np.sqrt(np.mean(squares, 0)), pruner.params[0]
    expected = np.abs(weight)
    for index in np.ndindex(*param.shape):  # the slow way: which channel does this weight read?
        channel = index[param.input_axis]
        if param.groups > 1:
            channel += index[param.output_axis] // (param.shape[param.output_axis] // param.groups) * param.shape[1]
        expected[index] *= norm[channel]
    kept = net.get(param.name) != 0
    assert kept.sum() == param.size - round(0.5 * param.size)
    assert expected[kept].min() >= expected[~kept].max()


def test_an_embedding_has_no_input_to_be_scored_by():
    net = Net(lambda x: paddle.nn.Embedding(5, 4)(x.cast("int64")), [2, 3])
    with pytest.raises(ValueError, match="is not followed; leave it out with `select`"):
        UnstructuredPruner(net.program, ratio=0.5, criterion=InputNorm(), select=lambda param: True)


def test_a_residual_is_not_part_of_the_layer():
    net = Net(lambda x: F.relu(paddle.nn.Linear(4, 4)(x) + x), [8, 4], lambda: paddle.optimizer.SGD(0.0))
    UnstructuredPruner(net.program, ratio=0.5, criterion=MeanActivation(batches=2), pattern=Filter())
    added = [op.result(0) for op in net.program.global_block().ops if op.name() == "pd_op.add"]
    expected = np.abs(net.run((added[0],))[1]).mean(0)
    np.testing.assert_allclose(net.get(accumulators(net)[0]), expected, rtol=1e-5)


def test_a_layer_in_a_branch_cannot_be_watched():
    def branch(x):
        inner = paddle.nn.Linear(4, 4)
        return paddle.static.nn.cond(x.sum() > 0, lambda: inner(x), lambda: x * 2.0)

    net = Net(branch, [2, 4])
    with pytest.raises(ValueError, match="inside a branch or a loop"):
        UnstructuredPruner(net.program, ratio=0.5, criterion=APoZ(), pattern=Filter())
    UnstructuredPruner(net.program, ratio=0.5, criterion=Random())  # nothing was left behind


def test_nan_in_what_was_gathered_is_named_and_changes_nothing():
    net = Net(two, [2, 4], lambda: paddle.optimizer.SGD(0.0))
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=1))
    net.run()
    net.put(accumulators(net)[0], np.full_like(net.get(accumulators(net)[0]), np.nan))
    with pytest.raises(ValueError, match="NaN.*linear_"):
        pruner.step()
    assert pruner.sparsity() == 0


class Watcher(Saliency):
    """Gives something else for the second param that is watched."""

    def __init__(self, give) -> None:
        super().__init__(batches=2)
        object.__setattr__(self, "give", give)
        object.__setattr__(self, "seen", [])

    def observe(self, weight, gradient, channel_axis):
        self.seen.append(weight)
        found = super().observe(weight, gradient, channel_axis)
        return found if len(self.seen) < 2 else self.give(found)


def raises(_):
    raise KeyError("of the user")


@pytest.mark.parametrize(
    "give, message",
    [
        (raises, "of the user"),
        (
            lambda found: None,
            r"`criterion.observe` must be a function .* of shape \[6, 4\], .*got None",
        ),
        (lambda found: found.sum(), r"`criterion.observe` must be a function .* of linear_0.w_0, got shape \[\]"),
    ],
)
def test_a_criterion_that_cannot_watch_leaves_no_accumulators(give, message):
    net = Net(two, [2, 4], OPTIMIZERS["sgd"])
    with pytest.raises((KeyError, ValueError, TypeError), match=message):
        UnstructuredPruner(net.program, ratio=0.5, criterion=Watcher(give))
    assert accumulators(net) == []
    net.run()
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Watcher(lambda found: found))
    net.train(pruner, 4)
    assert pruner.sparsity() == 0.5
