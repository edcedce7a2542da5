# SPDX-License-Identifier: Apache-2.0
"""Sparse kernels only where they gain: the rule by kind and size of a layer."""

import numpy as np
import pytest

from paddle_unstructured.runtime.choose_kernel import choose_block, is_depthwise
from paddle_unstructured.runtime.net import Layer
from paddle_unstructured.runtime.plan import Window


def layer(kind, size, zeros, block=1):
    random = np.random.default_rng(0)
    kept = random.permutation(size * size // block) >= round(zeros * size * size / block)
    weight = np.repeat(kept.reshape(size // block, size), block, axis=0).astype("float32")
    return Layer(kind, weight=weight.reshape(size, size, 1, 1))


@pytest.mark.parametrize(
    ("kind", "size", "block", "least"),
    [
        ("conv", 64, 1, 0.3),
        ("conv", 64, 2, 0.2),
        ("conv", 64, 4, 0.1),
        ("linear", 64, 1, 0.7),  # the second-level cache holds its weights
        ("linear", 512, 2, 0.6),
        ("linear", 512, 4, 0.5),
        ("linear", 768, 1, 0.4),  # waits for memory
        ("linear", 768, 4, 0.4),
        ("recurrent", 128, 1, 0.87),
        ("recurrent", 768, 1, 0.4),
    ],
)
def test_a_layer_is_sparse_from_its_break_even_on(kind, size, block, least):
    below, why = choose_block(layer(kind, size, least - 0.02, block))
    assert below == 0 and f"gains from {least:.0%}" in why
    assert choose_block(layer(kind, size, least + 0.02, block))[0] == block


@pytest.mark.parametrize(
    ("window", "depth", "own"),
    [
        (Window((3, 3)), 1, True),
        (Window((5, 5), (2, 1)), 1, True),  # a text recogniser's
        (Window((3, 3), (1, 2)), 1, True),
        (Window((7, 7), dilation=(2, 3)), 1, True),
        (Window((1, 9), (4, 2)), 1, True),
        (Window((3, 3), (1, 3)), 1, False),  # no kernel takes every third column
        (Window((3, 3)), 2, False),  # two inputs for each output
    ],
    ids=str,
)
def test_filters_per_channel_have_kernels_of_their_own(window, depth, own):
    weight = np.ones((8, depth, *window.kernel), "float32")
    assert is_depthwise(Layer("conv", weight=weight, window=window, groups=8 // depth)) is own
