# SPDX-License-Identifier: Apache-2.0
"""What outputs of layers are worth, beside answers that are moved by hand."""

import numpy as np
import paddle
import pytest
from paddle import nn
from saved_nets import saved

from paddle_unstructured.distributed.collectives import mode
from paddle_unstructured.graph import Param
from paddle_unstructured.reconstruction.damage import Damage
from paddle_unstructured.reconstruction.ends import ends_of
from paddle_unstructured.reconstruction.layers import solvable
from paddle_unstructured.reconstruction.worth import LEAST, Worth, _in_turn, worth_of

pytestmark = pytest.mark.usefixtures("static")


def looked_at(model, batches):
    layers = [solvable(model.graph, p) for p in model.graph.params() if p.role in ("linear", "conv2d")]
    return worth_of(model, layers, batches, seed=0)


def two_layers(x):
    hidden = nn.Linear(4, 3)(x)
    return nn.Linear(3, 1, bias_attr=False)(nn.functional.relu(hidden))


def test_of_one_answer_the_worth_is_the_square_of_its_slope(tmp_path):
    model = saved(tmp_path, two_layers, (4,))
    x = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    first, bias, last = (model.graph.array(name) for name in ("linear_0.w_0", "linear_0.b_0", "linear_1.w_0"))
    on = (x @ first + bias) > 0
    expected = on.mean(0) * last[:, 0] ** 2
    found = looked_at(model, [{"x": x}])["linear_0.w_0"]
    ratio = found.outputs / expected  # r is random, and the answers' size is divided by
    assert np.allclose(ratio, ratio.mean(), rtol=0.25)
    assert np.allclose(found.inputs, x.var(0), rtol=1e-3)  # a bias takes the mean up


def test_an_output_that_nothing_hears_is_worth_next_to_nothing(tmp_path):
    model = saved(tmp_path, two_layers, (4,))
    last = model.graph.array("linear_1.w_0")
    last[1] = 0.0
    model.graph.store("linear_1.w_0", last)
    found = looked_at(model, [{"x": np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)}])
    outputs = found["linear_0.w_0"].outputs
    assert outputs[1] == pytest.approx(1e-4 * outputs.max()) and (np.delete(outputs, 1) > 10 * outputs[1]).all()


def test_small_portions_tell_the_same_as_large_ones(tmp_path, monkeypatch):
    model = saved(tmp_path, lambda x: nn.Linear(5, 3)(nn.Conv2D(2, 5, 3)(x).mean([2, 3])), (2, 6, 6))
    batches = [{"x": np.random.default_rng(0).normal(size=(128, 2, 6, 6)).astype(np.float32)}]
    large = looked_at(model, batches)
    monkeypatch.setattr("paddle_unstructured.reconstruction.worth.ROOM", 1.0)
    monkeypatch.setattr("paddle_unstructured.reconstruction.worth.PASSES", 1000)
    small = looked_at(model, batches)
    for name, worth in large.items():
        relative = [one.outputs / one.outputs.mean() for one in (worth, small[name])]
        assert np.allclose(*relative, rtol=0.4)
        assert np.allclose(worth.inputs, small[name].inputs, rtol=1e-3)


def test_gradients_begin_before_an_op_that_has_none(tmp_path):
    def labels(x):
        return paddle.argmax(nn.Linear(6, 4)(nn.functional.relu(nn.Linear(8, 6)(x))), 1)

    model = saved(tmp_path, labels, (8,))
    found = looked_at(model, [{"x": np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)}])
    assert np.ptp(found["linear_0.w_0"].outputs) > 0


def test_a_last_softmax_is_looked_through(tmp_path):
    def sure(x):
        return nn.functional.softmax(100.0 * nn.Linear(6, 4)(nn.functional.relu(nn.Linear(8, 6)(x))))

    model = saved(tmp_path, sure, (8,))
    found = looked_at(model, [{"x": np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)}])
    assert found["linear_1.w_0"].outputs.min() > 0.1 * found["linear_1.w_0"].outputs.max()


