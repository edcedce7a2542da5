# SPDX-License-Identifier: Apache-2.0
"""A convolutional net of a few thousand weights, saved as an inference model, and data of it."""

import numpy as np
import saved_nets
from paddle import nn
from saved_nets import structured


def data(count=64, size=8):
    images = structured(np.random.default_rng(0), count, size=size)
    return [{"x": images[i : i + 32]} for i in range(0, count, 32)]


def convnet(x):
    """Weights 3*16*9 = 432, 16*32 = 512, a depthwise one of 288, 32*48 = 1536 and 48*8 = 384."""
    for outputs, kernel, groups in ((16, 3, 1), (32, 1, 1), (32, 3, 32), (48, 1, 1)):
        conv = nn.Conv2D(x.shape[1], outputs, kernel, padding=kernel // 2, groups=groups)
        x = nn.functional.relu(conv(x))
    return nn.Linear(48, 8)(x.mean([2, 3]))


def saved(folder, build=convnet, size=8):
    return saved_nets.saved(folder, build, (3, size, size))


def of_model(model):
    return {name: model.graph.stored(name) for name in sorted(model.param_names)}
