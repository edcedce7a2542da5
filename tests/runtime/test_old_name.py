# SPDX-License-Identifier: Apache-2.0
"""`paddle_unstructured.export.runtime`, the old name of the runtime, for one release."""

import importlib
import sys

import pytest

from paddle_unstructured import runtime


def test_the_old_name_gives_the_same_objects_and_says_where_they_are_now():
    sys.modules.pop("paddle_unstructured.export.runtime", None)
    with pytest.warns(DeprecationWarning, match=r"moved to paddle_unstructured\.runtime; import from there"):
        old = importlib.import_module("paddle_unstructured.export.runtime")
    assert {name: getattr(old, name) for name in runtime.__all__} == {n: getattr(runtime, n) for n in runtime.__all__}
