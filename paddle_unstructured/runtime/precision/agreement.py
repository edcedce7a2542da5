# SPDX-License-Identifier: Apache-2.0
"""How near a net of fewer bits is to the same one in float32."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..agreement import Agreement, compare
from ..engine import Engine
from ..net import Net
from ..write_plan import emit
from .batches import Batch, samples_of

COMPARED = 64  # samples


def agreement(net: Net, batches: Sequence[Batch], engine: Engine) -> Agreement:
    """Of an engine with the net in float32, on the first samples of one size."""
    few = [samples_of(net, batch, 0, COMPARED) for batch in batches[:COMPARED]]
    few = [batch for batch in few if all(a.shape[1:] == b.shape[1:] for a, b in zip(batch, few[0]))]
    writer, _ = emit(net)
    exact = Engine(writer.text, writer.arrays)
    runs = [[each.run(*batch) for batch in few] for each in (exact, engine)]
    return compare(*[[np.concatenate(parts)[:COMPARED] for parts in zip(*run)] for run in runs])
