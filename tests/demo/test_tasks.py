# SPDX-License-Identifier: Apache-2.0
"""Masks and boxes: scenes that say what is in them, scores by hand, and nets that train on both through both doors."""

import json
from dataclasses import replace

import numpy as np
import paddle
import pytest
from commands import history, run
from data import SPECS
from detection import Anchors
from masks import MaskFolder
from PIL import Image
from programs import build_net
from scenes import Scenes, compose
from tasks import Segmentation

from paddle_unstructured.runtime import convert


@pytest.fixture(scope="module")
def made():
    objects = np.zeros((4, 16, 16), np.uint8)
    objects[:, 3:13, 4:12] = 255
    return compose(objects, np.arange(4), 20, size=64, seed=(0, 1))


def test_scenes_are_the_same_for_the_same_seed_and_other_ones_for_another(made):
    objects = np.full((4, 16, 16), 255, np.uint8)
    first, again, other = (compose(objects, np.arange(4), 3, size=32, seed=(seed,)) for seed in (0, 0, 1))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["images"] != other["images"]).any()


def test_scenes_of_two_kinds_have_all_of_them_and_no_other(tmp_path):
    run("make_scenes.py", tmp_path, "--train", 20, "--test", 1, "--size", 32, "--kinds", 2)
    scenes = Scenes(tmp_path / "train.npz", boxes=True)
    assert {*scenes.classes[scenes.places[..., 2] > 0]} == {0, 1} and scenes.masks.max() == 2


def test_masks_and_boxes_say_the_same(made):
    for mask, boxes, classes in zip(made["masks"], made["boxes"], made["classes"]):
        there = boxes[:, 2] > 0
        assert there.any() and {*(classes[there] + 1)} >= {*np.unique(mask)} - {0}
        x, y, w, h = (boxes[there] * 64).T
        for left, top, right, bottom, kind in zip(x - w / 2, y - h / 2, x + w / 2, y + h / 2, classes[there]):
            inside = mask[round(top) : round(bottom), round(left) : round(right)]
            assert (inside == kind + 1).mean() > 0.5


def test_a_mirrored_image_has_mirrored_labels(made, tmp_path):
    np.savez(tmp_path / "a.npz", **made)

    class Always:
        def random(self, count):
            return np.zeros(count)

    masks, boxes = (Scenes(tmp_path / "a.npz", boxes=kind) for kind in (False, True))
    every = np.arange(len(masks))
    (images, mask), (_, box, _) = masks.fetch(every, Always()), boxes.fetch(every, Always())
    plain, plain_mask = masks.fetch(every, None)
    assert (images[..., ::-1] == plain).all() and (mask[..., ::-1] == plain_mask).all()
    there = box[..., 2] > 0
    assert np.allclose(box[..., 0][there], 1 - made["boxes"][..., 0][there]) and (box[~there] == 0).all()


