# SPDX-License-Identifier: Apache-2.0
"""The pruner of an nn.Layer: exact counts, the masks of the static door to the bit, state that goes on to the bit."""

import copy
import gc
import itertools
import logging
import weakref

import numpy as np
import paddle
import pytest
from layer_nets import WEIGHTS, Convnet, made, train, zeros
from nets import Net

import paddle_unstructured as pu

STATIC_NAMES = ["conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"]
PATTERNS = [pu.Element(), pu.Block(2, 1), pu.Block(2, 2, axes="stored"), pu.Filter(), pu.Int8Block()]
ALLOCATIONS = [pu.Global(), pu.Global(floor=0), pu.Uniform(), pu.ERK(), pu.LAMP(), pu.Threshold(0.1)]
CRITERIA = [pu.magnitude, pu.normalized_magnitude, pu.GeometricMedian()]  # Random is seeded by names


def sgd(model):
    return paddle.optimizer.Momentum(0.05, parameters=model.parameters())


def test_a_step_prunes_exactly_the_share_that_was_asked_for():
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.step()
    assert zeros(model) == round(0.5 * (216 + 48 + 96)) and pruner.sparsity() == 0.5
    assert pruner.total_sparse(model) == 0.5 and pruner.target_reached()


def test_the_smallest_weights_fall():
    model = paddle.nn.Linear(2, 2)
    model.weight.set_value(np.array([[3, -1], [2, -4]], "float32"))
    pu.UnstructuredPruner(model, ratio=0.5).step()
    assert model.weight.numpy().tolist() == [[3, 0], [0, -4]]


@pytest.mark.parametrize("optimizer", [True, False])
def test_weights_are_exactly_sparse_where_the_pruner_says_so(optimizer):
    model = made()
    trained = sgd(model)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=trained if optimizer else None)
    pruner.step()
    for _ in range(3):
        ((model(paddle.randn([2, 4, 6, 6])) - 1) ** 2).mean().backward()
        before = model.head.weight.numpy()
        trained.step()
        assert (zeros(model) == 180) == optimizer
        pruner.step()
        assert zeros(model) == 180
        assert (model.head.weight.numpy() != before).sum() == (before != 0).sum()  # what is kept still trains


def masks_of(pruner, names):
    return [pruner.state_dict()["masks"][name] for name in names]


def swept():
    """Every pattern with every allocation by magnitude, and every criterion with two of them."""
    for pattern, allocation in itertools.product(PATTERNS, ALLOCATIONS):
        yield {"pattern": pattern, "allocation": allocation}
    for criterion, allocation in itertools.product(CRITERIA[1:], ALLOCATIONS[:3]):
        yield {"criterion": criterion, "allocation": allocation}


def complete(parts):
    return parts if isinstance(parts["allocation"], pu.Threshold) else {**parts, "ratio": 0.6}


def test_masks_are_those_of_the_static_program_for_every_pattern_allocation_and_criterion():
    """The weights of both are the same, and so are the roles: every choice that follows is."""
    state = {name: tensor.numpy() for name, tensor in made().state_dict().items()}
    eager, static = [], []
    for parts in swept():
        pruner = pu.UnstructuredPruner(made(), **complete(parts))
        pruner.step()
        eager.append(masks_of(pruner, WEIGHTS))
    paddle.enable_static()
    try:
        for parts in swept():
            with paddle.static.scope_guard(paddle.static.Scope()):
                net = Net(lambda x: Convnet()(x), [5, 4, 6, 6])
                for name, own in zip(WEIGHTS, STATIC_NAMES):
                    net.put(own, state[name])
                pruner = pu.UnstructuredPruner(net.program, **complete(parts))
                pruner.step()
                static.append(masks_of(pruner, STATIC_NAMES))
    finally:
        paddle.disable_static()
    for parts, ours, theirs in zip(swept(), eager, static):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs)), parts
    assert len({b"".join(mask.tobytes() for mask in masks) for masks in eager}) > 25  # they are not all one


def test_two_of_four_holds_along_the_inputs():
    model = paddle.nn.Linear(8, 3)
    pu.UnstructuredPruner(model, pattern="2:4").step()
    assert ((model.weight.numpy() == 0).reshape(2, 4, 3).sum(1) == 2).all()


def test_gmp_follows_its_ramp():
    model = made()
    configs = {
        "stable_iterations": 2,
        "pruning_iterations": 3,
        "tunning_iterations": 2,
        "resume_iteration": 0,
        "pruning_steps": 3,
        "initial_ratio": 0.1,
    }
    pruner, found = pu.GMPUnstructuredPruner(model, 0.5, configs=configs), []
    for _ in range(6):
        pruner.step()
        found.append(pruner.sparsity())
    assert found[:2] == [0, 0] and found[2] < found[3] < found[4] == found[5] == 0.5


