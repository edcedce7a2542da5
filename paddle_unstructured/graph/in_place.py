# SPDX-License-Identifier: Apache-2.0
"""Operations that write into their first tensor, eager and in a Program alike.

Paddle's public `Tensor.multiply_` and its like only warn in a Program, and are out of place there (3.3.1).
"""

import paddle
from paddle import Tensor, _C_ops

add_ = _C_ops.add_
clip_ = _C_ops.clip_
floor_ = _C_ops.floor_
multiply_ = _C_ops.multiply_
scale_ = _C_ops.scale_
scatter_ = _C_ops.scatter_
subtract_ = _C_ops.subtract_


def assign_(target: Tensor, values: Tensor) -> Tensor:
    """target = values; what is returned is the target after that, where `paddle.assign` gives the one before (3.0)."""
    return _C_ops.assign_out_(values, target)


def mask_(target: Tensor, mask: Tensor) -> None:
    """target = target * mask, in place; of eager tensors."""
    if target.dtype == paddle.float16:  # which a CPU cannot multiply
        paddle.assign((target.cast("float32") * mask.cast("float32")).cast(target.dtype), output=target)
    else:
        multiply_(target, mask if mask.dtype == target.dtype else mask.cast(target.dtype))
