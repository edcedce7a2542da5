# SPDX-License-Identifier: Apache-2.0
"""A package's names, each imported when it is first asked for: a deployed model does without Paddle."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Callable, Mapping, Sequence

from .needs_paddle import explained


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """What a package's `__init__` needs: its `__all__`, `__getattr__` and `__dir__` (PEP 562).

    Args:
        package: `__name__` of the package.
        modules: Module, relative to the package -> the names that it gives.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with explained():
            module = import_module(module_of[name], package)
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)  # found at once from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return sorted(module_of), get, names
