# SPDX-License-Identifier: Apache-2.0
"""The lines of an int8 plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from ..net import Layer
from ..plan import PlanWriter, Window
from ..precision.words import reordered, sparse_groups
from .quantizer import Quantizer
from .weights import GROUP, Int8Weight


@dataclass(frozen=True)
class Int8Writer:
    """Writes int8 lines into a plan; every method returns the number of the value that is made.

    A quantizer of None asks for float32 numbers.
    """

    plan: PlanWriter

    def quantize(self, value: int, to: Quantizer) -> int:
        return self.plan.add("quantize", [value], **to.words)

    def dequantize(self, value: int) -> int:
        return self.plan.add("dequantize", [value])

    def convolution(
        self,
        value: int,
        weight: Int8Weight,
        window: Window,
        to: Quantizer | None,
        *,
        block: int = 0,
        act: str = "none",
        linear: bool = False,
        added: int | None = None,
        step: int = 0,
    ) -> int:
        """A convolution of one group; block 0 for the dense kernel, else the outputs of one block.

        `added`: a value in bytes that joins the sums before they are rounded. `step`: as of the float32 one.
        """
        outputs, inputs = weight.values.shape[:2]
        words = {"in": inputs, "out": outputs, **window.words, "act": act, **_target(to)}
        if linear:
            words["linear"] = 1
        if step:
            words["step"] = step
        matrix, values = reordered(weight.values, GROUP), [value] if added is None else [value, added]
        if block == 0:
            params = self.plan.keep(matrix.reshape(outputs, -1), weight.scale, weight.bias)
            return self.plan.add("int8.conv", values, **words, weights="dense", params=params)
        rows = sparse_groups(matrix, block)
        params = self.plan.keep(rows.values, rows.columns, rows.counts, weight.scale, weight.bias)
        return self.plan.add("int8.conv", values, **words, weights="sparse", block=block, params=params)

    def depthwise(self, value: int, weight: Int8Weight, window: Window, to: Quantizer, *, act: str = "none") -> int:
        """One filter for each channel: values [channels, 1, k, k], k 3 or 5, stride 1 or 2."""
        return self.plan.add(
            "int8.depthwise",
            [value],
            out=len(weight.values),
            **window.words,
            act=act,
            **to.words,
            params=self.plan.keep(weight.values, weight.scale, weight.bias),
        )

    def pairwise(
        self,
        kind: str,
        values: Sequence[int],
        to: Quantizer,
        *,
        act: str = "none",
        words: Mapping[str, int | str] | None = None,
    ) -> int:
        """ "int8.add", "int8.subtract", or "int8.multiply", whose second value may be a single pixel for each channel;
        with the word `repeats`, either may have one channel, row or column."""
        return self.plan.add(kind, values, act=act, **(words or {}), **to.words)

    def lookup(self, value: int, table: np.ndarray, to: Quantizer) -> int:
        """table[q], int16 [256]."""
        return self.plan.add("int8.lookup", [value], **to.words, params=self.plan.keep(table))

    def pool(self, value: int, window: Window, words: dict[str, int | str], to: Quantizer) -> int:
        """A maximum keeps what bytes mean; a mean has a quantizer of its own."""
        own = {} if words["type"] == "max" else to.words
        return self.plan.add("int8.pool", [value], **window.words, **words, **own)

    def global_pool(self, value: int, to: Quantizer) -> int:
        return self.plan.add("int8.global_pool", [value], **to.words)

    def concat(self, values: Sequence[int]) -> int:
        return self.plan.add("int8.concat", values)

    def moved(self, layer: Layer, values: Sequence[int], to: Quantizer | None = None) -> int:
        """A layer that moves bytes and changes none; with a quantizer, one that averages or sums them."""
        words = {"by" if to and name == "scale" else name: word for name, word in layer.words.items()}
        return self.plan.add(f"int8.{layer.kind}", values, **words, **(to.words if to else {}))

    def flatten(self, value: int) -> int:
        return self.plan.add("int8.flatten", [value])


def _target(to: Quantizer | None) -> dict[str, str]:
    return {"to": "float"} if to is None else to.words
