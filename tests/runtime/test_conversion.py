# SPDX-License-Identifier: Apache-2.0
"""Saved Paddle models converted whole, against Paddle's own dense run; what cannot be converted stays right."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle.vision import models as vision
from runtime_nets import relative_error, save_net

from paddle_unstructured.runtime import Session, convert
from paddle_unstructured.runtime.ops import OPS
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
IMAGE = [-1, 3, -1, -1]


def outputs(prefix, x):
    return open_model(prefix).run(x=x)


def check(tmp_path, layers, *sizes, shape=IMAGE, tolerance=1e-5, **pruning):
    """Convert, and compare with Paddle for every input size; returns the table."""
    dense, fast = save_net(tmp_path, layers, shape, **pruning), str(tmp_path / "fast")
    table = convert(dense, fast)
    assert table.converted, table.refusal
    session = Session(fast, threads=2)
    for size in sizes:
        x = np.random.default_rng(1).normal(size=size).astype("float32")
        ours, theirs = session.run(x), outputs(dense, x)
        assert len(ours) == len(theirs)
        for got, expected in zip(ours, theirs):
            assert relative_error(got, expected) < tolerance
    return table


def evaluated(net):
    """A net's layers in inference mode, made inside the Program."""

    def layers(x):
        made = net()
        made.eval()
        return made(x)

    return layers


@pytest.mark.parametrize(
    "net",
    [
        lambda: vision.mobilenet_v1(scale=0.25, num_classes=10),
        lambda: vision.mobilenet_v2(scale=0.25, num_classes=10),
        lambda: vision.mobilenet_v3_small(scale=0.5, num_classes=10),
        lambda: vision.mobilenet_v3_large(scale=0.35, num_classes=10),
        lambda: vision.resnet18(num_classes=10),
    ],
)
def test_nets_of_paddle_vision_convert_whole(tmp_path, net):
    table = check(tmp_path, evaluated(net), (1, 3, 64, 64), (3, 3, 33, 47), sparsity=0.8)
    assert table.bytes_before > 2 * table.bytes_after


@pytest.mark.slow
@pytest.mark.parametrize(
    "net",
    [
        vision.resnet50,
        vision.densenet121,
        vision.googlenet,
        vision.resnext50_32x4d,
        vision.mobilenet_v2,
        vision.wide_resnet50_2,
    ],
)
def test_large_nets_of_paddle_vision_convert_whole(tmp_path, net):
    other = (2, 3, 224, 224) if net is vision.googlenet else (2, 3, 128, 160)  # its auxiliary heads take one size only
    check(tmp_path, evaluated(net), (1, 3, 224, 224), other, shape=[-1, 3, -1, -1], sparsity=0.9)


@pytest.mark.parametrize("block, kernel", [(1, "sparse"), (2, "sparse 2x1"), (4, "sparse 4x1")])
def test_the_table_says_which_kernel_runs_a_layer(tmp_path, block, kernel):
    def layers(x):
        x = F.relu(nn.Conv2D(3, 16, 3, 2, 1, bias_attr=False)(x))
        return nn.Linear(16, 5)(nn.Conv2D(16, 16, 1)(x).mean([2, 3]))

    table = check(tmp_path, layers, (2, 3, 9, 9), sparsity=0.75, block=block)
    assert [choice.kernel for choice in table.choices] == [kernel] * 3
    assert "conv2d_0.w_0" in str(table) and "MB on disk" in str(table)


def test_a_layer_below_the_break_even_is_run_by_the_dense_kernel(tmp_path):
    table = check(tmp_path, lambda x: nn.Conv2D(3, 16, 1)(x), (1, 3, 8, 8), sparsity=0.1)
    assert [choice.kernel for choice in table.choices] == ["dense"] and "gains from" in table.choices[0].why


def block_with_everything(x):
    x = F.hardswish(nn.BatchNorm2D(12)(nn.Conv2D(3, 12, 5, 2, 2)(x)))
    y = F.relu6(nn.BatchNorm2D(12)(nn.Conv2D(12, 12, 5, 1, 2, groups=12)(x)))
    gate = F.sigmoid(nn.Conv2D(4, 12, 1)(F.swish(nn.Conv2D(12, 4, 1)(F.adaptive_avg_pool2d(y, 1)))))
    y = nn.Conv2D(12, 12, 1, bias_attr=False)(y * gate) + x
    y = paddle.concat([F.leaky_relu(y, 0.1), nn.Conv2D(12, 8, 3, padding=1, groups=4)(y)], 1)
    y = F.avg_pool2d(F.max_pool2d(nn.BatchNorm2D(20)(y), 3, 2, 1), 2, 1)
    y = F.hardsigmoid(nn.Conv2D(20, 6, 3, dilation=2, padding=2)(y)) * 2.0
    y = F.dropout(F.adaptive_avg_pool2d(y, 1).flatten(1), 0.4, training=False, mode="downscale_in_infer")
    y = F.dropout(y, 0.4, training=False)
    return F.softmax(nn.Linear(6, 4)(y))


