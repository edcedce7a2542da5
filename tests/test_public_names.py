# SPDX-License-Identifier: Apache-2.0
"""Names that users import from a door are what they say, whatever was imported before."""

import importlib
from pathlib import Path

import pytest

DOORS = [
    "paddle_unstructured",
    *(f"paddle_unstructured.{name}" for name in ("distributed", "dygraph", "export", "runtime", "sensitivity")),
]


@pytest.mark.parametrize("door", DOORS)
def test_no_public_name_is_hidden_by_a_module_of_the_same_name(door):
    """Importing a submodule sets an attribute of the package: a function of that name would turn into the module."""
    package = importlib.import_module(door)
    folder = Path(package.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set(package.__all__) & modules - {"sensitivity"} == set()
