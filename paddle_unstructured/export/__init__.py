"""What leaves the house: models without masks, checked; small files; fast ones."""
from importlib import import_module
from typing import Any, List

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
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: each needs other packages, and a deployed model not even Paddle."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
