# SPDX-License-Identifier: Apache-2.0
"""Weights that stay are moved together towards the dense net's answers, and back if that helps nobody."""

import numpy as np
import paddle
import pytest
from paddle import nn
from saved_nets import saved, structured

from paddle_unstructured.reconstruction import refine, student
from paddle_unstructured.reconstruction.dense import kept
from paddle_unstructured.reconstruction.ends import End
from paddle_unstructured.reconstruction.layers import solvable
from paddle_unstructured.reconstruction.reconstruct import reconstruct
from paddle_unstructured.reconstruction.rounding import grid
from paddle_unstructured.reconstruction.samples import moved
from paddle_unstructured.reconstruction.worth import worth_of
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


def build(x):
    norm = nn.BatchNorm2D(8)
    norm.eval()
    x = nn.functional.relu(norm(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)(x)))
    return nn.Linear(8, 6)(nn.functional.relu(nn.Conv2D(8, 8, 3, stride=2)(x)).mean([2, 3]))


@pytest.fixture
def path(tmp_path):
    saved(tmp_path, build)
    return tmp_path / "m"


def images(seed, count=96):
    return structured(np.random.default_rng(seed), count)


def data():
    x = images(0)
    return [{"x": x[i : i + 32]} for i in range(0, len(x), 32)]


def weights(model):
    return {p.name: model.graph.array(p.name) for p in model.graph.params()}


def test_answers_to_other_inputs_are_nearer_and_zeros_stay(path):
    x, errors, zeros = images(9, 200), [], []
    (expected,) = open_model(path).run(x=x)
    for steps in (0, 100):
        done = reconstruct(open_model(path), data(), ratio=0.8, steps=steps)
        errors.append(np.linalg.norm(done.model.run(x=x)[0] - expected))
        zeros.append({p.name: done.model.graph.array(p.name) == 0 for p in done.pruner.params})
        assert done.refined == steps
    assert errors[1] < 0.98 * errors[0]
    assert all(np.array_equal(zeros[0][name], zeros[1][name]) for name in zeros[0])


