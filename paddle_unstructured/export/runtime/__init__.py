"""Pruned models that run faster on x86: one operator for a whole net, in Paddle's Predictor or without Paddle."""
from ...front_door import front_door

_HOMES = {
    "comparison": ("BenchmarkResult", "benchmark"),
    "conversion": ("ConversionTable", "convert"),
    "quantized.options": ("Int8",),
    "predictor": ("create_predictor",),
    "session": ("Session",),
}
__all__, __getattr__, __dir__ = front_door(__name__, _HOMES)