def test_a_folder_of_masks_is_read_as_paddleseg_lists_it(tmp_path):
    Image.fromarray(np.full((20, 30, 3), 110, np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 15:], mask[0] = 1, 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    (tmp_path / "train.txt").write_text("a.png m.png\n")
    images, masks = MaskFolder(tmp_path / "train.txt", size=(20, 30), classes=2).fetch(np.array([0]), None)
    assert (images == 0).all() and images.shape == (1, 3, 20, 30) and (masks[0] == mask).all()
    (tmp_path / "bad.txt").write_text("a.png\n")
    with pytest.raises(ValueError, match="must have lines 'image mask', got another in line 1"):
        MaskFolder(tmp_path / "bad.txt", size=(20, 30), classes=2)
    with pytest.raises(ValueError, match="m.png must hold class numbers below 1"):
        MaskFolder(tmp_path / "train.txt", size=(20, 30), classes=1).fetch(np.array([0]), None)


def test_miou_by_hand():
    score = Segmentation(3, (1, 4)).score()
    mask = np.array([[[0, 1, 1, 255]], [[0, 0, 1, 1]]])
    said = np.array([[[0, 1, 0, 2]], [[0, 0, 1, 0]]])
    score.add([np.eye(3)[said].transpose(0, 3, 1, 2)], [mask])
    # class 0: both 3, either 5; class 1: both 2, either 4; class 2 is nowhere
    assert score.result() == {"miou": pytest.approx((3 / 5 + 2 / 4) / 2), "pixels": pytest.approx(5 / 7), "images": 2}


def test_mean_average_precision_of_all_half_and_nothing():
    pytest.importorskip("pycocotools")
    task = Anchors(2, (96, 96), 2)
    boxes = np.float32([[[0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]], [[0.25, 0.25, 0.25, 0.25], [0, 0, 0, 0]]])
    kinds = np.int32([[0, 0], [0, 0]])
    first, second = [0, 0.9, 24, 24, 72, 72], [0, 0.8, 12, 12, 36, 36]
    found = []
    for detections, counts in (([first, second], [1, 1]), ([first], [1, 0]), ([], [0, 0])):
        score = task.score()
        score.add([np.float32(detections).reshape(-1, 6), np.int32(counts)], [boxes, kinds])
        found.append(score.result())
    assert [round(one["map"], 2) for one in found] == [1.0, 0.5, 0.0] and found[0]["images"] == 2


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize(
    ("data", "model"), [("scenes", "HumanSeg"), ("scene_boxes", "YOLOv3"), ("scene_boxes", "PicoDet")]
)
def test_a_step_of_the_training_program_and_answers_of_the_test_program(data, model):
    spec = SPECS[data]
    optimizer = paddle.optimizer.SGD(1e-3)
    net = build_net(model, **replace(spec, image_shape=(3, 64, 64)).words(model), width=0.1, optimizer=optimizer)
    exe = paddle.static.Executor(paddle.CPUPlace())
    exe.run(net.startup)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 3, 64, 64)).astype("float32")
    labels = {
        label.name: np.full((2, *label.shape), 0.3 if label.name == "box" else 1, label.dtype)
        for label in net.task.labels
    }
    losses = [exe.run(net.train, feed={"image": images, **labels}, fetch_list=list(net.metrics))[0] for _ in range(2)]
    assert np.isfinite(losses).all() and losses[1] != losses[0]
    answers = exe.run(net.test, feed={"image": images}, fetch_list=list(net.answers))
    assert answers[0].shape == (2, 11, 64, 64) if data == "scenes" else answers[0].shape[1:] == (6,)


@pytest.mark.slow
@pytest.mark.usefixtures("static")  # to convert
@pytest.mark.parametrize("program", ["train.py", "dygraph.py"])
@pytest.mark.parametrize(
    ("data", "model", "metric"),
    [("scenes", "HumanSeg", "miou"), ("scene_boxes", "YOLOv3", "map"), ("scene_boxes", "PicoDet", "map")],
)
def test_they_train_and_are_pruned_and_tested(program, data, model, metric, tmp_path):
    run("make_scenes.py", tmp_path / "scenes", "--train", 64, "--test", 16, "--size", 64)
    words = [
        "--model",
        model,
        "--image_size",
        64,
        "--width",
        0.1,
        "--batch_size",
        16,
        "--lr",
        0.001,
        "--num_epochs",
        2,
        "--test_period",
        1,
    ]
    words += [
        "--pruning_strategy",
        "gmp",
        "--ratio",
        0.75,
        "--pruning_epochs",
        1,
        "--prune_params_type",
        "conv1x1_only",
    ]
    run(program, "--data", data, "--data_dir", tmp_path / "scenes", *words, "--model_path", tmp_path / "run")
    rows = history(tmp_path / "run", 1)
    assert rows[-1]["sparsity"] == pytest.approx(0.75, abs=0.01) and 0 <= rows[-1][f"test_{metric}"] <= 1
    found = run("evaluate.py", "--pruned_model", tmp_path / "run", "--data_dir", tmp_path / "scenes", "--json").stdout
    best = max(row[f"test_{metric}"] for row in rows if row["sparsity"] == rows[-1]["sparsity"])
    assert json.loads(found)[metric] == pytest.approx(best, abs=1e-6)  # a run is its best epoch
    judged = run("evaluate.py", "--pruned_model", tmp_path / "run" / "inference", "--json").stdout
    assert json.loads(judged)[metric] == pytest.approx(rows[-1][f"test_{metric}"], abs=1e-6)
    if metric == "map":
        said = run("evaluate.py", "--pruned_model", tmp_path / "run" / "before_nms", fails=True).stderr
        assert "ends before NMS" in said and "inference" in said
        # The model that ends before NMS runs whole in a Session
        convert(str(tmp_path / "run" / "before_nms"), str(tmp_path / "fast"))
        said = run("detect.py", tmp_path / "fast", "--scenes", tmp_path / "scenes").stdout
        assert f"mAP {rows[-1]['test_map']:.3f}" in said and "of 16 images" in said


def test_a_net_for_another_task_is_refused(capsys):
    from rules import parse_args

    with pytest.raises(SystemExit):
        parse_args(["--data", "scenes", "--model", "LeNet"])
    assert "--model must be HumanSeg for --data scenes, got LeNet" in capsys.readouterr().err
