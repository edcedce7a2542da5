"""Sparse neural networks in PaddlePaddle: pruning of static Programs, with masks in the graph."""
from .allocation import Global, Threshold, Uniform
from .criteria import magnitude
from .graph import Param
from .patterns import Block, Element
from .pruner import GMPUnstructuredPruner, UnstructuredPruner
from .report import SparsityReport, sparsity_report
from .schedules import Constant, Polynomial
from .selection import all_weights, conv1x1_only

__version__ = "0.1.0"
__all__ = [
    "Block", "Constant", "Element", "GMPUnstructuredPruner", "Global", "Param", "Polynomial", "SparsityReport",
    "Threshold", "Uniform", "UnstructuredPruner", "all_weights", "conv1x1_only", "magnitude", "sparsity_report",
]
