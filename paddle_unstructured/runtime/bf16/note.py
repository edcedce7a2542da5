# SPDX-License-Identifier: Apache-2.0
"""How near a net in bfloat16 is to the one in float32, for people."""

from __future__ import annotations

from typing import Sequence

from ..engine import Engine
from ..net import Net
from ..precision.agreement import agreement
from ..precision.batches import Batch


def bf16_note(net: Net, batches: Sequence[Batch], engine: Engine, *, given: bool) -> str:
    """What rounding to bfloat16 changes.

    Args:
        net: with its float32 weights.
        batches: inputs.
        engine: the net in bfloat16.
        given: whether the user gave them; else they are random.
    """
    where = "on the data" if given else "on random inputs, for want of data"
    return f"bfloat16 against float32, {where}: {agreement(net, batches, engine)}"
