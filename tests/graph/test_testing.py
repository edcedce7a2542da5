# SPDX-License-Identifier: Apache-2.0
"""`test_program`: the Program that tests what another one trains."""

import numpy as np
import paddle
import pytest
from nets import Net, branches, linear

import paddle_unstructured as pu
from paddle_unstructured import test_program

pytestmark = pytest.mark.usefixtures("static")


def sgd():
    return paddle.optimizer.SGD(0.1)


def norm_and_dropout(x):
    x = paddle.nn.Dropout(0.5)(paddle.nn.BatchNorm1D(4)(x))
    return paddle.nn.functional.dropout(paddle.nn.Linear(4, 4)(x), 0.5, axis=1)  # built of ops without a test mode


def answers(net, test, value, data):
    return net.exe.run(test, feed={"x": data}, fetch_list=[value], scope=net.scope)[0]


@pytest.mark.parametrize("after_minimize", [False, True])
def test_it_computes_as_inference_does_and_trains_nothing(after_minimize):
    net = Net(norm_and_dropout, [3, 4], sgd if after_minimize else None)
    test, (output,) = test_program(net.program, [net.output])
    if not after_minimize:
        net.minimize(sgd)
    net.run()
    before, data = net.everything(), np.random.default_rng(0).normal(size=[3, 4]).astype("float32")
    mean, variance = (net.get(f"batch_norm1d_0.w_{i}") for i in (1, 2)) if "batch_norm1d_0.w_1" in before else (0, 1)
    found = [answers(net, test, output, data) for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])
    scale, shift = net.get("batch_norm1d_0.w_0"), net.get("batch_norm1d_0.b_0")
    normed = (data - mean) / np.sqrt(variance + 1e-5) * scale + shift
    expected = normed @ net.get("linear_0.w_0") + net.get("linear_0.b_0")
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)  # sums in another order
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_it_sees_the_weights_as_they_are_trained_and_pruned():
    net = Net(linear(), [2, 4], sgd)
    test, (output,) = test_program(net.program, [net.output])
    pruner = pu.UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    data = np.eye(4, dtype="float32")[:2]
    expected = data @ net.get("linear_0.w_0") + net.get("linear_0.b_0")
    np.testing.assert_allclose(answers(net, test, output, data), expected, rtol=1e-6)


def test_several_values_and_inputs_are_found_in_the_order_in_which_they_are_asked_for():
    net = Net(linear(), [2, 4], sgd)
    test, (loss, x, output) = test_program(net.program, [net.loss, net.input, net.output])
    data = np.ones([2, 4], "float32")
    found = net.exe.run(test, feed={"x": data}, fetch_list=[loss, x, output])
    assert found[0] == pytest.approx(((found[2] - 1) ** 2).mean())
    np.testing.assert_array_equal(found[1], data)


def test_branches_are_in_test_mode_too():
    net = Net(branches, [3, 4], sgd)
    test, (output,) = test_program(net.program, [net.output])
    data = -np.ones([3, 4], "float32")  # the branch with batch norm and dropout
    before = net.everything()
    np.testing.assert_array_equal(answers(net, test, output, data), answers(net, test, output, data))
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_inputs_that_are_not_needed_are_left_out():
    net = Net(linear(), [2, 4])
    with paddle.static.program_guard(net.program):
        label = paddle.static.data("label", [None, 1], "int64")
        paddle.metric.accuracy(net.output, label)
    ops = net.program.num_ops()
    test, (output,) = test_program(net.program, [net.output])
    assert answers(net, test, output, np.ones([2, 4], "float32")).shape == (2, 4)
    assert net.program.num_ops() == ops and "label" not in str(test)


@pytest.mark.parametrize(
    ("program", "fetch", "error", "said"),
    [
        ("own", [], ValueError, "`fetch` must be values of `program`, .*, got an empty list"),
        ("own", "foreign", ValueError, "`fetch` must be values of `program`, .*, got 1 of 1 that are none of them"),
        ("own", ["loss"], TypeError, "`fetch` must be a list of values"),
        ("own", "loss", TypeError, "`fetch` must be a list of values"),
        ("none", [], TypeError, "`program` must be a paddle.static.Program, got NoneType"),
    ],
)
def test_what_cannot_be_tested_is_refused(program, fetch, error, said):
    net = Net(linear(), [2, 4])
    other = Net(linear(), [2, 4])
    fetch = [other.loss] if fetch == "foreign" else net.loss if fetch == "loss" else fetch
    with pytest.raises(error, match=said):
        test_program(net.program if program == "own" else None, fetch)
