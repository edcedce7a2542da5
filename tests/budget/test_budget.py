# SPDX-License-Identifier: Apache-2.0
"""A budget in milliseconds, from the model to the table; by a clock that counts weights, once by the real one."""

import logging
import re

import numpy as np
import paddle
import pytest
from paddle import nn
from small_convnet import convnet, data, of_model, saved

from paddle_unstructured import Budget, GMPUnstructuredPruner, UnstructuredPruner, reconstruct
from paddle_unstructured.budget.timed import decimals_of, in_ms
from paddle_unstructured.budget.times import Times
from paddle_unstructured.runtime import Int8

pytestmark = pytest.mark.usefixtures("static")


def in_parts(x):
    return nn.functional.grid_sample(convnet(x).reshape([-1, 2, 2, 2]), x[:, :2].transpose([0, 2, 3, 1]))


def test_the_time_is_met_and_what_is_predicted_is_what_the_clock_says(tmp_path, counting):
    done = reconstruct(saved(tmp_path), data(), allocation=Budget(speedup=1.5))
    fit = done.budget
    assert fit.predicted <= fit.wanted == fit.times.dense / 1.5
    assert fit.measured[1] == pytest.approx(fit.predicted, rel=0.02)
    zeros = {row.name: row.zeros for row in fit.rows}
    assert done.pruner.pruned_by_layer() == zeros and sum(zeros.values()) > 0
    assert {row.name: row.zeros for row in done.rows} == zeros
    assert "predicted" in str(done) and "measured" in str(done) and "asked for" in str(done)


def test_a_budget_of_milliseconds_is_one_of_a_speedup(tmp_path, counting):
    model = saved(tmp_path)
    by_speed = Budget(speedup=1.5).allocate(model, data())
    by_time = Budget(ms=1e3 * by_speed.wanted).allocate(model, data())
    assert by_time.sparsities == by_speed.sparsities


def test_layers_that_zeros_make_no_faster_stay_dense(tmp_path, counting):
    """A depthwise convolution has no sparse kernel."""
    fit = Budget(speedup=1.8).allocate(saved(tmp_path), data())
    (depthwise,) = (row for row in fit.rows if row.size == 288)
    assert depthwise.zeros == 0 and depthwise.note == "zeros make it no faster"
    assert any(row.zeros > 0 for row in fit.rows if row.size in (512, 1536))


def test_from_the_same_times_comes_the_same_choice(tmp_path, counting):
    model = saved(tmp_path)
    first, second = (Budget(speedup=1.5).allocate(model, data()) for _ in range(2))
    assert first.sparsities == second.sparsities and first.predicted == second.predicted
    assert counting == [17]  # and they are measured once


