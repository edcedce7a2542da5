# SPDX-License-Identifier: Apache-2.0
"""Operations that write into their first tensor, eager and in a Program alike.

Paddle's public `Tensor.multiply_` and its like only warn in a Program, and are out of place there (3.3.1).
"""

from paddle import _C_ops

add_ = _C_ops.add_
clip_ = _C_ops.clip_
floor_ = _C_ops.floor_
multiply_ = _C_ops.multiply_
scale_ = _C_ops.scale_
scatter_ = _C_ops.scatter_
subtract_ = _C_ops.subtract_
