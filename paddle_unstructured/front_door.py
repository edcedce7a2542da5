"""A package's names, each imported when it is first asked for: a deployed model does without Paddle."""
from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Callable, Mapping, Sequence


def front_door(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[list[str], Callable[[str], Any],
                                                                            Callable[[], list[str]]]:
    """What a package's `__init__` needs: its `__all__`, `__getattr__` and `__dir__` (PEP 562).

    Args:
        package: `__name__` of the package.
        homes: Module of the package -> the names that it gives.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # found at once from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})
    return sorted(home_of), get, names
