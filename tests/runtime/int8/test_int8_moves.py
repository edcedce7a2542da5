# SPDX-License-Identifier: Apache-2.0
"""Bytes that are only moved: every instruction set against the reference; where they stay bytes in a whole net."""

from __future__ import annotations

import int8_reference
import numpy as np
import paddle
import pytest
from paddle.nn import functional
from runtime_nets import save_net

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.options import Int8
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantize import quantize
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.plan import one_image
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import in_inference_mode, open_model

SOURCE = Quantizer(0.5, 7)
LINES = [
    (
        "permute",
        {"channels": "2,3", "height": "-1", "width": "-1", "to_channels": "1,0", "to_height": 2, "to_width": 3},
    ),
    (
        "permute",
        {"channels": "6", "height": "-1", "width": "-1", "to_channels": "1", "to_height": "2", "to_width": "0"},
    ),
    (
        "permute",
        {"channels": "3,2", "height": "-1", "width": "-1", "to_channels": "0", "to_height": 2, "to_width": "3,1"},
    ),
    (
        "permute",
        {"channels": "-1", "height": "-1", "width": "-1", "to_channels": "0", "to_height": "2", "to_width": "1"},
    ),
    ("slice", {"axis": "channels", "start": 1, "step": 1, "count": 5}),
    ("slice", {"axis": "channels", "start": 5, "step": -2, "count": 3}),
    ("slice", {"axis": "height", "start": 1, "step": 2, "stop": -1}),
    ("slice", {"axis": "width", "start": -3, "step": 1, "stop": 1 << 24}),
    ("slice", {"axis": "pixels", "start": 2, "step": 3, "stop": -2}),
    ("repeat", {"axis": "channels", "times": 3}),
    ("resize", {"mode": "nearest", "align_corners": 0, "half_pixel": 1, "scale": "2.0,2.0"}),
    ("resize", {"mode": "nearest", "align_corners": 0, "half_pixel": 1, "scale": "1.5,3.0"}),
    ("resize", {"mode": "nearest", "align_corners": 1, "half_pixel": 0, "size": "3,17"}),
    *(("pad", {"before": "0,1,2", "after": "0,0,3", "mode": mode, "value": 2.0}) for mode in ("constant", "reflect")),
    *(("pad", {"before": "0,-1,2", "after": "0,2,-1", "mode": mode}) for mode in ("replicate",)),
    ("pad", {"before": "0,1,2", "after": "0,2,1", "mode": "circular"}),
]


def require_equal(lines, channels, size):
    writer = one_image(channels)
    write = Int8Writer(writer)
    writer.output(write.dequantize(lines(writer, write.quantize(0, SOURCE))), rank=4)
    x = np.random.default_rng(0).normal(size=[2, channels, *size]).astype("float32") * 40
    expected = int8_reference.run(writer.text, writer.arrays, x)[0]
    for threads in (1, 2):
        np.testing.assert_array_equal(Engine(writer.text, writer.arrays, threads=threads).run(x)[0], expected)


@pytest.mark.parametrize("kind, words", LINES, ids=lambda part: part if isinstance(part, str) else "")
@pytest.mark.parametrize("size", [(5, 7), (8, 16)], ids=str)
def test_bytes_move_as_in_the_reference(kind, words, size):
    require_equal(lambda writer, value: writer.add(f"int8.{kind}", [value], **words), 6, size)


@pytest.mark.parametrize("channels", [1, 3, 4, 9])
@pytest.mark.parametrize("axis", ["channels", "height", "width", "pixels"])
def test_values_are_joined_along_any_axis(channels, axis):
    def lines(writer, value):
        return writer.add("int8.concat", [value, value, value], **({} if axis == "channels" else {"axis": axis}))

    require_equal(lines, channels, (3, 5))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_are_repeated(channels):
    require_equal(lambda writer, value: writer.add("int8.repeat", [value], times=3), channels, (2, 3))


@pytest.mark.parametrize(
    "line, match",
    [
        ("resize mode=cubic align_corners=0 half_pixel=1 size=3,3", "mode that int8 does not take"),
        ("pad before=1,0,0 after=0,0,0 mode=constant", "pads channels"),
    ],
)
def test_what_does_not_move_bytes_is_refused(line, match):
    kind, *words = line.split()
    with pytest.raises(ValueError, match=match):
        writer = one_image(4)
        value = Int8Writer(writer).quantize(0, SOURCE)
        writer.output(writer.add(f"int8.{kind}", [value], **dict(word.split("=") for word in words)))
        Engine(writer.text, writer.arrays)


def neck(x):
    """As of YOLOv3: a deep map, enlarged, beside a shallower one; heads of both."""
    first = functional.relu(paddle.nn.Conv2D(3, 8, 3, padding=1)(x))
    second = functional.relu(paddle.nn.Conv2D(8, 12, 3, stride=2, padding=1)(first))
    large = functional.interpolate(second, scale_factor=2, mode="nearest")
    left, right = paddle.split(paddle.concat([large, first], axis=1), 2, axis=1)
    joined = functional.pad(paddle.concat([right, left], axis=1), [1, 1, 1, 1])
    return paddle.nn.Conv2D(20, 6, 3)(joined), paddle.nn.Conv2D(12, 6, 1)(second)


@pytest.mark.usefixtures("static")
def test_a_neck_stays_in_bytes_from_the_input_to_its_heads(tmp_path):
    model = in_inference_mode(open_model(save_net(tmp_path, neck, [-1, 3, 16, 16], sparsity=0.5)))
    x = np.random.default_rng(0).normal(size=[8, 3, 16, 16]).astype("float32")
    writer, _ = quantize(read_net(model), Int8(x))
    kinds = [line.split()[0] for line in writer.text.split("\n")[3:] if not line.startswith("output")]
    assert kinds.count("quantize") == 1 and "dequantize" not in kinds
    assert all(kind.startswith("int8.") for kind in kinds if kind != "quantize")
    expected, got = model.run(x=x), Engine(writer.text, writer.arrays).run(x)
    for ours, theirs in zip(got, expected):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.995
