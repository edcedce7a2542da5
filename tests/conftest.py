"""Fixtures: static-graph mode with a fresh global scope, where a test asks for it."""
from __future__ import annotations

from typing import Iterator

import paddle
import pytest


@pytest.fixture
def static() -> Iterator[None]:
    """Static-graph mode, and a global scope that nobody else has used."""
    eager = paddle.in_dynamic_mode()
    paddle.enable_static()
    with paddle.static.scope_guard(paddle.static.Scope()):
        yield
    if eager:
        paddle.disable_static()
