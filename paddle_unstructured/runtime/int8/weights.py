# SPDX-License-Identifier: Apache-2.0
"""Weights in int8: symmetric, a scale for each output channel, so that a zero stays a zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUP = 4  # inputs whose products one instruction adds up
MOST = 127
_SAFE = 2.0**31 - 2.0**24  # an accumulator that stays below cannot wrap


@dataclass(frozen=True)
class Int8Weight:
    """w is about scale[o] * values[o].

    Attributes:
        values: int8 of the weight's shape, in [-127, 127].
        scale: float32 [outputs], > 0.
        bias: float32 [outputs].
    """

    values: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def quantize_weight(
    weight: np.ndarray, bias: np.ndarray, input_scale: float, means: np.ndarray | None = None
) -> Int8Weight:
    """Round a weight, and put what rounding shifts on average back into the bias.

        scale_o = max|w_o| / 127,  q = rint(w / scale_o),  bias'_o = bias_o - sum_ck (scale_o q - w)_ock E[x_c]

    The scale is larger where a sum of products, or the bias in steps of it, would not fit into 32 bits.

    Args:
        weight: [outputs, inputs, kernel rows, kernel columns], inputs 1 for one filter per channel.
        bias: [outputs].
        input_scale: Of the bytes that the layer reads.
        means: E[x_c] of each channel that the layer reads (of one filter per channel: of the same number); None for no
            correction.

    Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
        arXiv:1906.04721 (section 4.2, with means measured on data).
    """
    flat = np.asarray(weight, np.float64).reshape(len(weight), -1)
    scale = _fitting_scale(flat, np.abs(bias), input_scale)
    values = _rounded(flat, scale)
    if means is not None:
        error = (values * scale.astype(np.float64)[:, None] - flat).reshape(*weight.shape[:2], -1).sum(2)  # [out, in]
        bias = bias - ((error[:, 0] * means) if weight.shape[1] == 1 and len(means) > 1 else error @ means)
    return Int8Weight(values.astype(np.int8).reshape(weight.shape), scale, np.asarray(bias, np.float32))


def _rounded(flat: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(flat / scale[:, None]), -MOST, MOST))


def _fitting_scale(flat: np.ndarray, bias: np.ndarray, input_scale: float) -> np.ndarray:
    scale = np.abs(flat).max(1) / MOST
    empty = bias / (input_scale * 2.0**20)  # a channel of zeros has a bias only: a millionth of it is its step
    scale = np.where(scale > 0, scale, np.where(empty > 0, empty, 1.0))
    while True:
        sums = np.abs(_rounded(flat, np.float32(scale))).sum(1)
        wide = bias / (input_scale * scale) + 2 * 255 * sums > _SAFE  # 2: the sum itself, and the zero point's part
        if not wide.any():
            return scale.astype(np.float32)
        scale = np.where(wide, 2 * scale, scale)
