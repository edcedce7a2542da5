# SPDX-License-Identifier: Apache-2.0
"""How near a net in int8 is to the one in float32, for people."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..agreement import Agreement, compare
from ..engine import Engine
from ..net import Net
from ..write_plan import emit
from .errors import Calibrated
from .observe import Batch, samples_of
from .options import Int8

COMPARED = 64  # samples


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
    return f"{said}; error of the outputs {found.error:.2%} on samples held out"


def agreement(net: Net, batches: Sequence[Batch], engine: Engine) -> Agreement:
    """Of an engine with the net in float32, on the first samples of one size."""
    few = [samples_of(net, batch, 0, COMPARED) for batch in batches[:COMPARED]]
    few = [batch for batch in few if all(a.shape[1:] == b.shape[1:] for a, b in zip(batch, few[0]))]
    writer, _ = emit(net)
    exact = Engine(writer.text, writer.arrays)
    runs = [[each.run(*batch) for batch in few] for each in (exact, engine)]
    return compare(*[[np.concatenate(parts)[:COMPARED] for parts in zip(*run)] for run in runs])
