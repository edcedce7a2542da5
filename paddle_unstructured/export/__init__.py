# SPDX-License-Identifier: Apache-2.0
"""Models for those who run them: without masks, checked, in the format that is wanted."""

from ..lazy_names import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "..compression.compress": (
            "Sizes",
            "compress",
            "decompress",
        ),
        "..compression.tensors": ("read_compressed",),
        "..channels.shrink": (
            "Removal",
            "remove_channels",
        ),
        "..saved_model": (
            "Files",
            "Model",
            "find_model",
            "open_model",
            "save_model",
        ),
        ".checks": (
            "CheckResult",
            "check",
        ),
        ".export_program": (
            "Exported",
            "export",
        ),
        ".export_saved": (
            "export_model",
            "save_checkpoint",
        ),
        "..patterns": ("parse_pattern",),
        ".onnx": ("to_onnx",),
        ".paddle_lite": ("lite_report",),
        ".recalibration": ("recalibrate",),
        ".weight_only_int8": ("quantize_weights",),
    },
)
