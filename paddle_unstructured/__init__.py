# SPDX-License-Identifier: Apache-2.0
"""Sparse neural networks in PaddlePaddle: pruning of static Programs, with masks in the graph."""

from .lazy_names import lazy_names

__version__ = "0.2.0"
_MODULES = {
    ".allocation": ("ERK", "LAMP", "Global", "PerLayer", "Threshold", "Uniform"),
    ".budget.budget": ("Budget",),
    ".budget.timed": ("TimedAllocation",),
    ".criteria": (
        "APoZ",
        "GeometricMedian",
        "InputNorm",
        "MeanActivation",
        "NormScale",
        "Random",
        "Saliency",
        "magnitude",
        "normalized_magnitude",
    ),
    ".training.distillation": ("distill",),
    ".graph": ("Param",),
    ".graph.testing": ("test_program",),
    ".reconstruction.reconstruct": ("reconstruct",),
    ".reconstruction.result": ("Reconstruction",),
    ".reporting.html": ("html_report",),
    ".patterns": ("Block", "Element", "Filter", "Int8Block", "NM"),
    ".reporting.plots": ("plot_pattern", "plot_sparsity", "plot_weights"),
    ".gmp_pruner": ("GMPUnstructuredPruner",),
    ".pruner": ("UnstructuredPruner",),
    ".training.quantization_aware": ("QuantizationAware", "quantize_aware"),
    ".training.quantizers": (
        "AffineQuantizer",
        "BinaryQuantizer",
        "DoReFaQuantizer",
        "FunctionQuantizer",
        "Quantizer",
    ),
    ".training.recipe": ("Recipe",),
    ".reporting.report": ("SparsityReport", "sparsity_report"),
    ".reporting.scalars": ("ScalarLog",),
    ".schedules": ("Constant", "Polynomial"),
    ".selection": ("all_weights", "conv1x1_only", "named"),
    ".sensitivity": ("SensitivityTable", "allocate_by_sensitivity"),  # not the function: its name is the module's
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
