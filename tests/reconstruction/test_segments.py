# SPDX-License-Identifier: Apache-2.0
"""A Program in pieces computes what it computes in one."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured.reconstruction.segments import Pieces

pytestmark = pytest.mark.usefixtures("static")
PLACE = paddle.CPUPlace()


def branched(x):
    first = nn.functional.relu(nn.Conv2D(3, 8, 3, padding=1)(x))
    left, right = nn.Conv2D(8, 4, 1)(first), nn.Conv2D(8, 4, 3, padding=1)(first)
    joined = paddle.concat([left, right, first], 1)
    norm = nn.BatchNorm2D(16)
    norm.eval()
    a, b = paddle.split(norm(joined), 2, 1)
    pooled = (a * b).reshape([paddle.shape(a)[0], 8, -1]).mean(2)
    return nn.Linear(8, 5)(pooled)


def looped(x):
    """A layer before a loop, which has one inside, and one behind it."""
    first = nn.functional.relu(nn.Conv2D(3, 5, 1)(x)).mean([2, 3])
    inside, times = nn.Linear(5, 5), paddle.zeros([1], "int64")

    def body(i, y):
        return [i + 1, nn.functional.relu(inside(y)) + first]

    _, y = paddle.static.nn.while_loop(lambda i, y: (i < 3).all(), body, [times, first])
    return nn.Linear(5, 4)(y)


@pytest.mark.parametrize("net", [branched, looped])
@pytest.mark.parametrize("cuts", [[0.5], [0.2, 0.4, 0.6, 0.8], [i / 40 for i in range(1, 40)]])
def test_pieces_give_what_the_whole_gives(net, cuts):
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        y = net(paddle.static.data("x", [-1, 3, 6, 6]))
    executor = paddle.static.Executor(PLACE)
    executor.run(startup)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    with paddle.static.program_guard(program):
        end = y * 1.0  # reads y behind the last cut
    (whole,) = executor.run(program, feed={"x": x}, fetch_list=[y])
    pieces = Pieces(program, PLACE)
    live, at = pieces.start({"x": x}), 0
    for stop in [*sorted({round(cut * (pieces.end - 1)) for cut in cuts}), pieces.index(end.get_defining_op())]:
        live = pieces.between(at, stop).run(live, paddle.static.global_scope())
        at = stop
    assert np.allclose(live[y.id], whole, atol=1e-5)
