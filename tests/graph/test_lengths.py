# SPDX-License-Identifier: Apache-2.0
"""Lengths that are larger than the steps are refused before Paddle's recurrent op, which would end the process."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured.graph.lengths import check_lengths
from paddle_unstructured.reconstruction.reconstruct import reconstruct
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
X = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
GOOD = np.array([6, 0, 3, 1, 2, 4, 5, 6])


def plain(x: Any, lengths: Any) -> Any:
    return nn.LSTM(4, 8)(x, sequence_length=lengths)[0]


def behind_a_layer(x: Any, lengths: Any) -> Any:
    return nn.GRU(5, 8, direction="bidirect")(nn.functional.relu(nn.Linear(4, 5)(x)), sequence_length=lengths)[0]


def steps_first(x: Any, lengths: Any) -> Any:
    return nn.SimpleRNN(4, 8, time_major=True)(x.transpose([1, 0, 2]), sequence_length=lengths.cast("int32"))[0]


def saved(path: Any, layers: Any) -> Any:
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        inputs = [paddle.static.data("x", [-1, -1, 4]), paddle.static.data("lengths", [-1], "int64")]
        output, exe = layers(*inputs), paddle.static.Executor()
        exe.run(startup)
        paddle.static.save_inference_model(str(path), inputs, [output], exe, program=main)
    return open_model(path)


@pytest.mark.parametrize("layers", [plain, behind_a_layer, steps_first])
@pytest.mark.parametrize("wrong", [7, -1])
def test_a_length_beyond_the_steps_is_refused_where_the_model_runs(layers, wrong, tmp_path):
    model, lengths = saved(tmp_path / "m", layers), GOOD.copy()
    assert np.isfinite(model.run(x=X, lengths=lengths)[0]).all()
    lengths[3] = wrong
    with pytest.raises(ValueError, match="`feeds` must give lengths lengths from 0 to 6, the steps of x, got"):
        model.run(x=X, lengths=lengths)


def test_calibration_data_with_such_a_length_are_refused_by_their_batch(tmp_path):
    saved(tmp_path / "m", plain)
    batches = [{"x": X, "lengths": GOOD}, {"x": X[:, :4], "lengths": GOOD}]
    with pytest.raises(ValueError, match="batch 2 of `data` must give lengths lengths from 0 to 4, the steps of x"):
        reconstruct(tmp_path / "m", batches, ratio=0.5, steps=5)


def test_lengths_that_the_net_computes_are_not_looked_at(tmp_path):
    model = saved(tmp_path / "m", lambda x, lengths: plain(x, lengths // 2))
    check_lengths(model.program, {"x": X, "lengths": GOOD * 2}, "`feeds`")
    assert np.isfinite(model.run(x=X, lengths=GOOD * 2)[0]).all()