def test_what_does_not_help_is_taken_back(path, monkeypatch):
    plain = reconstruct(open_model(path), data(), ratio=0.6, steps=0)
    for word in ("RATE", "REACH"):
        monkeypatch.setattr(refine, word, 100.0)
    done = reconstruct(open_model(path), data(), ratio=0.6, steps=5)
    assert done.refined == 0
    before, after = weights(plain.model), weights(done.model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_weights_go_as_far_as_held_back_inputs_let_them(path, monkeypatch):
    found = []
    for losses in ([1.0, 2.0, 3.0, 4.0], [1.0, 0.1, 0.2, 0.3], [1.0, 2.0, 0.2, 0.3], [1.0, 2.0, 0.4, 0.3]):
        told = iter(losses)
        monkeypatch.setattr(student.Student, "losses", lambda self, feeds, told=told: np.full(16, next(told)))
        done = reconstruct(open_model(path), data(), ratio=0.6, steps=5)
        assert done.refined == (5 if min(losses) < 1.0 else 0)
        found.append(weights(done.model))
    start, *others = found
    for part, other in zip((1.0, 0.5, 0.25), others):
        assert all(
            np.allclose(other[name], start[name] + part * (others[0][name] - start[name]), atol=1e-6) for name in start
        )
    assert any(np.abs(others[0][name] - start[name]).max() > 1e-3 for name in start)


def test_a_way_that_may_only_seem_worse_is_gone():
    none, half = np.array([1.0, 1.2, 1.1, 0.9]), np.array([0.5, 0.7, 0.4, 0.6])
    doubtful, surely = np.array([0.9, 0.4, 0.6, 0.5]), half + 0.1
    assert refine._furthest({1.0: doubtful, 0.5: half, 0.0: none}) == 1.0  # 0.05 more, by a standard error of 0.13
    assert refine._furthest({1.0: surely, 0.5: half, 0.0: none}) == 0.5
    assert refine._furthest({1.0: surely[:1], 0.5: half[:1], 0.0: none[:1]}) == 0.5  # one input tells no error
    assert refine._furthest({1.0: none + 1.0, 0.5: none + 0.5, 0.0: none}) == 0.0
    assert refine._furthest({1.0: none * np.nan, 0.5: none * np.inf, 0.0: none}) == 0.0


def test_a_net_without_gradients_is_left_as_its_layers_are(path, monkeypatch):
    def none(*args, **words):
        raise RuntimeError("no gradient")

    monkeypatch.setattr(paddle.static, "gradients", none)
    assert reconstruct(open_model(path), data(), ratio=0.6, steps=5).refined == 0


def test_weights_are_moved_together_first_and_rounded_then(path):
    x, errors, told = images(9, 200), [], []
    (expected,) = open_model(path).run(x=x)
    for words in ({"bits": 8, "steps": 0}, {"bits": 8, "steps": 100}, {"steps": 100}):
        done = reconstruct(open_model(path), data(), ratio=0.8, told=lambda row, part: told.append(part), **words)
        errors.append(np.linalg.norm(done.model.run(x=x)[0] - expected))
        if "bits" in words:
            assert all(0 <= row.rounded <= row.nearest < 0.01 for row in done.rows)
            for param in done.pruner.params:
                weight = np.moveaxis(done.model.graph.array(param.name), param.output_axis, 0).reshape(
                    param.shape[param.output_axis], -1
                )
                levels = weight / grid(weight[None], 127)[0]
                assert np.allclose(levels, np.rint(levels), atol=1e-3)
                assert not done.model.graph.array(param.name)[~done.model.graph.mask(param)].any()
    assert done.refined == 100
    assert errors[1] < 0.99 * errors[0] and errors[1] < 1.02 * errors[2]
    runs = np.split(told, np.flatnonzero(np.diff(told) < 0) + 1)
    assert len(runs) == 3 and all(run[-1] == pytest.approx(1.0) for run in runs)  # each only goes on


def test_a_model_of_one_number_of_samples_is_refined_with_as_many(tmp_path):
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [8, 3, 8, 8])
        y = nn.Linear(8, 6)(nn.functional.relu(nn.Conv2D(3, 8, 3)(x)).mean([2, 3]).reshape([8, 8]))
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(tmp_path / "m"), [x], [y], executor, program=program)
    x = images(0)
    done = reconstruct(tmp_path / "m", [{"x": x[i : i + 8]} for i in range(0, len(x), 8)], ratio=0.8, steps=40)
    assert done.refined == 40


def test_steps_that_take_long_are_not_made_unasked(path, monkeypatch):
    assert reconstruct(open_model(path), data(), ratio=0.6).refined == refine.STEPS
    monkeypatch.setattr(refine, "BUDGET", 1e6)
    assert reconstruct(open_model(path), data(), ratio=0.6).refined == 0


