# SPDX-License-Identifier: Apache-2.0
"""Whether a weight that is zero stays zero once it is rounded: tried, where a user's own part says so."""

from __future__ import annotations

import numpy as np
import paddle

from ..distributed.collectives import mode
from ..graph.base import Param
from .quantizers import AffineQuantizer, BinaryQuantizer, DoReFaQuantizer, FunctionQuantizer, Quantizer, rounded_weight

_KNOWN = (AffineQuantizer, BinaryQuantizer, DoReFaQuantizer)


def check_rounding(param: Param, quantizer: Quantizer, bits: int) -> None:
    """See that a quantizer of the user's own makes numbers of a weight, and zeros of zeros where it says so.

    It is tried once on made weights of the param's shape: half of them zero, and one output channel whole.

    Raises:
        ValueError: It gives NaN or infinity, or something else for zero.
        Exception: whatever it raises itself; what has another shape is refused, too.
    """
    if type(quantizer) in _KNOWN:
        return
    made = _made(param.shape, param.output_axis or 0)
    found = rounded_array(made, param, quantizer, bits)
    what = f"{quantizer!r}, which rounds {param.name},"
    keeps = not quantizer.loses_zeros(bits)
    if not np.isfinite(found[made != 0]).all():
        raise ValueError(f"{what} must give finite numbers for finite weights, got NaN or infinity.")
    lost = found[(made == 0) & (found != 0)]
    if keeps and lost.size:
        is_function = isinstance(quantizer, FunctionQuantizer)
        raise ValueError(
            f"{what} must give zero for zero, as it says, got {lost[0]:g}; "
            f"{'say `zero=False`' if is_function else 'let `loses_zeros` say why it does not'}: then a pruner leaves "
            "such weights alone."
        )


def rounded_array(weight: np.ndarray, param: Param, quantizer: Quantizer, bits: int) -> np.ndarray:
    """A weight as its quantizer rounds it."""
    with mode(paddle.disable_static), paddle.no_grad():
        return np.asarray(rounded_weight(paddle.to_tensor(weight), quantizer, bits, param.output_axis or 0).numpy())


def _made(shape: tuple[int, ...], axis: int) -> np.ndarray:
    chance = np.random.default_rng(0)
    made = chance.normal(size=shape) * chance.integers(0, 2, size=shape)
    if shape[axis] > 1:
        made[(slice(None),) * axis + (0,)] = 0.0
    return made.astype(np.float32)
