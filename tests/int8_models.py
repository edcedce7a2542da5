# SPDX-License-Identifier: Apache-2.0
"""Nets in int8."""

from __future__ import annotations

from int8_nets import images

from paddle_unstructured.runtime import Int8
from paddle_unstructured.runtime.int8.quantize import quantize
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import open_model

DATA = images(64)


def quantized(prefix, **words):
    return quantize(read_net(open_model(prefix)), Int8(words.pop("data", DATA), **words))