def test_images_move_by_two_pixels_at_most_and_other_inputs_stay(path):
    model, random = open_model(path), np.random.default_rng(0)
    x = np.arange(64.0, dtype=np.float32).reshape(1, 1, 8, 8).repeat(3, 1).repeat(40, 0)
    found = moved(model, {"x": x}, random)["x"]
    offsets = {(round(float(a - b)) // 8, round(float(a - b)) % 8) for a, b in zip(found[:, 0, 4, 4], x[:, 0, 2, 2])}
    assert found.shape == x.shape and offsets <= {(i, j) for i in range(5) for j in range(5)} and len(offsets) > 10
    tokens = {"x": np.ones((4, 7), np.float32)}
    assert np.array_equal(moved(model, tokens, random)["x"], tokens["x"])


@pytest.mark.parametrize(
    "words, message",
    [
        ({"steps": 5, "method": "recalibrate"}, '`steps` must be left out with `method="recalibrate"`'),
        ({"bits": 8, "method": "magnitude"}, '`bits` must be left out with `method="magnitude"`'),
    ],
)
def test_words_that_would_do_nothing_are_refused(path, words, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(str(path), [{"x": images(0)}], ratio=0.5, **words)


def test_an_input_that_only_the_end_reads_is_no_hindrance(tmp_path, caplog):
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x, scale = paddle.static.data("x", [-1, 3, 8, 8]), paddle.static.data("scale", [-1])
        z = nn.Linear(8, 6)(nn.functional.relu(nn.Conv2D(3, 8, 3)(x)).mean([2, 3]))
        y = paddle.argmax(z, 1).astype("float32") * scale
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(tmp_path / "m"), [x, scale], [y], executor, program=program)
    feed = {"x": images(0), "scale": np.ones(96, np.float32)}
    with caplog.at_level("INFO", "paddle_unstructured"):
        assert reconstruct(tmp_path / "m", [feed], ratio=0.8, steps=50).refined == 50
    assert "counts alike" not in caplog.text


def test_what_layers_give_is_learned_behind_their_norms(path):
    model = open_model(path)
    with kept(model) as dense:
        names = [p.name for p in model.graph.params() if len(p.shape) > 1]
        one = student.Student.of(model, dense, names)
        batch = {"x": images(3, 8)}
        assert one.losses([batch])[0] == pytest.approx(0.0, abs=1e-9)
        assert [value.get_defining_op().name() for value in one.values] == [
            "pd_op.add",
            "pd_op.batch_norm_",
            "pd_op.conv2d",
            "pd_op.matmul",
        ]
        first, *_, last = names
        model.graph.store(last, np.zeros_like(model.graph.stored(last)))  # nothing goes back through the answers
        assert one.losses([batch])[0] > 1e-3 and np.abs(one.gradients(batch)[0]).max() == 0.0
        model.graph.store(first, 1.1 * model.graph.stored(first))
        assert np.abs(one.gradients(batch)[0]).max() > 0.0


def test_answers_are_apart_by_squares_and_by_the_likelihood_along_their_axis():
    random = np.random.default_rng(0)
    z, wanted = random.normal(size=(2, 2, 3, 4)).astype(np.float32)
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        values = [paddle.static.data(name, [2, 3, 4], "float32") for name in ("z", "wanted")]
        losses = [student._apart(End(values[0], axis), values[1]) for axis in (None, 1)]
    feed = {"z": z, "wanted": wanted}
    alone, both = paddle.static.Executor(paddle.CPUPlace()).run(program, feed=feed, fetch_list=losses)
    squares = np.square(z - wanted).mean() / np.square(wanted).mean()
    p, q = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (wanted, z))
    assert alone == pytest.approx(squares, rel=1e-5)
    assert both == pytest.approx(squares + (p * np.log(p / q)).sum(1).mean(), rel=1e-5)


def test_a_gradient_that_is_no_number_moves_nothing_and_ranks_nothing(tmp_path):
    """As of the deviation of a channel that never fires; ReLU makes numbers of NaN weights, so that no loss tells."""

    def pooled(x):
        bias = paddle.ParamAttr(initializer=nn.initializer.Assign(np.array([-100.0] + 7 * [0.0])))
        x = nn.functional.relu(nn.Conv2D(3, 8, 3, bias_attr=bias)(x)).flatten(2)
        return nn.Linear(16, 6)(paddle.concat([x.mean(2), x.std(2)], 1))

    model = saved(tmp_path, pooled)
    seen, readings = data(), [solvable(model.graph, param) for param in model.graph.params() if param.is_weight]
    assert set(worth_of(model, readings, seen, seed=0)) == {"linear_0.w_0"}
    done = reconstruct(model, seen, ratio=0.5, steps=60)
    assert done.refined == 60 and all(np.isfinite(weight).all() for weight in weights(done.model).values())


def test_paddle_does_not_remark_on_a_layer_that_is_the_end(tmp_path, caplog):
    """Its gradient is that of an end for itself; where there is no bias behind it, the root logger heard of it."""
    from paddle.autograd import backward_utils

    def plain(x):
        return nn.Linear(16, 4, bias_attr=False)(nn.functional.relu(nn.Linear(192, 16, bias_attr=False)(x.flatten(1))))

    backward_utils.warning_once.cache_clear()  # it is said once in a process
    done = reconstruct(saved(tmp_path, plain), data(), ratio=0.5, steps=3)
    assert done.error < 1 and "has no use" not in caplog.text
