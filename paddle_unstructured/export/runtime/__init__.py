"""Pruned models that run faster on x86: one operator for a whole net, in Paddle's Predictor or without Paddle."""
from importlib import import_module
from typing import Any, List

_HOMES = {
    "benchmark": ("BenchmarkResult", "benchmark"),
    "convert": ("ConversionTable", "convert"),
    "predictor": ("create_predictor",),
    "session": ("Session",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: a Session needs numpy alone."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