def test_a_net_without_gradients_has_no_worth(tmp_path, monkeypatch):
    def none(*args, **words):
        raise RuntimeError("op has no gradient")

    monkeypatch.setattr(paddle.static, "gradients", none)
    assert looked_at(saved(tmp_path, two_layers, (4,)), [{"x": np.zeros((4, 4), np.float32)}]) == {}


def test_damage_is_magnitude_times_what_its_output_and_input_are_worth():
    param = Param("w", (2, 3), "linear", "matmul", output_axis=1, input_axis=0)
    worth = Worth(outputs=np.array([1.0, 4.0, 9.0]), inputs=np.array([1.0, 100.0]))
    with mode(paddle.disable_static):
        scores = Damage({"w": worth}).score(paddle.to_tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -2.0]]), param, None)
    assert scores.numpy().tolist() == [[1.0, 2.0, 3.0], [10.0, 20.0, 60.0]]


def test_damage_in_groups_reads_the_inputs_of_its_own_group():
    param = Param("w", (4, 1, 1, 1), "conv2d", "conv2d", output_axis=0, input_axis=1, groups=2)
    worth = Worth(outputs=np.ones(4), inputs=np.array([1.0, 100.0]))
    with mode(paddle.disable_static):
        scores = Damage({"w": worth}).score(paddle.ones([4, 1, 1, 1]), param, None)
    assert scores.numpy().ravel().tolist() == [1.0, 1.0, 10.0, 10.0]


def test_gradients_end_at_a_maximum(tmp_path):
    def build(x):
        return nn.Linear(5, 3)(nn.functional.relu(nn.Conv2D(2, 5, 3)(x)).max([2, 3]))

    model = saved(tmp_path, build, (2, 6, 6))
    ops = model.program.global_block().ops
    conv, largest = (next(op for op in ops if op.name() == name) for name in ("pd_op.conv2d", "pd_op.max"))
    ends = ends_of(model.program, [conv.result(0)], list(model.fetches))
    assert [end.value.id for end in ends] == [largest.operand_source(0).id]


def test_a_few_samples_are_looked_at_again_with_other_random_numbers(tmp_path):
    model = saved(tmp_path, two_layers, (4,))
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    first, bias, last = (model.graph.array(name) for name in ("linear_0.w_0", "linear_0.b_0", "linear_1.w_0"))
    expected = ((x @ first + bias) > 0).mean(0) * last[:, 0] ** 2
    ratio = looked_at(model, [{"x": x}])["linear_0.w_0"].outputs / expected
    assert np.allclose(ratio, ratio.mean(), rtol=0.4)  # of one pass 12 random numbers differ by half and more
    batches = [{"x": x[i : i + 4]} for i in range(0, 12, 4)]
    met = [(kind, float(feed["x"][0, 0])) for kind, feed in _in_turn(model, batches, 4)]
    assert len(met) == LEAST and len(set(met)) == 6 and all(met.count(one) == 2 for one in met)
    many = [(kind, len(feed["x"])) for kind, feed in _in_turn(model, [{"x": np.zeros((1000, 4))}], 16)]
    assert many == [(i % 2, min(16, 1000 - 16 * i)) for i in range(63)]


@pytest.mark.parametrize(
    ("last", "axis"),
    [
        (lambda z: nn.functional.softmax(z, axis=1), 1),
        (lambda z: nn.functional.log_softmax(z, axis=-1), 3),
        (nn.functional.sigmoid, None),
        (nn.functional.relu, None),
        (lambda z: z.mean([2, 3]), 1),
    ],
)
def test_classes_are_along_the_axis_of_a_last_softmax(tmp_path, last, axis):
    model = saved(tmp_path, lambda x: last(nn.Conv2D(2, 5, 3)(x)), (2, 6, 6))
    conv = next(op for op in model.program.global_block().ops if op.name() == "pd_op.conv2d")
    (end,) = ends_of(model.program, [conv.result(0)], list(model.fetches))
    assert end.axis == axis
