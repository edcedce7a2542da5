# SPDX-License-Identifier: Apache-2.0
"""PicoDet's boxes by hand: overlaps, who learns what, sides from distances, doubles that go; both modes of Paddle."""

import nms
import numpy as np
import paddle
import pytest
from assignment import overlap, sim_ota
from detection import Anchors, choose
from models.picodet import DISTANCES
from points import Points, corners, points, spread_loss


def tensor(values, dtype="float32"):
    return paddle.to_tensor(np.array(values, dtype))


def test_overlaps_of_boxes_by_hand():
    first = tensor([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]])
    second = tensor([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 3, 1], [0, 0, 0, 0]])
    assert overlap(first, second).numpy() == pytest.approx([1, 2 / 6, 0, 0])
    # the third: around both 3, either 2; the second fills all of what is around
    assert overlap(first, second, generalized=True).numpy()[:3] == pytest.approx([1, 2 / 6, -1 / 3])


def test_each_object_gets_points_in_it_and_the_cheapest_first():
    where = tensor([[4, 4, 8], [12, 4, 8], [20, 4, 8], [60, 4, 8]])
    truth = tensor([[[0, 0, 16, 8], [16, 0, 24, 8], [0, 0, 0, 0]]])
    boxes = tensor([[[0, 0, 16, 8], [0, 0, 12, 8], [16, 0, 24, 8], [0, 0, 8, 8]]])
    logits = paddle.zeros([1, 4, 2])
    whose, iou = sim_ota(logits, boxes, truth, tensor([[0, 1, 0]], "int32"), where)
    # the first object's IoU are 1, 0.75, 0 and 0.5 (that point is far away and never its): k is 2, the second's is 1
    assert whose.numpy()[0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert iou.numpy()[0] == pytest.approx([1, 0.75, 1, 0])


def test_a_point_that_two_objects_want_goes_to_the_cheaper_one():
    where = tensor([[8, 8, 8]])
    truth = tensor([[[0, 0, 16, 16], [2, 2, 14, 14]]])
    whose, iou = sim_ota(paddle.zeros([1, 1, 1]), tensor([[[2, 2, 14, 14]]]), truth, tensor([[0, 0]], "int32"), where)
    assert whose.numpy()[0].tolist() == [[0, 1]] and iou.numpy()[0, 0] == 1


def test_without_objects_no_point_learns_one():
    nothing = paddle.zeros([2, 3, 4])
    whose, iou = sim_ota(
        paddle.zeros([2, 4, 5]),
        paddle.ones([2, 4, 4]),
        nothing,
        nothing[..., 0].astype("int32"),
        tensor(np.ones((4, 3))),
    )
    assert not whose.numpy().any() and not iou.numpy().any()


def test_points_are_the_cells_centres_of_all_planes():
    found = points((64, 96))
    assert len(found) == 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2
    assert found[0].tolist() == [4, 4, 8] and found[1].tolist() == [12, 4, 8] and found[-1].tolist() == [96, 32, 64]


def test_boxes_come_back_from_their_distances():
    task = Points(2, (64, 64), 3)
    wanted = np.tile(np.float32([10, 12, 37, 41]), (1, len(task.points), 1))
    distances = task.distances(tensor(wanted)).numpy()
    sides = -50 * np.abs(distances[..., None] - np.arange(DISTANCES)).astype("float32")
    low = np.floor(distances)
    one = low + 1 - distances  # the weight of the lower step
    exact = np.full((*distances.shape, DISTANCES), -1e4, np.float32)
    np.put_along_axis(exact, low[..., None].astype(int), np.log(np.maximum(one, 1e-30))[..., None], -1)
    np.put_along_axis(exact, low[..., None].astype(int) + 1, np.log(np.maximum(1 - one, 1e-30))[..., None], -1)
    boxes = task.boxes(tensor(exact)).numpy()[0]
    stride = task.points[:, 2:]
    reachable = ((distances[0] > 0) & (distances[0] < DISTANCES - 1.01)).all(1)
    assert reachable.any() and np.allclose(boxes[reachable], wanted[0][reachable], atol=1e-3 * stride.max())
    assert (
        spread_loss(tensor(exact), tensor(distances)).numpy()
        <= spread_loss(tensor(sides), tensor(distances)).numpy() + 1e-5
    ).all()


def test_fractions_become_corners_in_pixels():
    assert corners(tensor([[0.5, 0.25, 0.5, 0.5]]), (40, 80)).numpy()[0] == pytest.approx([20, 0, 60, 20])


def test_of_doubles_the_best_stays_and_others_lose_their_score():
    boxes = tensor([[[0, 0, 10, 10], [0, 0, 10, 9.9], [30, 30, 40, 40]]])
    found, count = choose(boxes, tensor([[[0.9, 0.8, 0.6]]]))
    assert count.numpy().tolist() == [2]
    assert found.numpy()[0] == pytest.approx([0, 0.9, 0, 0, 10, 10]) and found.numpy()[1, 1] == pytest.approx(0.6)


def test_doubles_go_in_numpy_as_in_paddle():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 40, (2, 60, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (2, 60, 2))], 2).astype("float32")
    scores = rng.uniform(0, 0.9, (2, 3, 60)).astype("float32")
    found, count = choose(tensor(boxes), tensor(scores))
    again, counted = nms.choose(boxes, scores)
    assert counted.tolist() == count.numpy().tolist() and min(counted) > 20
    for first, second in zip(*(np.split(one, [counted[0]]) for one in (found.numpy(), again))):
        assert np.allclose(*(one[np.lexsort(one.T[:2])] for one in (first, second)), atol=1e-5)