def test_training_goes_on_bit_for_bit_from_a_saved_state(tmp_path):
    schedule = pu.Polynomial(final=0.8, initial=0.2, begin_step=1, end_step=8)

    def start(seed):
        paddle.seed(seed)
        model = Convnet()
        optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
        return model, optimizer, pu.UnstructuredPruner(model, optimizer=optimizer, schedule=schedule)

    with paddle.utils.unique_name.guard():
        whole = start(1)
        train(*whole, steps=10)
    with paddle.utils.unique_name.guard():
        model, optimizer, pruner = start(1)
        train(model, optimizer, pruner, steps=5)
        paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
        paddle.save(optimizer.state_dict(), str(tmp_path / "model.pdopt"))
        pruner.save(tmp_path / "model.pruner")
    with paddle.utils.unique_name.guard():
        model, optimizer, pruner = start(2)
        model.set_state_dict(paddle.load(str(tmp_path / "model.pdparams")))
        optimizer.set_state_dict(paddle.load(str(tmp_path / "model.pdopt")))
        pruner.load(tmp_path / "model.pruner")
        train(model, optimizer, pruner, steps=5)
    for name, tensor in whole[0].state_dict().items():
        assert tensor.numpy().tobytes() == model.state_dict()[name].numpy().tobytes(), name
    assert pruner.sparsity() == whole[2].sparsity() == 0.8


def test_masks_are_no_part_of_a_state_dict():
    model = made()
    names, optimizer = list(model.state_dict()), sgd(model)
    pruner = pu.UnstructuredPruner(model, optimizer=optimizer, ratio=0.5)
    train(model, optimizer, pruner)
    assert list(model.state_dict()) == names and not [n for n in optimizer.state_dict() if "mask" in n]


def test_a_dense_state_dict_is_masked_by_update_params_and_by_load_weights(tmp_path):
    model, dense = made(), made(seed=2)
    paddle.save(dense.state_dict(), str(tmp_path / "dense.pdparams"))
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.step()
    model.set_state_dict(dense.state_dict())
    assert zeros(model) == 0
    pruner.update_params()
    assert zeros(model) == 180
    assert pruner.load_weights(tmp_path / "dense") == [] and zeros(model) == 180
    kept = model.head.weight.numpy()
    assert (kept[kept != 0] == dense.head.weight.numpy()[kept != 0]).all()


def test_zeros_of_a_model_become_masks():
    model = made()
    pu.UnstructuredPruner(model, ratio=0.5).step()
    other = made(seed=2)
    other.set_state_dict(model.state_dict())
    pruner = pu.UnstructuredPruner(other, ratio=0.5)
    pruner.set_static_masks()
    assert pruner.sparsity() == 0.5


def test_what_one_pruner_has_pruned_stays_pruned_for_another(caplog):
    model = made()
    first = pu.UnstructuredPruner(model, ratio=0.5)
    first.step()
    model.set_state_dict(made(seed=2).state_dict())  # dense again for a moment: the masks are known nonetheless
    with caplog.at_level(logging.WARNING):
        second = pu.UnstructuredPruner(model.head, ratio=0.25)
    assert "another pruner works on them too" in caplog.text
    second.step()
    ours = second.state_dict()["masks"]["weight"]
    assert np.array_equal(ours, first.state_dict()["masks"]["head.weight"])
    second.ratio = 0.9
    second.step()
    assert first.pruned_by_layer()["head.weight"] == second.pruned_by_layer()["weight"] == round(0.9 * 96)


def test_a_tied_shadow_is_as_sparse_as_its_weight():
    model = made()
    average = paddle.ones_like(model.head.weight)
    optimizer = sgd(model)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    pruner.tie(average, "head.weight")
    train(model, optimizer, pruner)
    assert np.array_equal(average.numpy() == 0, model.head.weight.numpy() == 0) and (average == 0).sum() > 0
    average.set_value(paddle.ones_like(average))
    optimizer.step()
    assert np.array_equal(average.numpy() == 0, model.head.weight.numpy() == 0)
    with pytest.raises(ValueError, match="shape"):
        pruner.tie(paddle.ones([2]), "head.weight")


def test_reports_count_the_zeros_of_a_layer():
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5, select=pu.conv1x1_only)
    pruner.step()
    report = pu.sparsity_report(model, pruner=pruner)
    assert report.counts["selected"] == report.counts["conv1x1"] == (24, 48)
    assert pruner.total_sparse_conv1x1(model) == 0.5 and pruner.sparse_by_layer()["point.weight"] == 0.5
    assert {row.role for row in report.rows} >= {"norm mean", "norm variance", "bias", "conv2d", "linear"}
    assert pruner.summarize_weights(ratio=0.5) == pytest.approx(np.abs(model.point.weight.numpy()).reshape(-1).max(), 1)


def test_names_to_skip_are_params_tensors_or_layers_as_paddleslim_names_them():
    model = made()
    for skipped in ("head.weight", model.head.weight.name, model.head.weight, model.head.full_name()):
        pruner = pu.UnstructuredPruner(model, ratio=0.5, skip_params_func=lambda m, one=skipped: {one})
        assert list(pruner.masks) == WEIGHTS[:2]


def test_a_copy_of_a_model_is_as_sparse_and_has_masks_of_its_own():
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.step()
    twin = copy.deepcopy(model)
    assert zeros(twin) == 180
    other = pu.UnstructuredPruner(twin, ratio=0.75)
    other.step()
    assert (other.sparsity(), pruner.sparsity(), zeros(model)) == (0.75, 0.5, 180)


@pytest.mark.filterwarnings("ignore:The program will return to single-card operation")
def test_a_model_inside_a_data_parallel_keeps_its_names():
    assert list(pu.UnstructuredPruner(paddle.DataParallel(made()), ratio=0.5).masks) == WEIGHTS


def test_a_model_is_freed_with_its_pruner_and_its_optimizer():
    model = made()
    optimizer = sgd(model)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, optimizer=optimizer)
    pruner.step()
    seen = weakref.ref(model)
    del model, optimizer, pruner
    gc.collect()
    assert seen() is None
