# SPDX-License-Identifier: Apache-2.0
"""Pruned models that run faster on x86: one operator for a whole net, in Paddle's Predictor or without Paddle."""

from ..lazy_names import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".bf16.options": ("Bf16",),
        ".benchmarking": (
            "BenchmarkResult",
            "benchmark",
        ),
        ".conversion": (
            "ConversionTable",
            "convert",
        ),
        ".int8.options": ("Int8",),
        ".predictor": ("create_predictor",),
        ".session": ("Session",),
    },
)