def test_yolo_boxes_are_those_of_paddle():
    task, rng = Anchors(4, (96, 96), 3), np.random.default_rng(0)
    raw = [rng.normal(size=(2, 27, side, side)).astype("float32") for side in (3, 6, 12)]
    boxes, scores = (value.numpy() for value in task.found([tensor(plane) for plane in raw]))
    start = 0
    for plane, (stride, which) in zip(raw, task.planes):
        anchors = [side for i in which for side in task.anchors[2 * i : 2 * i + 2]]
        theirs = paddle.vision.ops.yolo_box(tensor(plane), tensor([[96, 96]] * 2, "int32"), anchors, 4, 0.0, stride)
        part = slice(start, start + theirs[0].shape[1])
        assert np.allclose(boxes[:, part], theirs[0].numpy(), atol=1e-3)
        assert np.allclose(scores[:, :, part].transpose(0, 2, 1), theirs[1].numpy(), atol=1e-5)
        start = part.stop
    assert start == boxes.shape[1]


def planes(rng, task, batch):
    return [
        rng.normal(size=(batch, 2 + 4 * DISTANCES, *(-(-side // stride) for side in task.size))).astype("float32")
        for stride in (8, 16, 32, 64)
    ]


def test_the_loss_is_the_same_in_both_modes_and_falls_when_the_answers_are_right(static):
    task, rng = Points(2, (64, 64), 2), np.random.default_rng(0)
    raw, box, kind = planes(rng, task, 2), np.zeros((2, 2, 4), "float32"), np.zeros((2, 2), "int32")
    box[0, 0] = 0.4, 0.5, 0.3, 0.4  # the second image is empty
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        fed = [paddle.static.data(f"p{i}", [None, *plane.shape[1:]]) for i, plane in enumerate(raw)]
        labels = [paddle.static.data("box", [None, 2, 4]), paddle.static.data("class", [None, 2], "int32")]
        (loss,) = task.measure(fed, labels)
    feed = {**{f"p{i}": plane for i, plane in enumerate(raw)}, "box": box, "class": kind}
    (built,) = static.run(program, feed=feed, fetch_list=[loss])
    paddle.disable_static()
    tensors = [paddle.to_tensor(plane, stop_gradient=False) for plane in raw]
    labels = [paddle.to_tensor(box), paddle.to_tensor(kind)]
    (eager,) = task.measure(tensors, labels)
    assert float(built) == pytest.approx(float(eager), rel=1e-5)
    for _ in range(60):
        (loss,) = task.measure(tensors, labels)
        loss.backward()
        for i, value in enumerate(tensors):
            tensors[i] = paddle.to_tensor((value - 1.0 * value.grad).numpy(), stop_gradient=False)
    assert float(loss) < 0.5 * float(eager)
    found, count = (answer.numpy() for answer in task.answers(tensors))
    best = found[: count[0]][found[: count[0], 1].argmax()]
    target = np.array([0.25, 0.3, 0.55, 0.7]) * 64
    assert best[0] == 0 and np.abs(best[2:] - target).max() < 4
