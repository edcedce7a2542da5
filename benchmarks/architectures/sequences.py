# SPDX-License-Identifier: Apache-2.0
"""Nets of one and three dimensions, and a tagger of words."""

from __future__ import annotations

import paddle.nn as nn
import paddle.nn.functional as F

from .blocks import wide


class LSTMTagger(nn.Layer):
    """A tag for each word: two LSTM in both directions. Huang et al. 2015, arXiv:1508.01991, without its CRF."""

    def __init__(self, width: float = 1.0, *, vocabulary: int = 20000, tags: int = 57) -> None:
        super().__init__()
        channels = wide(256, width)
        self.words = nn.Embedding(vocabulary, wide(128, width))
        self.lstm = nn.LSTM(wide(128, width), channels, num_layers=2, direction="bidirectional")
        self.head = nn.Linear(2 * channels, tags)

    def forward(self, words):
        found, _ = self.lstm(self.words(words))
        return self.head(found)


class _Residual1D(nn.Layer):
    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1D(inputs, outputs, 7, stride=stride, padding=3, bias_attr=False),
            nn.BatchNorm1D(outputs),
            nn.ReLU(),
            nn.Conv1D(outputs, outputs, 7, padding=3, bias_attr=False),
            nn.BatchNorm1D(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv1D(inputs, outputs, 1, stride=stride, bias_attr=False), nn.BatchNorm1D(outputs)
        )

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class Signals(nn.Layer):
    """A residual net over 12 signals of an electrocardiogram: Ribeiro et al. 2020, Nature Communications 11."""

    def __init__(self, width: float = 1.0, *, classes: int = 6) -> None:
        super().__init__()
        inputs = wide(64, width)
        layers = [nn.Conv1D(12, inputs, 15, stride=2, padding=7, bias_attr=False), nn.BatchNorm1D(inputs), nn.ReLU()]
        layers.append(nn.MaxPool1D(3, stride=2, padding=1))
        for outputs in (64, 128, 192, 256):
            outputs = wide(outputs, width)
            layers.append(_Residual1D(inputs, outputs, stride=2))
            inputs = outputs
        self.body, self.head = nn.Sequential(*layers), nn.Linear(inputs, classes)

    def forward(self, x):
        return F.sigmoid(self.head(F.adaptive_avg_pool1d(self.body(x), 1).flatten(1)))


class _Residual3D(nn.Layer):
    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3D(inputs, outputs, 3, stride=stride, padding=1, bias_attr=False),
            nn.BatchNorm3D(outputs),
            nn.ReLU(),
            nn.Conv3D(outputs, outputs, 3, padding=1, bias_attr=False),
            nn.BatchNorm3D(outputs),
        )
        self.shortcut = (
            nn.Sequential(nn.Conv3D(inputs, outputs, 1, stride=stride, bias_attr=False), nn.BatchNorm3D(outputs))
            if stride > 1
            else None
        )

    def forward(self, x):
        return F.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


class Video(nn.Layer):
    """A residual net of 10 layers over 16 frames ("R3D"): Tran et al. 2018, arXiv:1711.11248."""

    def __init__(self, width: float = 1.0, *, classes: int = 400) -> None:
        super().__init__()
        inputs = wide(64, width)
        layers = [
            nn.Conv3D(3, inputs, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias_attr=False),
            nn.BatchNorm3D(inputs),
            nn.ReLU(),
            nn.MaxPool3D(3, stride=2, padding=1),
        ]
        for i, outputs in enumerate((64, 128, 256, 512)):
            outputs = wide(outputs, width)
            layers.append(_Residual3D(inputs, outputs, stride=2 if i else 1))
            inputs = outputs
        self.body, self.head = nn.Sequential(*layers), nn.Linear(inputs, classes)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool3d(self.body(x), 1).flatten(1))
