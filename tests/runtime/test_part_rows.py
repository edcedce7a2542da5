# SPDX-License-Identifier: Apache-2.0
"""Parts behind boxes, canvases and the like: their first axis is not that of the model's samples."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import relative_error, save_net

from paddle_unstructured.runtime import Session, convert, create_predictor
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


def heads(x):
    """As of a Mask R-CNN: boxes are chosen, cut out of the features, and looked at one by one."""
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1)(x))
    score = nn.Conv2D(8, 1, 1)(x).flatten()
    _, best = paddle.topk(score, 5)
    row, column = best // 16, best % 16
    corners = paddle.stack([column, row, column + 4, row + 4], 1).astype("float32")
    cut = paddle.vision.ops.roi_align(x, corners, paddle.full([1], 5, "int32"), 4)
    mask = F.relu(nn.Conv2D(8, 8, 3, padding=1)(cut))
    return nn.Conv2D(8, 2, 1)(mask), nn.Linear(128, 6)(cut.flatten(1))


def rows_of_any_number(x):
    """As many as there are numbers above a limit."""
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1)(x))
    pixels = x.transpose([0, 2, 3, 1]).reshape([-1, 8])
    few = paddle.gather(pixels, paddle.nonzero(pixels[:, 0] > 0.2).flatten())
    return nn.Linear(64, 4)(F.relu(nn.Linear(8, 64)(few)))


def canvas(x):
    """As of PointPillars: rows are written to their places of one plane."""
    rows = F.relu(nn.Linear(3, 8)(x.mean([2, 3])))
    places = paddle.arange(paddle.shape(x)[0])
    plane = paddle.scatter(paddle.zeros([64, 8]), places, rows).transpose([1, 0]).reshape([1, 8, 8, 8])
    return nn.Conv2D(8, 4, 3, padding=1)(F.relu(nn.Conv2D(8, 8, 3, padding=1)(plane)))


@pytest.mark.parametrize(
    ("net", "batch", "batches"), [(heads, 1, (1,)), (rows_of_any_number, -1, (1, 3)), (canvas, -1, (2, 5))]
)
def test_what_counts_otherwise_than_the_model_is_converted_too(tmp_path, net, batch, batches):
    pytest.importorskip("onnxruntime")
    dense = save_net(tmp_path, net, [batch, 3, 16, 16], sparsity=0.0)
    table = convert(dense, tmp_path / "fast")
    assert table.covered > 0.99 and not table.converted, str(table)
    session, predictor = Session(tmp_path / "fast"), create_predictor(str(tmp_path / "fast"))
    for count in batches:
        x = np.random.default_rng(count).normal(size=(count, 3, 16, 16)).astype("float32")
        want = open_model(dense).run(x=x)
        predictor.get_input_handle("x").copy_from_cpu(x)
        predictor.run()
        theirs = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
        for found in (session.run(x), theirs):
            for one, expected in zip(found, want):
                assert one.shape == expected.shape and relative_error(one, expected) < 1e-5


def test_products_of_recurrent_layers_and_of_einsum_count_as_arithmetic(tmp_path):
    def layers(x):
        states, _ = nn.LSTM(16, 8)(nn.Conv2D(3, 16, 1)(x).flatten(2).transpose([0, 2, 1]))
        states = paddle.cumsum(paddle.mode(states, 1)[0], 1)  # which nobody has a kernel for
        return paddle.einsum("nc,cd->nd", states, paddle.create_parameter([8, 400], "float32"))

    table = convert(save_net(tmp_path, layers, [-1, 3, 4, 4]), tmp_path / "fast")
    shares = [part.share for part in table.parts]
    convolution, steps, product = 16 * 3 * 16, 16 * 4 * 8 * (16 + 8), 8 * 400
    whole = convolution + steps + product
    assert shares == pytest.approx([(convolution + steps) / whole, product / whole])
