# SPDX-License-Identifier: Apache-2.0
"""The names of the package as a type checker sees them; `__init__.py` imports each when it is first asked for."""

from .allocation import ERK as ERK
from .allocation import LAMP as LAMP
from .allocation import Global as Global
from .allocation import PerLayer as PerLayer
from .allocation import Threshold as Threshold
from .allocation import Uniform as Uniform
from .budget.budget import Budget as Budget
from .budget.timed import TimedAllocation as TimedAllocation
from .criteria import APoZ as APoZ
from .criteria import GeometricMedian as GeometricMedian
from .criteria import InputNorm as InputNorm
from .criteria import MeanActivation as MeanActivation
from .criteria import NormScale as NormScale
from .criteria import Random as Random
from .criteria import Saliency as Saliency
from .criteria import magnitude as magnitude
from .criteria import normalized_magnitude as normalized_magnitude
from .gmp_pruner import GMPUnstructuredPruner as GMPUnstructuredPruner
from .graph import Param as Param
from .graph.testing import test_program as test_program
from .patterns import NM as NM
from .patterns import Block as Block
from .patterns import Element as Element
from .patterns import Filter as Filter
from .patterns import Int8Block as Int8Block
from .pruner import UnstructuredPruner as UnstructuredPruner
from .reconstruction.reconstruct import reconstruct as reconstruct
from .reconstruction.result import Reconstruction as Reconstruction
from .reporting.html import html_report as html_report
from .reporting.plots import plot_pattern as plot_pattern
from .reporting.plots import plot_sparsity as plot_sparsity
from .reporting.plots import plot_weights as plot_weights
from .reporting.report import SparsityReport as SparsityReport
from .reporting.report import sparsity_report as sparsity_report
from .reporting.scalars import ScalarLog as ScalarLog
from .schedules import Constant as Constant
from .schedules import Polynomial as Polynomial
from .selection import all_weights as all_weights
from .selection import conv1x1_only as conv1x1_only
from .selection import named as named
from .sensitivity import SensitivityTable as SensitivityTable
from .sensitivity import allocate_by_sensitivity as allocate_by_sensitivity
from .training.distillation import distill as distill
from .training.quantization_aware import QuantizationAware as QuantizationAware
from .training.quantization_aware import quantize_aware as quantize_aware
from .training.quantizers import AffineQuantizer as AffineQuantizer
from .training.quantizers import BinaryQuantizer as BinaryQuantizer
from .training.quantizers import DoReFaQuantizer as DoReFaQuantizer
from .training.quantizers import FunctionQuantizer as FunctionQuantizer
from .training.quantizers import Quantizer as Quantizer
from .training.recipe import Recipe as Recipe

__version__: str
__all__: list[str]
