# SPDX-License-Identifier: Apache-2.0
"""What each op of Paddle is as layers, by family. An op that is not listed, or is used otherwise, is refused."""

from __future__ import annotations

from . import (
    addmm,
    attention,
    convolution,
    cut,
    elementwise,
    embedding,
    join,
    normalize,
    recurrent,
    reduce,
    repeat,
    reshape,
    resize,
    volumes,
)
from .common import Converter

OPS: dict[str, Converter] = {
    **convolution.OPS,
    **normalize.OPS,
    **elementwise.OPS,
    **reshape.OPS,
    **cut.OPS,
    **join.OPS,
    **repeat.OPS,
    **reduce.OPS,
    **attention.OPS,
    **addmm.OPS,
    **embedding.OPS,
    **recurrent.OPS,
    **resize.OPS,
    **volumes.OPS,
}
