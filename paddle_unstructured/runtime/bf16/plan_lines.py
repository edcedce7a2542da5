# SPDX-License-Identifier: Apache-2.0
"""The lines of a plan in bfloat16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import numpy as np

from ..plan import PlanWriter, Window
from ..precision.words import reordered, sparse_groups
from .numbers import rounded_weight

OUTPUTS, INPUTS = 16, 2  # of a block: what one row of a tile of AMX needs together


@dataclass(frozen=True)
class Bf16Writer:
    """Writes lines for bfloat16 into a plan; every method returns the number of the value that is made."""

    plan: PlanWriter

    def round(self, value: int) -> int:
        return self.plan.add("bf16.round", [value])

    def widen(self, value: int) -> int:
        return self.plan.add("bf16.widen", [value])

    def convolution(
        self,
        value: int,
        weight: np.ndarray,
        bias: np.ndarray,
        window: Window,
        *,
        real: bool,
        sparse: bool,
        act: str = "none",
        added: int | None = None,
    ) -> int:
        """A convolution of one group, of a value in bfloat16.

        Args:
            value: what it reads.
            weight: [outputs, inputs, kernel rows, kernel columns], any float32 numbers.
            bias: [outputs].
            window: window of the convolution.
            real: whether it makes float32, with any activation; else bfloat16, with a clamp.
            sparse: whether blocks of zeros are left out of the file.
            act: activation in the plan's language.
            added: a value in bfloat16 that joins the sums.
        """
        outputs, inputs = weight.shape[:2]
        words = {"in": inputs, "out": outputs, **window.words, "act": act, **({"to": "float"} if real else {})}
        matrix, values = reordered(rounded_weight(weight), INPUTS), [value] if added is None else [value, added]
        if not sparse:
            params = self.plan.keep(matrix.reshape(outputs, -1), bias)
            return self.plan.add("bf16.conv", values, **words, weights="dense", params=params)
        rows = sparse_groups(matrix, OUTPUTS)
        params = self.plan.keep(rows.values, rows.columns, rows.counts, bias)
        return self.plan.add("bf16.conv", values, **words, weights="sparse", block=OUTPUTS, params=params)

    def depthwise(self, value: int, weight: np.ndarray, bias: np.ndarray, window: Window, *, act: str = "none") -> int:
        """One filter for each channel, to bfloat16: weight [channels, 1, k, k], k 3 or 5, stride 1 or 2."""
        params = self.plan.keep(rounded_weight(weight), bias)
        return self.plan.add("bf16.depthwise", [value], out=len(weight), **window.words, act=act, params=params)

    def pool(self, value: int, window: Window, words: Mapping[str, int | str]) -> int:
        """A maximum, of stride 1 or 2."""
        return self.plan.add("bf16.pool", [value], **window.words, **words)
