# SPDX-License-Identifier: Apache-2.0
"""Maxima in bfloat16: every instruction set makes the bits of the reference."""

from __future__ import annotations

import numpy as np
import pytest
from any_layer import at_least, windows
from bf16_plans import changed, require_equal
from bf16_reference import convolution, maxima
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paddle_unstructured.runtime.bf16.plan_lines import Bf16Writer
from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window, one_image

WORDS = {"type": "max", "ceil": 0, "exclusive": 1}


def layer(channels, window, words=None):
    writer = one_image(channels)
    write = Bf16Writer(writer)
    writer.output(write.widen(write.pool(write.round(0), window, words or WORDS)))
    return writer


def test_the_largest_number_under_a_window():
    x = np.float32([[[[1, -2, 3], [4, 0.5, -1]]]])
    window = Window((2, 2), (1, 1), (0, 1, 0, 0))
    np.testing.assert_array_equal(maxima(x[0], window), [[[4, 3], [4, 0.5]]])
    require_equal(layer(1, window), x, np.float32([[[[4, 3], [4, 0.5]]]]))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    window=windows,
    channels=st.integers(1, 9),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_every_instruction_set_makes_the_same_bits(window, channels, height, width, seed):
    assume(max(window.stride) <= 2 and window.dilation == (1, 1))
    random = np.random.default_rng(seed)
    height, width = at_least(window, height, width)
    x = random.normal(size=(2, channels, height, width)).astype("float32")
    odd = random.random(x.shape) < 0.02
    x[odd] = random.choice(np.float32([np.nan, np.inf, -np.inf, 1e-40, -0.0]), odd.sum())
    require_equal(layer(channels, window), x, np.stack([maxima(each, window) for each in x]), 2)


def test_a_window_without_pixels_leaves_the_odd_channel_of_a_pair_a_number():
    """Where the size is rounded up; the convolution behind it multiplies that channel by zero."""
    window, weight = Window((1, 1), (2, 2)), np.ones((3, 1, 1, 1), "float32")
    writer, x = one_image(1), np.ones((1, 1, 4, 4), "float32")
    write = Bf16Writer(writer)
    value = write.pool(write.round(0), window, {**WORDS, "ceil": 1})
    writer.output(write.convolution(value, weight, np.zeros(3, "float32"), Window(), real=True, sparse=False))
    pooled = np.full((1, 3, 3), -np.inf, "float32")
    pooled[:, :2, :2] = 1
    require_equal(writer, x, convolution(pooled, weight, np.zeros(3, "float32"), Window())[None])


@pytest.mark.parametrize(
    "old, new", [("type=max", "type=avg"), ("stride=1,1", "stride=3,1"), ("stride=1,1", "stride=1,3")]
)
def test_what_no_kernel_covers_is_refused(old, new):
    writer = layer(2, Window((2, 2)))
    with pytest.raises(ValueError, match="has no bfloat16 kernel"):
        Engine(changed(writer, old, new), writer.arrays)
