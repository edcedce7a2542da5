# SPDX-License-Identifier: Apache-2.0
"""Recurrent weights: what they read is what Paddle's op reads, and they are repaired as others are."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured.reconstruction.reconstruct import reconstruct
from paddle_unstructured.reconstruction.recurrent import recurrent
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "tanh": nn.SimpleRNN}


def saved(folder, build, lengths=False):
    program, startup = paddle.static.Program(), paddle.static.Program()
    paddle.seed(0)
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        inputs = [paddle.static.data("x", [-1, 9, 6])]
        inputs += [paddle.static.data("n", [-1], "int64")] if lengths else []
        outputs = build(*inputs)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(folder / "m"), inputs, [outputs], executor, program=program)
    return open_model(folder / "m")


def feeds(lengths=False, count=64, seed=0):
    random = np.random.default_rng(seed)
    x = np.cumsum(random.normal(size=(count, 9, 6)), 1).astype(np.float32)
    feed = {"x": x}
    if lengths:
        feed["n"] = random.integers(1, 10, count)
    return feed


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_the_op(tmp_path, kind, lengths):
    def build(x, n=None):
        return KINDS[kind](6, 5, num_layers=2, direction="bidirect")(x, sequence_length=n)[0]

    model, feed = saved(tmp_path, build, lengths), feeds(lengths)
    (states,) = model.run(**feed)
    params = [param for param in model.graph.params() if param.role == "rnn"]
    found = [recurrent(model.graph, param) for param in params]
    assert len(found) == 8 and len({(one.layer, one.backwards, one.of_state) for one in found}) == 8
    live = {found[0].input.id: feed["x"].transpose(1, 0, 2)}
    on = np.ones((9, 64), bool)
    if lengths:
        live[found[0].op.operand_source(3).id] = feed["n"]
        on = np.arange(9)[:, None] < feed["n"]
    for one in found:
        rows = one.reads(live, model.graph.array, model.graph.array)[0]
        assert rows.shape == (on.sum(), one.param.shape[1])
        if one.layer == 0 and not one.of_state:
            assert np.array_equal(rows, feed["x"].transpose(1, 0, 2)[on])
        if one.layer == 1 and one.of_state:  # what the step before, or behind, has given
            own = states.transpose(1, 0, 2)[..., 5:] if one.backwards else states.transpose(1, 0, 2)[..., :5]
            zero = np.zeros((1, 64, 5), np.float32)
            expected = np.concatenate([own[1:], zero] if one.backwards else [zero, own[:-1]])
            assert np.allclose(rows, expected[on], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_repaired_weights_give_what_the_dense_net_gives_more_nearly(tmp_path, kind):
    def build(x):
        return nn.Linear(48, 5)(KINDS[kind](6, 24, direction="bidirect")(x)[0])

    errors = []
    for method in ("magnitude", "reconstruct"):
        model = saved(tmp_path, build)
        (expected,) = model.run(**feeds(seed=1))
        done = reconstruct(model, [feeds(count=128)], ratio=0.6, method=method, steps=0)
        errors.append(np.linalg.norm(done.model.run(**feeds(seed=1))[0] - expected))
    rows = [row for row in done.rows if "cell" in row.name]
    assert len(rows) == 4 and all(row.after <= row.before and not row.note for row in rows)
    assert errors[1] < 0.7 * errors[0]


def test_a_layer_that_begins_from_a_given_state_is_left_with_the_reason(tmp_path):
    def build(x):
        first = nn.Linear(6, 5)(x[:, 0]).unsqueeze(0)
        return nn.GRU(6, 5)(x, first)[0]

    done = reconstruct(saved(tmp_path, build), [feeds()], ratio=0.5)
    notes = {row.name: row.note for row in done.rows}
    assert notes["gru_cell_0.w_0"].startswith("its first state is given")
