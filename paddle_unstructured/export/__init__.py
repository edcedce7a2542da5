"""What leaves the house: models without masks, checked; small files; fast ones."""
from ..front_door import front_door

_HOMES = {
    "checks": ("CheckResult", "check", "parse_pattern"),
    "compression": ("Sizes", "compress", "decompress"),
    "inference": ("Exported", "export"),
    "int8": ("quantize_weights",),
    "lite": ("lite_report",),
    "model": ("Files", "Model", "find_model", "open_model", "save_model"),
    "norms": ("recalibrate",),
    "onnx_file": ("to_onnx",),
    "packing": ("read_compressed",),
    "saved": ("export_model", "save_checkpoint"),
    "shrink": ("Removal", "remove_channels"),
}
__all__, __getattr__, __dir__ = front_door(__name__, _HOMES)
