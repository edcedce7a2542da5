# SPDX-License-Identifier: Apache-2.0
"""The pruner, the startup Program, minimize and loads, in every order: what is pruned is the same."""

import itertools

import numpy as np
import paddle
import pytest
from nets import Net, two_linears

from paddle_unstructured import Saliency, UnstructuredPruner

pytestmark = pytest.mark.usefixtures("static")
TWO = ("linear_0.w_0", "linear_1.w_0")


def adam():
    return paddle.optimizer.Adam(0.1)


def unstarted(optimizer=adam):
    return Net(two_linears, [3, 4], optimizer, started=False)


def trained(net, pruner, steps=3):
    net.train(pruner, steps)
    return {name: net.get(name) for name in TWO}


def usual(steps=3):
    """What comes of the usual order: startup Program, then pruner."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        net = Net(two_linears, [3, 4], adam)
        return trained(net, UnstructuredPruner(net.program, ratio=0.5), steps)


def test_a_pruner_before_the_startup_program_prunes_as_one_after_it():
    net = unstarted()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.start()
    expected = usual()
    for name, weight in trained(net, pruner).items():
        np.testing.assert_array_equal(weight, expected[name])
    assert (pruner.sparsity(), net.zeros(*TWO)) == (0.5, 18)


def test_a_pruner_before_minimize_and_startup_prunes_as_one_after_them():
    net = unstarted(None)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    with paddle.static.program_guard(net.program, net.startup), paddle.utils.unique_name.guard():
        adam().minimize(net.loss, no_grad_set=pruner.no_grad_set)
    net.start()
    expected = usual()
    for name, weight in trained(net, pruner).items():
        np.testing.assert_array_equal(weight, expected[name])


def test_masks_outlive_a_second_run_of_the_startup_program():
    net = Net(two_linears, [3, 4], adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    masks = {name: net.get(mask) != 0 for name, mask in pruner.masks.items()}
    net.start()  # the initial weights again, as for a lottery ticket
    assert net.zeros(*TWO) == 0 and pruner.sparsity() == 0.5
    pruner.update_params()
    for name, mask in masks.items():
        np.testing.assert_array_equal(net.get(name) != 0, mask)
    net.train(pruner, 2)
    assert net.zeros(*TWO) == 18 and pruner.target_reached()


def test_the_startup_program_may_run_before_and_after_the_pruner_is_made():
    net = Net(two_linears, [3, 4], adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.start()
    assert net.zeros(*TWO) == 0
    net.train(pruner, 2)
    assert net.zeros(*TWO) == 18


@pytest.mark.parametrize("order", list(itertools.permutations(["pruner", "startup", "load"])), ids="-".join)
def test_a_dense_checkpoint_is_loaded_in_every_order_that_can_work(tmp_path, order):
    with paddle.static.scope_guard(paddle.static.Scope()):
        source = Net(two_linears, [3, 4], adam, seed=7)
        paddle.static.save(source.program, str(tmp_path / "dense"))
        weights = {name: source.get(name) for name in TWO}
    net, pruner = unstarted(), None
    for what in order:
        if what == "pruner":
            pruner = UnstructuredPruner(net.program, ratio=0.5)
        elif what == "startup":
            net.start()
        elif pruner is not None:
            pruner.load_weights(tmp_path / "dense")
        elif order.index("startup") < order.index("load"):
            paddle.static.load(net.program, str(tmp_path / "dense"))
    if order.index("load") < order.index("startup"):  # the startup Program fills the weights anew
        assert any((net.get(name) != weights[name]).any() for name in TWO)
    else:
        for name in TWO:
            np.testing.assert_array_equal(net.get(name), weights[name])
    net.train(pruner, 2)
    assert net.zeros(*TWO) == 18


def test_a_pruned_checkpoint_is_loaded_into_a_program_that_was_not_started(tmp_path):
    with paddle.static.scope_guard(paddle.static.Scope()):
        net = Net(two_linears, [3, 4], adam)
        pruner = UnstructuredPruner(net.program, ratio=0.5)
        net.train(pruner, 2)
        paddle.static.save(net.program, str(tmp_path / "model"))
        pruner.save(tmp_path / "model.pruner")
        weights = {name: net.get(name) for name in TWO}
    net = unstarted()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.start()
    paddle.static.load(net.program, str(tmp_path / "model"))
    pruner.load(tmp_path / "model.pruner")
    assert pruner.steps == 2 and pruner.target_reached()
    for name in TWO:
        np.testing.assert_array_equal(net.get(name), weights[name])


def test_a_state_is_not_loaded_over_weights_that_have_no_value(tmp_path):
    net = Net(two_linears, [3, 4], adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    pruner.save(tmp_path / "model.pruner")
    net.scope.erase([TWO[0]])
    with pytest.raises(ValueError, match="1 of 2 params .* no value in the scope, linear_0.w_0"):
        pruner.load(tmp_path / "model.pruner")


def test_a_criterion_that_gathers_gradients_may_begin_before_the_startup_program():
    net = unstarted()
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=2))
    net.start()
    net.train(pruner, 3)
    assert net.zeros(*TWO) == 18


def test_a_pruner_may_be_made_where_names_have_a_prefix():
    net = Net(two_linears, [3, 4], adam)
    with paddle.utils.unique_name.guard("other."):
        pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    assert net.zeros(*TWO) == 18
    assert {name for name in net.everything() if name.endswith("_mask")} == set(pruner.masks.values())


# -- two optimizers on one Program, as a GAN has them


class Gan:
    """A generator, linear_0 [4, 8] and linear_1 [8, 4], and a critic, linear_2 [4, 8], each with an optimizer."""

    def __init__(self):
        self.net = Net(self.layers, [3, 4], started=False)

    def layers(self, x):
        generator = [paddle.nn.Linear(4, 8), paddle.nn.Linear(8, 4)]
        critic = paddle.nn.Linear(4, 8)
        self.parts = {
            "generator": [p for layer in generator for p in layer.parameters()],
            "critic": critic.parameters(),
        }
        made = generator[1](paddle.tanh(generator[0](x)))
        self.losses = {"generator": -critic(made).mean(), "critic": critic(made).mean() - critic(x).mean()}
        return made

    def minimize(self, part):
        startup = self.net.startup
        with paddle.static.program_guard(self.net.program, startup), paddle.utils.unique_name.guard(part):
            adam().minimize(self.losses[part], parameters=self.parts[part])


WEIGHTS = ["linear_0.w_0", "linear_1.w_0", "linear_2.w_0"]


@pytest.mark.parametrize("order", list(itertools.permutations(["pruner", "generator", "critic"])), ids="-".join)
@pytest.mark.parametrize("criterion", [None, Saliency(batches=1)], ids=["magnitude", "saliency"])
def test_all_that_any_optimizer_trains_is_pruned_whenever_it_comes(order, criterion, caplog):
    gan, pruner = Gan(), None
    for what in order:
        if what == "pruner":
            pruner = UnstructuredPruner(gan.net.program, ratio=0.5, criterion=criterion)
        else:
            gan.minimize(what)
    gan.net.start()
    gan.net.train(pruner, 3)
    assert [param.name for param in pruner.params] == WEIGHTS
    assert gan.net.zeros(*WEIGHTS) == 48 and pruner.sparsity() == 0.5
    late = "an optimizer that came after the pruner trains" in caplog.text
    assert late == (order[1] == "pruner")


def test_what_a_later_optimizer_trains_is_told_once_masks_were_updated(caplog):
    gan = Gan()
    gan.minimize("generator")
    gan.net.start()
    pruner = UnstructuredPruner(gan.net.program, ratio=0.5)
    gan.net.train(pruner, 1)
    gan.minimize("critic")
    gan.net.start()
    pruner.update_params()
    gan.net.train(pruner, 2)
    assert caplog.text.count("trains linear_2.w_0, 32 weights, which stay dense") == 1
    assert gan.net.zeros(*WEIGHTS[:2]) == 32 and gan.net.zeros("linear_2.w_0") == 0


def test_a_shadow_stays_tied_when_the_layers_are_chosen_again():
    gan = Gan()
    with paddle.static.program_guard(gan.net.program, gan.net.startup):
        shadow = paddle.pir.core.create_persistable_value(
            "float32", [4, 8], "shadow", initializer=paddle.nn.initializer.Constant(1.0)
        )
    gan.minimize("generator")
    pruner = UnstructuredPruner(gan.net.program, ratio=0.5)
    pruner.tie(shadow, WEIGHTS[0])
    gan.minimize("critic")
    gan.net.start()
    gan.net.train(pruner, 1)
    np.testing.assert_array_equal(gan.net.get("shadow") == 0, gan.net.get(WEIGHTS[0]) == 0)
