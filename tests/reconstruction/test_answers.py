# SPDX-License-Identifier: Apache-2.0
"""Outputs are compared with those of the dense net, also where they are not as many."""

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn
from saved_nets import saved, structured

from paddle_unstructured.reconstruction.answers import agreement, relative
from paddle_unstructured.reconstruction.reconstruct import METHODS, reconstruct


def test_an_output_of_another_shape_counts_as_zeros():
    boxes, scores = np.ones((3, 4), np.float32), np.array([2.0, 0.0], np.float32)
    assert relative([[boxes, scores]], [[boxes, scores]]) == 0
    assert relative([[boxes, scores]], [[boxes[:2], scores]]) == pytest.approx(12 / 16)
    assert relative([[boxes, scores]], [[boxes[:2], scores + [1, 0]]]) == pytest.approx(13 / 16)


def test_tiny_outputs_are_compared_in_relation_to_their_size():
    tiny = np.full(4, 1e-25, np.float32)
    assert relative([[tiny]], [[1.5 * tiny]]) == pytest.approx(0.25) and relative([[0 * tiny]], [[0 * tiny]]) == 0


def test_places_and_classes_do_not_count_beside_numbers():
    scores, places = np.array([[2.0, 1.0]], np.float32), np.array([[60, 3]])
    assert relative([[scores, places]], [[scores, places[:, ::-1]]]) == 0
    assert relative([[places, scores]], [[places + 1, 0 * scores]]) == 1
    assert relative([[places]], [[np.array([[60, 900]])]]) == relative([[places > 9]], [[places > 0]]) == 0.5
    assert relative([[places]], [[places[:, :1]]]) == 1


@pytest.mark.usefixtures("static")
def test_a_net_that_returns_places_is_judged_by_its_scores(tmp_path):
    """Places of the best of 64 nearly equal scores turn at every change, by any number."""

    def build(x):
        scores = nn.Conv2D(16, 6, 1)(nn.functional.relu(nn.Conv2D(3, 16, 3, padding=1)(x)))
        best, places = paddle.topk(scores.flatten(2).max(1), 5, 1)
        return [best, places, scores]

    images = structured(np.random.default_rng(0), 64)
    done = reconstruct(saved(tmp_path, build), [{"x": images}], pattern="1x4", ratio=0.5, steps=0)
    assert done.refused is None and done.error < done.by_magnitude.error < 1


def test_agreement_is_of_as_many_samples_only():
    a, b = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 2, 2]]
    assert agreement([[a]], [[b]]) == pytest.approx(2 / 3)
    assert agreement([[a]], [[b[:2]]]) is None and agreement([[a[0]]], [[b[0]]]) is None


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("method", METHODS)
def test_a_net_that_chooses_among_its_outputs_is_pruned(tmp_path, method):
    """As a detector does that returns what is left of its boxes."""

    def build(x):
        scores = nn.Linear(8, 6)(nn.functional.relu(nn.Conv2D(3, 8, 3)(x)).mean([2, 3]))
        return paddle.masked_select(scores, scores > 0)

    images = structured(np.random.default_rng(0), 32)
    done = reconstruct(
        saved(tmp_path, build), [{"x": images[i : i + 8]} for i in range(0, 32, 8)], ratio=0.7, method=method
    )
    assert 0 < done.error <= 1.5 and done.agreement is None


@pytest.mark.usefixtures("static")
def test_a_model_that_returns_no_numbers_is_refused(tmp_path):
    net = Net(lambda x: paddle.nn.Linear(8, 0)(paddle.nn.Linear(4, 8)(x)), [-1, 4])
    prefix = str(tmp_path / "m")
    paddle.static.save_inference_model(prefix, [net.input], [net.output], net.exe, program=net.program)
    with pytest.raises(ValueError, match="must return numbers to be judged by, and returns none for `data`"):
        reconstruct(prefix, [{"x": np.ones([16, 4], np.float32)}], ratio=0.5, steps=5)
