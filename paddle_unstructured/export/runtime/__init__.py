# SPDX-License-Identifier: Apache-2.0
"""Moved to `paddle_unstructured.runtime`; this name stays for one release."""

import warnings
from typing import Any

from ... import runtime

__all__ = runtime.__all__

warnings.warn(
    "paddle_unstructured.export.runtime has moved to paddle_unstructured.runtime; import from there: the old name goes "
    "with the next release.",
    DeprecationWarning,
    stacklevel=2,
)


def __getattr__(name: str) -> Any:
    return getattr(runtime, name)
