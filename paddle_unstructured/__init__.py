"""Sparse neural networks in PaddlePaddle: pruning of static Programs, with masks in the graph."""
from .front_door import front_door

__version__ = "0.1.0"
_HOMES = {
    "allocation": ("ERK", "LAMP", "Global", "PerLayer", "Threshold", "Uniform"),
    "criteria": ("APoZ", "GeometricMedian", "MeanActivation", "NormScale", "Random", "Saliency", "magnitude",
                 "normalized_magnitude"),
    "distillation": ("distill",),
    "graph": ("Param",),
    "page": ("html_report",),
    "patterns": ("Block", "Element", "Filter", "NM"),
    "plots": ("plot_pattern", "plot_sparsity", "plot_weights"),
    "pruner": ("GMPUnstructuredPruner", "UnstructuredPruner"),
    "quantization": ("QuantizationAware", "quantize_aware"),
    "recipe": ("Recipe",),
    "report": ("SparsityReport", "sparsity_report"),
    "scalars": ("ScalarLog",),
    "schedules": ("Constant", "Polynomial"),
    "selection": ("all_weights", "conv1x1_only", "named"),
    "sensitivity": ("SensitivityTable", "allocate_by_sensitivity"),  # not the function: its name is the module's
}
__all__, __getattr__, __dir__ = front_door(__name__, _HOMES)
