# SPDX-License-Identifier: Apache-2.0
"""Masks as pictures, and params of layers."""

from __future__ import annotations

import numpy as np

from paddle_unstructured import Param

LINEAR = Param("w", (4, 4), "float32", "linear", "pd_op.matmul", 1, 0)  # stored [in, out]


def linear_param(*shape: int) -> Param:
    return Param("w", shape, "float32", "linear", "pd_op.matmul", 1, 0)


def conv_param(*shape: int) -> Param:
    return Param("w", shape, "float32", "conv2d", "pd_op.conv2d", 0, 1)  # stored [out, in, kh, kw]


def drawn(picture: str) -> np.ndarray:
    """x: kept, .: zero; a line per row."""
    return np.array([[cell == "x" for cell in row] for row in picture.split()])


HALF = drawn("""x.xx
                .xx.
                x.xx
                .x..""")  # each column keeps 2 of 4, but the third keeps 3
COLUMNS = drawn("""x.x.
                   x.x.
                   x.x.
                   x.x.""")
ROWS = drawn("""xxxx
                ....
                xxxx
                ....""")
SQUARES = drawn("""xx..
                   xx..
                   ..xx
                   ..xx""")
ONE_OFF = drawn("""xx..
                   xx..
                   ..xx
                   ..x.""")
