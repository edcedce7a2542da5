# SPDX-License-Identifier: Apache-2.0
"""The slow, exact reference: Optimal Brain Surgeon for one output, one weight at a time.

Source: Hassibi & Stork 1992; Frantar et al. 2022, arXiv:2208.11580.
"""

from __future__ import annotations

import numpy as np


def prune_row(weight: np.ndarray, hessian: np.ndarray, zeros: int) -> np.ndarray:
    """Set `zeros` weights of one row to zero; each time the one that costs least, the others making up for it."""
    weight, inverse = weight.astype(np.float64).copy(), np.linalg.inv(hessian)
    gone = np.zeros(len(weight), bool)
    for _ in range(zeros):
        cost = np.where(gone, np.inf, weight**2 / np.where(gone, 1.0, np.diag(inverse)))
        i = int(cost.argmin())
        weight -= weight[i] / inverse[i, i] * inverse[:, i]
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
        gone[i], weight[i] = True, 0.0
        weight[gone] = 0.0
    return weight
