# SPDX-License-Identifier: Apache-2.0
"""LeNet-5 with ReLU and max pooling; 8x8 digits get 3x3 kernels instead of 5x5.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.
"""

from __future__ import annotations

import paddle.nn as nn


class LeNet(nn.Sequential):
    """Two convolutions and three linear layers: [n, channels, size, size] → [n, classes].

    Args:
        channels: channels of the image.
        size: height and width of the image, at least 8.
        classes: number of logits.
    """

    def __init__(self, channels: int, size: int, classes: int):
        if size < 8:
            raise ValueError(f"`size` must be at least 8, got {size}; LeNet halves the image twice")
        kernel, padding = (3, 1) if size < 16 else (5, 0)  # of the second convolution
        side = (size // 2 + 2 * padding - kernel + 1) // 2  # of the 16 maps after the second pooling
        super().__init__(
            nn.Conv2D(channels, 6, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.MaxPool2D(2),
            nn.Conv2D(6, 16, kernel, padding=padding),
            nn.ReLU(),
            nn.MaxPool2D(2),
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
