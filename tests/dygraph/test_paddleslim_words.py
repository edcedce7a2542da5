# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's dygraph pruners by changing the import: its arguments in its order, its methods."""

import inspect

import paddle
import pytest
from layer_nets import made, train, zeros

import paddle_unstructured as pu
from paddle_unstructured.dygraph import GMPUnstructuredPruner, UnstructuredPruner

CONFIGS = {
    "stable_iterations": 0,
    "pruning_iterations": 4,
    "tunning_iterations": 2,
    "resume_iteration": 0,
    "pruning_steps": 4,
    "initial_ratio": 0.15,
}


def positional(kind):
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_the_arguments_stand_in_paddleslims_order():
    rest = ["prune_params_type", "skip_params_func", "local_sparsity", "sparse_block"]
    assert positional(UnstructuredPruner) == ["model", "mode", "threshold", "ratio", *rest]
    assert positional(GMPUnstructuredPruner) == ["model", "ratio", *rest, "configs"]


def test_a_ratio_and_a_threshold():
    model = made()
    UnstructuredPruner(model, "ratio", 0.01, 0.5).step()
    assert zeros(model) == 180
    model = made()
    pruner = UnstructuredPruner(model, "threshold", 0.1)
    pruner.step()
    kept = [abs(model.state_dict()[name].numpy()) for name in pruner.masks]
    assert all(((weights == 0) | (weights >= 0.1)).all() for weights in kept) and pruner.sparsity() > 0


def test_all_arguments_by_position():
    model = made()
    pruner = UnstructuredPruner(
        model, "ratio", 0.01, 0.5, None, lambda m: {m.first.full_name(), m.head.weight.name}, True, [2, 1]
    )
    assert list(pruner.masks) == ["point.weight"] and "Block(m=2, n=1" in repr(pruner) and "Uniform" in repr(pruner)
    conv = UnstructuredPruner(made(), "ratio", 0.01, 0.5, "conv1x1_only")
    assert list(conv.masks) == ["point.weight"]


def test_a_loop_as_paddleslims_demo_writes_it():
    """step() after each batch, update_params() before testing, total_sparse of the model."""
    model = made()
    optimizer = paddle.optimizer.Momentum(0.05, parameters=model.parameters())
    pruner = GMPUnstructuredPruner(model, 0.5, None, None, False, [1, 1], CONFIGS)
    train(model, optimizer, pruner, steps=6)
    optimizer.step()
    pruner.update_params()
    assert zeros(model) == 180
    assert UnstructuredPruner.total_sparse(model) == GMPUnstructuredPruner.total_sparse(model) == 0.5
    assert UnstructuredPruner.total_sparse_conv1x1(model) > 0


def test_static_masks_keep_the_zeros_of_a_pruned_model():
    pruned = made()
    UnstructuredPruner(pruned, "ratio", ratio=0.5).step()
    model = made(seed=2)
    model.set_state_dict(pruned.state_dict())
    pruner = UnstructuredPruner(model, "ratio", ratio=0.5)
    pruner.set_static_masks()
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    train(model, optimizer, pruner, steps=2)
    assert zeros(model) == 180


def test_they_are_the_pruners_of_the_package():
    assert issubclass(UnstructuredPruner, pu.UnstructuredPruner)
    with pytest.raises(ValueError, match="configs"):
        GMPUnstructuredPruner(made(), 0.5, configs={})
