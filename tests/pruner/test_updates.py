# SPDX-License-Identifier: Apache-2.0
"""When masks are updated: on the device, only when something is due, and for good."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import paddle
import pytest
from nets import Net, linear
from paddle import optimizer
from small_pruned_nets import TWO, adam, table, two

from paddle_unstructured import (
    Constant,
    Global,
    Polynomial,
    UnstructuredPruner,
)
from paddle_unstructured.graph import PirGraph
from paddle_unstructured.masking.update import MaskUpdate

pytestmark = pytest.mark.usefixtures("static")


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


def test_each_update_is_logged_with_what_is_pruned(caplog):
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=table(0.2, 0.2, 0.6))
    with caplog.at_level("DEBUG", logger="paddle_unstructured"):
        net.train(pruner, 3)
    said = [record.getMessage() for record in caplog.records if "weights pruned" in record.getMessage()]
    assert said == ["step 0: 7 of 36 weights pruned", "step 2: 22 of 36 weights pruned"]
