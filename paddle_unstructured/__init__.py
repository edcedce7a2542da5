"""Sparse neural networks in PaddlePaddle: pruning of static Programs, with masks in the graph."""
from importlib import import_module
from typing import Any, List

__version__ = "0.1.0"
_HOMES = {
    "allocation": ("ERK", "LAMP", "Global", "PerLayer", "Threshold", "Uniform"),
    "criteria": ("APoZ", "GeometricMedian", "MeanActivation", "NormScale", "Random", "Saliency", "magnitude",
                 "normalized_magnitude"),
    "graph": ("Param",),
    "page": ("html_report",),
    "patterns": ("Block", "Element", "Filter", "NM"),
    "plots": ("plot_pattern", "plot_sparsity", "plot_weights"),
    "pruner": ("GMPUnstructuredPruner", "UnstructuredPruner"),
    "report": ("SparsityReport", "sparsity_report"),
    "scalars": ("ScalarLog",),
    "schedules": ("Constant", "Polynomial"),
    "selection": ("all_weights", "conv1x1_only", "named"),
    "sensitivity": ("SensitivityTable", "allocate_by_sensitivity"),  # not the function: its name is the module's
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: the command line and deployed models can do without Paddle."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
