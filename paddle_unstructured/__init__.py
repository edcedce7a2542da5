"""Sparse neural networks in PaddlePaddle: pruning of static Programs, with masks in the graph."""
from .allocation import ERK, LAMP, Global, PerLayer, Threshold, Uniform
from .criteria import (APoZ, GeometricMedian, MeanActivation, NormScale, Random, Saliency, magnitude,
                       normalized_magnitude)
from .graph import Param
from .patterns import NM, Block, Element, Filter
from .pruner import GMPUnstructuredPruner, UnstructuredPruner
from .report import SparsityReport, sparsity_report
from .schedules import Constant, Polynomial
from .selection import all_weights, conv1x1_only
from .sensitivity import SensitivityTable, allocate_by_sensitivity  # not the function: its name is the module's

__version__ = "0.1.0"
__all__ = [
    "APoZ", "Block", "Constant", "ERK", "Element", "Filter", "GMPUnstructuredPruner", "GeometricMedian", "Global",
    "LAMP", "MeanActivation", "NM", "NormScale", "Param", "PerLayer", "Polynomial", "Random", "Saliency",
    "SensitivityTable", "SparsityReport", "Threshold", "Uniform", "UnstructuredPruner", "all_weights",
    "allocate_by_sensitivity", "conv1x1_only", "magnitude", "normalized_magnitude", "sparsity_report",
]
