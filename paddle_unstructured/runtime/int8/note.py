# SPDX-License-Identifier: Apache-2.0
"""How near a net in int8 is to the one in float32, for people."""

from __future__ import annotations

from typing import Sequence

from ..engine import Engine
from ..net import Net
from ..precision.agreement import agreement
from ..precision.batches import Batch, count_samples
from .errors import Calibrated
from .options import Int8

FEW = 16  # samples of which nobody should expect good ranges


def int8_note(net: Net, int8: Int8, engine: Engine, batches: Sequence[Batch], found: Calibrated) -> str:
    """How activations were quantized, and what that changes.

    Args:
        net: with its float weights.
        int8: what the user asked for.
        engine: the net in int8.
        batches: calibration data; none if there are only ranges.
        found: what came of them.
    """
    if not len(batches):
        return "activations: ranges learned in training"
    how = found.calibration + ", equalized" * int8.equalize + ", ranges from training" * (int8.ranges is not None)
    said = f"activations: {how}; against float32, on the calibration data: {agreement(net, batches, engine)}"
    count = sum(count_samples(net, batch) for batch in batches)
    where = "samples held out" if count > 1 else "the same sample"
    few = f"; {count} sample{'s' * (count > 1)} of data: some hundred are usual" if count < FEW else ""
    return f"{said}; error of the outputs {found.error:.2%} on {where}{few}"
