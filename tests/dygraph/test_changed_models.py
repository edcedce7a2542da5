# SPDX-License-Identifier: Apache-2.0
"""A model whose layers or parameters are exchanged, added or taken away while it is pruned."""

import logging

import paddle
import pytest
from layer_nets import made, train, zeros
from paddle import nn

import paddle_unstructured as pu


def pruned(steps=1):
    model = made()
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    pruner = pu.UnstructuredPruner(model, optimizer=optimizer, ratio=0.5)
    train(model, optimizer, pruner, steps)
    return model, pruner


def go_on(model, pruner, steps=2):
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    pruner.watch(optimizer)
    train(model, optimizer, pruner, steps)


@pytest.mark.parametrize("change", ["layer", "parameter"])
def test_what_takes_the_place_of_a_pruned_weight_gets_its_mask(change, caplog):
    model, pruner = pruned()
    before = zeros(model)
    if change == "layer":
        model.head = nn.Linear(8, 12)
    else:
        model.head.weight = model.head.create_parameter([8, 12])
    assert zeros(model) < before
    with caplog.at_level(logging.WARNING):
        go_on(model, pruner)
    assert zeros(model) == before and pruner.sparsity() == 0.5
    assert "in the places of head.weight" in caplog.text
    assert pu.sparsity_report(model, pruner=pruner).totals["selected"] == 0.5


def test_a_step_is_enough_for_weights_that_no_optimizer_trains():
    model, pruner = pruned()
    before = zeros(model)
    model.head = nn.Linear(8, 12)
    pruner.step()
    assert zeros(model) == before


def test_another_shape_in_the_place_of_a_pruned_weight_is_an_error():
    model, pruner = pruned()
    model.head = nn.Linear(8, 5)
    with pytest.raises(ValueError, match=r"head.weight, of shape \[8, 5\] where it was \[8, 12\]; make a new pruner"):
        pruner.step()
    assert pruner.steps == 1


def test_a_layer_that_comes_after_the_first_update_stays_dense_with_a_warning(caplog):
    model, pruner = pruned()
    model.more = nn.Linear(12, 4)
    with caplog.at_level(logging.WARNING):
        go_on(model, pruner)
        pruner.step()
    assert caplog.text.count("a layer that came after the first mask update has more.weight") == 1
    row = next(row for row in pu.sparsity_report(model, pruner=pruner).rows if row.name == "more.weight")
    assert (row.zeros, row.pruned, row.reason) == (0, False, "it came after the pruner")


def test_a_layer_that_comes_before_the_first_update_is_pruned_too():
    model, pruner = pruned(steps=0)
    model.more = nn.Linear(12, 4)
    pruner.watch(paddle.optimizer.SGD(parameters=model.parameters()))
    pruner.step()
    assert sum(pruner.pruned_by_layer().values()) == round(0.5 * (216 + 48 + 96 + 48))
    assert pruner.total_sparse(model) == 0.5


def test_a_pruned_layer_that_is_taken_away_is_named_once(caplog):
    model, pruner = pruned()
    del model.head
    model.head = nn.Identity()
    with caplog.at_level(logging.WARNING):
        pruner.step()
        pruner.step()
    assert caplog.text.count("head.weight: not in the model any more") == 1