def test_a_net_with_every_covered_layer(tmp_path):
    check(tmp_path, block_with_everything, (2, 3, 24, 31), (1, 3, 17, 16), sparsity=0.6)


def test_a_value_with_two_readers_is_not_folded_away(tmp_path):
    def layers(x):
        x = nn.Conv2D(3, 8, 1)(x)
        return F.relu(x) + nn.BatchNorm2D(8)(x)

    check(tmp_path, layers, (2, 3, 5, 5))


def test_vectors_in_and_several_outputs(tmp_path):
    def layers(x):
        hidden = F.relu(nn.Linear(9, 30)(x))
        return [nn.Linear(30, 4)(hidden), hidden]

    check(tmp_path, layers, (1, 9), (5, 9), shape=[-1, 9])


@pytest.mark.parametrize("seed", range(6))
def test_random_nets_equal_paddle(tmp_path, seed):
    random = np.random.default_rng(seed)

    def layers(x):
        channels = 3
        for _ in range(5):
            out, kernel, stride = int(random.integers(1, 40)), int(random.choice([1, 3, 5])), int(random.integers(1, 3))
            y = nn.Conv2D(channels, out, kernel, stride, kernel // 2)(x)
            y = [F.relu, F.relu6, F.hardswish, F.sigmoid][int(random.integers(4))](nn.BatchNorm2D(out)(y))
            deep = nn.Conv2D(out, out, 3, 1, 1, groups=out)(y)
            x, channels = (y + deep, out) if random.random() < 0.5 else (paddle.concat([y, deep], 1), 2 * out)
        return nn.Linear(channels, 7)(F.adaptive_avg_pool2d(x, 1).flatten(1))

    batch, sparsity = int(random.integers(1, 6)), float(random.choice([0.5, 0.9]))
    check(tmp_path, layers, (batch, 3, 37, 22), (1, 3, 1, 1), sparsity=sparsity)


@pytest.mark.parametrize("sizes", [(4, 0, 3), (4, 8, 0)])
def test_a_layer_without_weights_stays_with_paddle(tmp_path, sizes):
    first, second, third = sizes
    net = Net(lambda x: paddle.nn.Linear(second, third)(paddle.nn.Linear(first, second)(x)), [-1, first])
    prefix = str(tmp_path / "model")
    paddle.static.save_inference_model(prefix, [net.input], [net.output], net.exe, program=net.program)
    table = convert(prefix, tmp_path / "fast")
    assert not table.converted and ".w_0 has no elements" in table.refusal
    x = np.ones([3, first], "float32")
    assert open_model(tmp_path / "fast").run(x=x)[0].shape == (3, third)


def test_a_net_with_an_op_without_kernel_is_converted_in_part_and_says_why(tmp_path, monkeypatch):
    monkeypatch.delitem(OPS, "cumsum")

    def layers(x):
        return paddle.cumsum(nn.Conv2D(3, 4, 1)(x), 1)

    dense, fast = save_net(tmp_path, layers, IMAGE), str(tmp_path / "fast")
    table = convert(dense, fast)
    assert not table.converted and "cumsum" in table.refusal and "the rest stays with Paddle" in str(table)
    x = np.ones((1, 3, 4, 4), "float32")
    assert relative_error(outputs(fast, x)[0], outputs(dense, x)[0]) < 1e-5


@pytest.mark.parametrize(
    "layers",
    [
        lambda x: F.softmax(x, 1),
        lambda x: x + paddle.mean(x, 1, keepdim=True),
        lambda x: nn.Conv2D(3, 4, 3, padding="SAME")(x),
        lambda x: F.relu(x).transpose([0, 2, 3, 1]),
        lambda x: x.reshape([-1, 24]),
        lambda x: x.reshape([-1, 12, 2, 2]),
        lambda x: F.pad(x, [1, 1, 1, 1], mode="reflect"),
    ],
)
def test_uses_of_many_kinds_return_what_paddle_returns_whole_or_in_parts(tmp_path, layers):
    dense = save_net(tmp_path, lambda x: layers(nn.Conv2D(3, 3, 1)(x)), [-1, 3, 4, 4])
    table = convert(dense, str(tmp_path / "fast"))
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype("float32")
    assert table.covered == pytest.approx(1.0)
    assert relative_error(outputs(str(tmp_path / "fast"), x)[0], outputs(dense, x)[0]) < 1e-5
