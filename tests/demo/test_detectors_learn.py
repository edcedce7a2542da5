# SPDX-License-Identifier: Apache-2.0
"""Detectors learn: objects reach planes that tell them apart, and a few scenes are learned by heart."""

import numpy as np
import paddle
import pytest
from detection import Anchors
from programs import build_net
from scenes import Scenes, compose

SIZE, STEPS = 64, 200


@pytest.fixture(scope="module")
def made():
    """Upright, flat and round objects: three classes."""
    y, x = np.mgrid[:16, :16]
    shapes = (abs(x - 7.5) < 3, abs(y - 7.5) < 3, (x - 7.5) ** 2 + (y - 7.5) ** 2 < 60)
    return compose(np.stack(shapes).astype(np.uint8) * 255, np.arange(3), 64, size=SIZE, seed=(0, 1))


def cell(task: Anchors, box: np.ndarray) -> tuple[int, ...]:
    """Stride, row, column and anchor that learn a box: the anchor whose shape is most like the box's."""
    x, y, w, h = box * SIZE
    shapes = np.reshape(task.anchors, (-1, 2))
    both = np.minimum(shapes, [w, h]).prod(1)
    best = int(np.argmax(both / (shapes.prod(1) + w * h - both)))
    stride = next(stride for stride, which in task.planes if best in which)
    return stride, int(y // stride), int(x // stride), best


def test_anchors_of_a_small_image_give_each_object_a_cell_of_its_own(made):
    task = Anchors(3, (SIZE, SIZE), 8)
    cells = [[cell(task, box) for box in boxes if box[2] > 0] for boxes in made["boxes"]]
    assert sum(len(each) for each in cells) > 100
    assert [each for each in cells if len(set(each)) < len(each)] == []
    assert {stride for each in cells for stride, *_ in each} == {8}


def test_anchors_of_an_image_as_published_are_those_published():
    assert Anchors(80, (416, 416), 8).anchors == Anchors(80, (SIZE, SIZE), 8).anchors
    assert Anchors(80, (416, 416), 8).anchors[-6:] == [116, 90, 156, 198, 373, 326]


@pytest.mark.usefixtures("static")
def test_an_untrained_yolo_says_hardly_anywhere_that_there_is_an_object():
    net = build_net("YOLOv3", image_shape=(3, SIZE, SIZE), classes=3, task=Anchors(3, (SIZE, SIZE), 8), width=0.1)
    exe = paddle.static.Executor(paddle.CPUPlace())
    exe.run(net.startup)
    images = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype("float32")
    scores = exe.run(net.test, feed={"image": images}, fetch_list=list(net.found))[1]
    assert np.median(scores) < 0.01  # 0.02 * 0.12; of zeros for biases, 0.25


@pytest.mark.slow
@pytest.mark.usefixtures("static")
def test_yolo_learns_eight_scenes_by_heart(made, tmp_path):
    np.savez(tmp_path / "a.npz", **{name: each[:8] for name, each in made.items()})
    images, *labels = Scenes(tmp_path / "a.npz", boxes=True).fetch(np.arange(8), None)
    task = Anchors(3, (SIZE, SIZE), labels[1].shape[1])
    rates = paddle.optimizer.lr.CosineAnnealingDecay(0.01, STEPS)
    paddle.seed(0)
    optimizer = paddle.optimizer.Momentum(rates, 0.9)
    net = build_net("YOLOv3", image_shape=(3, SIZE, SIZE), classes=3, task=task, width=0.125, optimizer=optimizer)
    exe = paddle.static.Executor(paddle.CPUPlace())
    exe.run(net.startup)
    for _ in range(STEPS):
        exe.run(net.train, feed={"image": images, "box": labels[0], "class": labels[1]}, fetch_list=[])
        rates.step()
    score = task.score()
    score.add(exe.run(net.test, feed={"image": images}, fetch_list=list(net.answers)), labels)
    assert score.result()["map50"] > 0.9
