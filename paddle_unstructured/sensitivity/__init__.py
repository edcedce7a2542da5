# SPDX-License-Identifier: Apache-2.0
"""How much each layer's sparsity costs: measured one layer at a time, and turned into per-layer sparsities."""

from .allocate import allocate_by_sensitivity
from .measure import SPARSITIES, sensitivity
from .table import SensitivityRow, SensitivityTable

__all__ = ["SPARSITIES", "SensitivityRow", "SensitivityTable", "allocate_by_sensitivity", "sensitivity"]
