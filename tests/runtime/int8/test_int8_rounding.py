# SPDX-License-Identifier: Apache-2.0
"""Numbers so near the middle between two bytes that one more rounding decides: every line rounds once."""

from __future__ import annotations

from itertools import product

import int8_reference
import numpy as np
import pytest
from int8_plans import UNIT, net, require_equal

from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import Int8Weight
from paddle_unstructured.runtime.plan import Window

TO, SAME, SEVEN = Quantizer(1.0, 100), Window((3, 3), pad=(1,) * 4), Window((7, 7), pad=(3,) * 4)
HALVES = [np.float32(0.5 + n * 2.0**-24) for n in (-2, -1, 1, 2)]
SHAPES = {"plane": (1, 1, 16, 16), "pixels": (256, 1, 1, 1)}  # of all bytes


def middle(size=1):
    """A filter of one channel that takes the middle of its window."""
    values = np.zeros((1, 1, size, size), "int8")
    values[..., size // 2, size // 2] = 1
    return Int8Weight(values, np.ones(1, "float32"), np.zeros(1, "float32"))


def constant(write, value, byte):
    return write.lookup(value, np.full(256, byte, "int16"), UNIT)


def convolution(block=0, **words):
    return lambda w, v: w.convolution(v, middle(), Window(), TO, block=block, **words)


def added(block=0, **words):
    return lambda w, v: w.convolution(constant(w, v, 0), middle(), Window(), TO, block=block, added=v, **words)


LINES = {  # each makes rint(fma(byte, scale, 100)) where the input is `byte` in steps of `scale`, its zero taken away
    **{f"block {block}": convolution(block) for block in (0, 1, 2, 4, 16)},
    **{f"added to block {block}": added(block) for block in (0, 1, 2, 4, 16)},
    "a hard-swish": convolution(act="hard_swish"),
    "a hard-swish in blocks": convolution(1, act="hard_swish"),
    "a window": lambda w, v: w.convolution(v, middle(3), SAME, TO, block=1),
    "depthwise": lambda w, v: w.depthwise(v, middle(3), SAME, TO),
    "depthwise 7x7": lambda w, v: w.depthwise(v, middle(7), SEVEN, TO),
    "depthwise and a hard-swish": lambda w, v: w.depthwise(v, middle(3), SAME, TO, act="hard_swish"),
    "a sum's first": lambda w, v: w.pairwise("int8.add", [v, constant(w, v, 0)], TO),
    "a sum's second": lambda w, v: w.pairwise("int8.add", [constant(w, v, 0), v], TO),
    "a product": lambda w, v: w.pairwise("int8.multiply", [v, constant(w, v, 1)], TO),
    "a mean": lambda w, v: w.pool(v, Window(), {"type": "avg", "ceil": 0, "exclusive": 1}, TO),
    "a mean over channels": lambda w, v: w.plan.add("int8.reduce", [v], type="mean", over="channels", **TO.words),
    "a mean to a size": lambda w, v: w.plan.add("int8.adaptive_pool", [v], type="avg", size="16,16", **TO.words),
    "a plane of another size": lambda w, v: w.plan.add(
        "int8.resize", [v], mode="linear", align_corners=0, half_pixel=1, by="1.0,1.0", **TO.words
    ),
}
OF_PIXELS = {"a mean over planes": lambda w, v: w.global_pool(v, TO)}


def rounded_twice(a, b, c):
    return np.float32(a) * np.float32(b) + np.float32(c)


@pytest.mark.parametrize(
    "line, shape",
    [*((line, shape) for line in LINES for shape in SHAPES), *((line, "pixels") for line in OF_PIXELS)],
)
def test_a_number_is_rounded_once(line, shape, monkeypatch):
    layer, decided = {**LINES, **OF_PIXELS}[line], False
    for half, zero in product(HALVES, (0, 37)):
        writer = net(layer, 1, Quantizer(float(half), zero))
        x = (np.arange(256, dtype="float32").reshape(SHAPES[shape]) - zero) * half
        (want,) = require_equal(writer, x)
        with monkeypatch.context() as patch:
            patch.setattr(int8_reference, "fma", rounded_twice)
            decided |= (int8_reference.run(writer.text, writer.arrays, x)[0] != want).any()
    assert decided, "no number was near enough to the middle"


def near_half(numerator):
    """A scale of the output for which the factor numerator / scale is next to 0.5."""
    return Quantizer(float(np.float32(2 * numerator)), 0), np.float32(numerator / float(np.float32(2 * numerator)))


@pytest.mark.parametrize("block", [0, 1, 2, 4, 16, "depthwise"])
def test_the_factor_of_a_layer_is_rounded_once(block):
    """step * scale / scale of the output: in float64, and then to float32."""
    random, decided = np.random.default_rng(0), 0
    for _ in range(20):
        step, scale = random.uniform(0.01, 1, 2).astype("float32")
        to, factor = near_half(float(step) * float(scale))
        weight = Int8Weight(middle(3).values, np.array([scale]), np.zeros(1, "float32"))

        def layer(w, v):
            if block == "depthwise":
                return w.depthwise(v, weight, SAME, to)  # noqa: B023
            return w.convolution(v, weight, SAME, to, block=block)  # noqa: B023

        x = np.arange(256, dtype="float32").reshape(SHAPES["plane"]) * step
        require_equal(net(layer, 1, Quantizer(float(step), 0)), x)
        decided += factor != np.float32(step * scale) / np.float32(to.scale)
    assert decided > 2


def test_the_factor_of_a_mean_is_rounded_once():
    random, decided, window = np.random.default_rng(0), 0, Window((1, 3))
    for _ in range(20):
        step = np.float32(random.uniform(0.01, 1))
        to, factor = near_half(float(step) / 3)
        x = random.integers(0, 100, (1, 1, 16, 16)).astype("float32") * step
        words = {"type": "avg", "ceil": 0, "exclusive": 1}
        require_equal(net(lambda w, v: w.pool(v, window, words, to), 1, Quantizer(float(step), 0)), x)  # noqa: B023
        decided += factor != step / (np.float32(3) * np.float32(to.scale))
    assert decided > 2
