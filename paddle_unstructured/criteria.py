"""What a weight is worth: weight -> score of the same shape, larger = keep.

A criterion is any function of one tensor, written with paddle ops: it runs on the device inside a Program of ours, and
eagerly on a literal tensor in a test. It is given float32 or float64, and must give no NaN.
"""
from __future__ import annotations

from typing import Callable

import paddle
from paddle import Tensor

Criterion = Callable[[Tensor], Tensor]


def magnitude(weight: Tensor) -> Tensor:
    """Score a weight by its absolute value: s = |w|.

    Example:
        >>> magnitude(paddle.to_tensor([-2.0, 0.5])).tolist()
        [2.0, 0.5]

    Source: LeCun et al. 1989 call it the naive choice; Han et al. 2015, arXiv:1506.02626, made it the standard one.
    """
    return paddle.abs(weight)
