# SPDX-License-Identifier: Apache-2.0
"""One clear word where Paddle is missing or too old: it is no dependency, because there are several packages of it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Iterator

LEAST = (3, 0)
INSTALL = (
    'install it: pip install "paddle_unstructured[cpu]" for a CPU, or the paddlepaddle-gpu that fits your CUDA, as '
    "Paddle's own installation page says (not both: one would overwrite the other)"
)


@contextmanager
def explained() -> Iterator[None]:
    """Around imports that need Paddle.

    Raises:
        ModuleNotFoundError: There is none; the message says which to install, and what works without it.
        ImportError: It is older than 3.0.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "paddle":
            _refuse_an_old_one()
            raise
        raise ModuleNotFoundError(
            f"this needs PaddlePaddle 3, which is not installed; {INSTALL}. runtime.Session runs without it."
        ) from error
    except (ImportError, AttributeError):
        _refuse_an_old_one()
        raise
    _refuse_an_old_one()


def _refuse_an_old_one() -> None:
    version = getattr(sys.modules.get("paddle"), "__version__", "")
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if len(number) == 2 and (0, 0) < number < LEAST:  # 0.0.0 is a build from Paddle's development branch
        raise ImportError(f"this needs PaddlePaddle {LEAST[0]}.{LEAST[1]} or newer, got {version}; {INSTALL}.")