def test_the_model_is_as_it_was(tmp_path, counting):
    model = saved(tmp_path)
    before = of_model(model)
    Budget(speedup=1.5).allocate(model, data())
    for name, array in of_model(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_time_that_cannot_be_reached_is_refused_and_says_what_can(tmp_path, counting):
    model = saved(tmp_path)
    before = of_model(model)
    with pytest.raises(ValueError, match="cannot be reached: with every layer at its fastest") as refusal:
        reconstruct(model, data(), allocation=Budget(ms=0.15))
    for name, array in of_model(model).items():
        np.testing.assert_array_equal(array, before[name])
    fastest = float(re.search(r"a run takes ([\d.]+) ms", str(refusal.value))[1])
    assert Budget(ms=fastest + 0.001).allocate(model, data()).predicted == pytest.approx(1e-3 * fastest, rel=0.01)


@pytest.mark.parametrize("pattern", [None, "1x4"])
def test_blocks_that_int8_skips_are_advised_to_those_only_who_have_others(tmp_path, counting, pattern):
    with pytest.raises(ValueError, match="cannot be reached") as refusal:
        reconstruct(saved(tmp_path), data(), allocation=Budget(ms=0.001, int8=True), pattern=pattern)
    assert ("or prune in blocks of 1x4" in str(refusal.value)) == (pattern is None)


@pytest.mark.parametrize("slowest, shown", [(12.3e-6, "0.012"), (1.234e-6, "0.00123"), (123e-3, "123.0")])
def test_layers_of_microseconds_are_told_apart(slowest, shown):
    small = Times({"a": np.array([slowest, slowest / 2]), "b": np.array([slowest / 4, 0.0])}, 1e-6)
    assert in_ms(slowest, decimals_of(small)) == shown


def test_a_time_that_is_met_already_prunes_nothing_and_says_so(tmp_path, counting, caplog):
    with caplog.at_level(logging.WARNING):
        done = reconstruct(saved(tmp_path), data(), allocation=Budget(ms=1000))
    assert "nothing is pruned" in caplog.text
    assert done.pruner.sparsity() == 0.0 and done.budget.predicted == done.budget.times.dense


def test_blocks_are_kept_whole(tmp_path, counting):
    done = reconstruct(saved(tmp_path), data(), allocation=Budget(speedup=1.3), pattern="2x1")
    row = max(done.budget.rows, key=lambda row: row.zeros)
    weight = done.model.graph.array(row.name)
    pairs = weight.reshape(len(weight) // 2, 2, -1) if row.name.startswith("conv") else weight.reshape(-1, 4, 2)
    assert row.zeros > 0
    zero = pairs == 0
    assert (zero.all(1) == zero.any(1)).all()


def test_two_of_four_is_all_or_nothing(tmp_path, counting):
    from paddle_unstructured import NM

    fit = Budget(speedup=1.2).allocate(saved(tmp_path), data(), pattern=NM(2, 4, indivisible="skip"))
    assert {row.zeros / row.size for row in fit.rows} == {0.0, 0.5}


def test_a_model_in_parts_is_refused(tmp_path, counting):
    with pytest.raises(ValueError, match="a budget in time needs a model that is converted whole"):
        Budget(speedup=2).allocate(saved(tmp_path, in_parts), data())


def test_a_model_of_open_sizes_is_timed_on_the_size_of_its_data(tmp_path, counting):
    model = saved(tmp_path, size=-1)
    fit = Budget(speedup=1.3).allocate(model, data(size=16))
    assert fit.run.inputs[0].shape == (1, 3, 16, 16)
    fit = Budget(speedup=1.3, shapes={"x": [2, 3, 12, 12]}).allocate(model, data(size=16))
    assert fit.run.inputs[0].shape == (2, 3, 12, 12)


def test_int8_is_timed_in_int8(tmp_path, counting):
    fit = Budget(speedup=1.1, int8=True).allocate(saved(tmp_path), data(), pattern="1x4")
    assert "int8.conv" in fit.run.dense.writer.text and fit.predicted <= fit.wanted


def test_a_training_run_takes_the_same_budget_step_by_step(tmp_path, counting):
    """The masks grow along a cubic ramp to what the budget says of each layer."""
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [-1, 3, 8, 8])
        logits = convnet(x)
        loss = nn.functional.cross_entropy(logits, paddle.zeros([32, 1], "int64"))
        paddle.optimizer.SGD(0.01).minimize(loss)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    fit = Budget(speedup=1.5).allocate(program, data(), fetch=[logits])
    ramp = {"stable_iterations": 0, "pruning_iterations": 4, "tunning_iterations": 0}
    ramp.update(pruning_steps=4, initial_ratio=0.1, resume_iteration=0)
    pruner = GMPUnstructuredPruner(program, ratio=fit.ratio, configs=ramp, allocation=fit)
    sparsities = []
    for _ in range(5):
        executor.run(program, feed=data()[0])
        pruner.step()
        sparsities.append(pruner.sparsity())
    assert sparsities == sorted(sparsities) and sparsities[0] < sparsities[-1]
    assert pruner.pruned_by_layer() == {row.name: row.zeros for row in fit.rows}


def test_an_nn_layer_takes_it_under_its_own_names(counting):
    paddle.disable_static()
    paddle.seed(0)
    net = nn.Sequential(nn.Conv2D(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 8))
    spec = [paddle.static.InputSpec([None, 3, 8, 8], "float32", "x")]
    done = reconstruct(net, data(), allocation=Budget(speedup=1.5), input_spec=spec)
    assert {row.name for row in done.budget.rows} == {param.name for param in done.pruner.params}
    assert done.pruner.pruned_by_layer() == {row.name: row.zeros for row in done.budget.rows}


def test_a_pruner_that_gets_the_budget_itself_says_what_to_do(tmp_path):
    model = saved(tmp_path)
    with pytest.raises(ValueError, match=r"give `allocation=Budget\(...\).allocate\(model, batches\)`"):
        UnstructuredPruner(model.program, scope=model.scope, allocation=Budget(ms=1))


def test_a_ratio_beside_a_budget_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leave out `ratio`"):
        reconstruct(saved(tmp_path), data(), ratio=0.5, allocation=Budget(ms=1))


@pytest.mark.parametrize(
    "words, message",
    [
        ({}, "must have `ms` or `speedup`, got neither"),
        ({"ms": 1, "speedup": 2}, "got both"),
        ({"ms": 0}, "`ms` must be"),
        ({"ms": float("nan")}, "`ms` must be"),
        ({"speedup": 1}, "`speedup` must be"),
        ({"ms": 1, "threads": 0}, "`threads` must be"),
        ({"ms": 1, "batch": 0}, "`batch` must be"),
        ({"ms": 1, "highest": 1.0}, "`highest` must be"),
        ({"ms": 1, "int8": "yes"}, "`int8` must be"),
        ({"ms": 1, "int8": Int8(np.zeros([1, 3]), most_error=0.1)}, "must not have `most_error`"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(words, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Budget(**words)


def test_by_the_real_clock(tmp_path):
    """Whatever the machine does meanwhile: times are positive, the sum is met, and the pruned net was run."""
    model = saved(tmp_path)
    tuned = Budget(speedup=2).tuned(model, [(batch, "fit") for batch in data()])
    assert all((times > 0).all() for name, times in tuned.times.layers.items() if "conv2d_2" not in name)
    middle = (tuned.times.fastest + tuned.times.dense) / 2
    done = reconstruct(model, data(), allocation=Budget(ms=1e3 * middle))
    assert done.budget.predicted <= middle and min(done.budget.measured) > 0
