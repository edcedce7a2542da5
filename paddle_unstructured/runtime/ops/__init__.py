# SPDX-License-Identifier: Apache-2.0
"""What each op of Paddle is as layers, by family. An op that is not listed, or is used otherwise, is refused."""

from __future__ import annotations

from . import attention, convolution, elementwise, embedding, move, normalize, recurrent, reduce, resize, volumes
from .common import Converter

OPS: dict[str, Converter] = {
    **convolution.OPS,
    **normalize.OPS,
    **elementwise.OPS,
    **move.OPS,
    **reduce.OPS,
    **attention.OPS,
    **embedding.OPS,
    **recurrent.OPS,
    **resize.OPS,
    **volumes.OPS,
}
