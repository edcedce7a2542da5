# SPDX-License-Identifier: Apache-2.0
"""One filter per channel in bfloat16: every instruction set makes the bits of the reference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from any_layer import DEPTHWISE, at_least
from bf16_plans import changed, require_equal
from bf16_reference import depthwise
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_unstructured.runtime.bf16.numbers import rounded
from paddle_unstructured.runtime.bf16.plan_lines import Bf16Writer
from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.plan import Window, one_image

SAME = Window((3, 3), pad=(1, 1, 1, 1))
BOUNDS = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "clamp:-0.5:0.75": (-0.5, 0.75)}


def layer(weight, bias, window, act="none"):
    writer = one_image(len(weight))
    write = Bf16Writer(writer)
    writer.output(write.widen(write.depthwise(write.round(0), weight, bias, window, act=act)))
    return writer


def test_taps_are_added_one_after_the_other_and_the_sum_is_rounded_once():
    weight = np.zeros((1, 1, 3, 3), "float32")
    weight[0, 0, 1] = (2.0**-8, 1, 2.0**-9)
    x = np.ones((1, 1, 1, 3), "float32")
    # in the middle 1 + 3 * 2^-9, which bfloat16 rounds up; each of them alone would be lost
    want = [[1.0, 1 + 2**-7, 1.0]]
    np.testing.assert_array_equal(depthwise(x[0], weight, np.zeros(1, "float32"), SAME)[0], want)
    require_equal(layer(weight, np.zeros(1, "float32"), SAME), x, np.float32([[want]]))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    act=st.sampled_from(sorted(BOUNDS)),
    small=st.booleans(),
    kernel=st.sampled_from([3, 5]),
    stride=st.integers(1, 2),
    pad=st.tuples(*[st.integers(0, 4)] * 4),
    **{name: strategy for name, strategy in DEPTHWISE.items() if name != "window"},
)
def test_every_instruction_set_makes_the_same_bits(
    kernel, stride, pad, channels, height, width, threads, seed, act, small
):
    random = np.random.default_rng(seed)
    window = Window((kernel, kernel), (stride, stride), tuple(min(p, kernel - 1) for p in pad))
    height, width = at_least(window, height, width)
    weight = random.normal(size=(channels, 1, kernel, kernel)).astype("float32")
    bias = random.normal(size=channels).astype("float32")
    x = random.normal(size=(2, channels, height, width)).astype("float32")
    if small:  # products about the smallest number
        weight, x, bias = weight * np.float32(2.0**-60), x * np.float32(2.0**-65), bias * np.float32(2.0**-125)
    low, high = BOUNDS[act]
    want = np.stack([depthwise(each, weight, bias, window, low=low, high=high) for each in x])
    require_equal(layer(weight, bias, window, act), x, want, threads)


@pytest.mark.parametrize("size", [14, 56])  # planes of one vector, and of several
def test_nan_and_infinity_reach_what_lies_around_them(size):
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 3, size, size)).astype("float32")
    x[0, 0, 3, 4], x[0, 1, 5, 6], x[0, 2, 0, 0] = np.nan, np.inf, 1e-40
    weight = random.normal(size=(3, 1, 3, 3)).astype("float32")
    want = depthwise(x[0], weight, np.zeros(3, "float32"), SAME)[None]
    assert np.isnan(want).sum() == 9 and np.isinf(want).sum() == 9
    require_equal(layer(weight, np.zeros(3, "float32"), SAME), x, want)


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("kernel=3,3", "kernel=7,7", "a depthwise window that no bfloat16 kernel covers"),
        ("kernel=3,3", "kernel=3,5", "a depthwise window that no bfloat16 kernel covers"),
        ("dilation=1,1", "dilation=1,2", "a depthwise window that no bfloat16 kernel covers"),
        ("stride=1,1", "stride=2,1", "a depthwise window that no bfloat16 kernel covers"),
        ("dilation=1,1", "dilation=2,2", "a depthwise window that no bfloat16 kernel covers"),
        ("act=none", "act=sigmoid", "an activation that bfloat16 results cannot have"),
        ("bf16.depthwise from=1", "bf16.depthwise from=0", "takes bfloat16, and reads float32"),
        ("out=4", "out=5", "with 5 channels got 4"),
    ],
)
def test_damaged_lines_are_refused(old, new, why):
    writer = layer(np.ones((4, 1, 3, 3), "float32"), np.zeros(4, "float32"), SAME)
    with pytest.raises(ValueError, match=why):
        Engine(changed(writer, old, new), writer.arrays)


def test_weights_that_are_too_small_for_a_number_are_zero():
    writer = layer(np.zeros((2, 1, 3, 3), "float32"), np.zeros(2, "float32"), SAME)
    writer.arrays[0][:] = 0x007F
    small = SimpleNamespace(text=signed(writer.text, writer.arrays), arrays=writer.arrays)
    x = np.full((1, 2, 4, 4), 2.0**100, "float32")
    require_equal(small, x, np.zeros_like(x))


def test_weights_that_are_not_finite_are_refused():
    writer = layer(np.ones((4, 1, 3, 3), "float32"), np.zeros(4, "float32"), SAME)
    writer.arrays[0][0, 0, 0, 0] = rounded(np.float32(np.inf))
    with pytest.raises(ValueError, match="a weight that is not finite"):
        Engine(writer.text, writer.arrays)
