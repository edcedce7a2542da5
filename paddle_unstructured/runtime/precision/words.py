# SPDX-License-Identifier: Apache-2.0
"""Weights in words: neighbouring inputs that one instruction multiplies together, four of int8 or two of bfloat16."""

from __future__ import annotations

import numpy as np

from ..plan import SparseRows, sparse_rows


def reordered(values: np.ndarray, together: int) -> np.ndarray:
    """[outputs, inputs, rows, columns] -> [outputs, rows * columns * groups, together], groups of neighbouring inputs.

    The depth runs over (kernel row, kernel column, input); inputs are filled up to whole groups with zeros.
    """
    filled = np.pad(values, ((0, 0), (0, -values.shape[1] % together), (0, 0), (0, 0)))
    return np.ascontiguousarray(filled.transpose(0, 2, 3, 1)).reshape(len(values), -1, together)


def sparse_groups(matrix: np.ndarray, block: int) -> SparseRows:
    """Leave out the blocks of `block` outputs x one group of inputs that are all zero.

    Args:
        matrix: [outputs, depth, together], as `reordered` gives it.
        block: Neighbouring outputs.

    Returns:
        values [entries, block, together]; columns count groups.
    """
    rows = sparse_rows((matrix != 0).any(2), block)  # which blocks, and where
    filled = np.pad(matrix, ((0, -len(matrix) % block), (0, 0), (0, 0))).reshape(-1, block, *matrix.shape[1:])
    row = np.repeat(np.arange(len(rows.counts)), rows.counts)
    return SparseRows(np.ascontiguousarray(filled[row, :, rows.columns]), rows.columns, rows.counts)
