# SPDX-License-Identifier: Apache-2.0
"""Sums, means, maxima and what repeats, on bytes: every instruction set against the reference; and in a whole net."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from int8_plans import require_equal
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import save_net

from paddle_unstructured.runtime import Int8
from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantize import quantize
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.plan import one_image
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import in_inference_mode, open_model

SOURCE, TO = Quantizer(0.5, 7), Quantizer(0.31, 100)
OVER = ["channels", "height", "width", "height,width", "channels,height", "channels,width", "channels,height,width"]


def image(channels, height, width, seed=0):
    return np.random.default_rng(seed).normal(size=(2, channels, height, width)).astype("float32") * 40


def plan(channels, lines):
    writer = one_image(channels)
    write = Int8Writer(writer)
    writer.output(write.dequantize(lines(writer, write.quantize(0, SOURCE))), rank=4)
    return writer


@pytest.mark.parametrize("kind", ["mean", "sum", "max", "min"])
@pytest.mark.parametrize("over", OVER)
def test_reductions_are_those_of_the_reference(kind, over):
    words = {} if kind in ("max", "min") else TO.words
    for channels, size in ((1, (5, 7)), (4, (8, 16)), (7, (3, 5)), (8, (1, 1))):
        writer = plan(channels, lambda w, v: w.add("int8.reduce", [v], type=kind, over=over, **words))
        for threads in (1, 2):
            require_equal(writer, image(channels, *size), threads)


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("size", ["2,3", "5,1", "9,8"])
def test_pools_to_a_size_are_those_of_the_reference(kind, size):
    words = TO.words if kind == "avg" else {}
    writer = plan(6, lambda w, v: w.add("int8.adaptive_pool", [v], type=kind, size=size, **words))
    require_equal(writer, image(6, 7, 9), 2)


@pytest.mark.parametrize("kind", ["add", "subtract", "multiply"])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("swap", [False, True])
def test_what_has_one_channel_row_or_column_meets_all_of_the_other(kind, over, swap):
    def lines(writer, value):
        small = writer.add("int8.reduce", [value], type="mean", over=over, **TO.words)
        values = [small, value] if swap else [value, small]
        return writer.add(f"int8.{kind}", values, repeats="axes", act="relu", **Quantizer(0.9, 30).words)

    for channels, size in ((1, (5, 7)), (6, (4, 8)), (9, (1, 1))):
        require_equal(plan(channels, lines), image(channels, *size), 1 + swap)


def test_one_map_meets_one_number_for_each_channel():
    def lines(writer, value):
        sides = [
            writer.add("int8.reduce", [value], type="mean", over=o, **TO.words) for o in ("channels", "height,width")
        ]
        return writer.add("int8.multiply", sides, repeats="axes", act="none", **TO.words)

    require_equal(plan(6, lines), image(6, 3, 5))


@pytest.mark.parametrize("words", ["size=9,4", "size=1,1", "by=2.0,2.0", "by=0.5,3.0", "by=1.5,1.25"])
@pytest.mark.parametrize("corners, half", [(0, 0), (0, 1), (1, 0)])
def test_planes_between_pixels_are_those_of_the_reference(words, corners, half):
    name, value = words.split("=")
    words = {"mode": "linear", "align_corners": corners, "half_pixel": half, name: value, **TO.words}
    for channels, size in ((1, (5, 7)), (6, (8, 33)), (9, (2, 2))):
        require_equal(plan(channels, lambda w, v: w.add("int8.resize", [v], **words)), image(channels, *size), 2)


def test_a_plane_takes_the_size_of_another_and_extremes_saturate():
    def lines(writer, value):
        small = writer.add("int8.slice", [value], axis="height", start=1, step=2, stop=-1)
        words = {"mode": "linear", "align_corners": 0, "half_pixel": 1, **Quantizer(0.01, 128).words}
        return writer.add("int8.resize", [small, value], **words)

    require_equal(plan(5, lines), image(5, 8, 6))


@pytest.mark.parametrize(
    "line, match",
    [
        ("reduce type=product over=height scale=1.0 zero=0", "type that int8 does not take"),
        ("reduce type=sum over=depth scale=1.0 zero=0", "unknown axis"),
        ("reduce type=sum over=height", "lacks the word|scale"),
        ("adaptive_pool type=avg size=2,0 scale=1.0 zero=0", "out of range|must be|size"),
    ],
)
def test_what_is_not_known_is_refused(line, match):
    kind, *words = line.split()
    with pytest.raises(ValueError, match=match):
        writer = plan(4, lambda w, v: w.add(f"int8.{kind}", [v], **dict(word.split("=") for word in words)))
        Engine(writer.text, writer.arrays)


def attention(x):
    """Of channels and of pixels (CBAM), a context of 2 x 2 means, and the mean taken away."""
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1)(x))
    x = x * F.sigmoid(nn.Conv2D(8, 8, 1)(F.adaptive_avg_pool2d(x, 1)))
    both = paddle.concat([x.mean(1, keepdim=True), x.max(1, keepdim=True)], axis=1)
    x = x * F.sigmoid(nn.Conv2D(2, 1, 3, padding=1)(both))
    context = F.interpolate(nn.Conv2D(8, 8, 1)(F.adaptive_avg_pool2d(x, 3)), scale_factor=4, mode="bilinear")
    x = x + context - x.mean([2, 3], keepdim=True)
    return nn.Conv2D(8, 5, 1)(x)


@pytest.mark.usefixtures("static")
def test_attention_of_channels_and_pixels_stays_in_bytes(tmp_path):
    model = in_inference_mode(open_model(save_net(tmp_path, attention, [-1, 3, 12, 12], sparsity=0.5)))
    x = np.random.default_rng(0).normal(size=[16, 3, 12, 12]).astype("float32")
    writer, _ = quantize(read_net(model), Int8(x, most_error=1))
    kinds = [line.split()[0] for line in writer.text.split("\n")[3:] if not line.startswith("output")]
    assert {kind for kind in kinds if not kind.startswith("int8.")} == {"quantize"}, kinds
    got, want = Engine(writer.text, writer.arrays).run(x)[0], model.run(x=x)[0]
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.995


@pytest.mark.usefixtures("static")
def test_outputs_of_every_type_and_places_of_maxima_are_exact_in_int8(tmp_path):
    """A class of 400 and whole numbers computed from it have no range that 256 steps cover."""

    def layers(x):
        x = nn.Conv2D(3, 400, 1)(x)
        place = paddle.argmax(x, axis=1)
        return place * 3 % 1000, x.max(1) > 1.0, (x.max(1) * 4).astype("uint8"), place.astype("float32") * 0.5

    model = in_inference_mode(open_model(save_net(tmp_path, layers, [-1, 3, 6, 6])))
    x = np.random.default_rng(0).normal(size=[8, 3, 6, 6]).astype("float32")
    writer, _ = quantize(read_net(model), Int8(x))
    got, want = Engine(writer.text, writer.arrays).run(x), model.run(x=x)
    assert [one.dtype for one in got] == [one.dtype for one in want]
    assert (got[0] != want[0]).mean() < 0.1 and (got[3] != want[3]).mean() < 0.1
