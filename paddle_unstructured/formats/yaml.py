"""Small YAML files that people edit; PyYAML is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from .. import arguments
from ..arguments import StrPath
from .atomic import replace_file


def read_yaml(path: StrPath) -> Any:
    """The content of a file; reading runs nothing in it."""
    return _yaml().safe_load(Path(arguments.path("path", path)).read_text(encoding="utf-8"))


def write_yaml(path: StrPath, content: Mapping[str, float], heading: str) -> None:
    """Write a mapping under a comment line."""
    text = _yaml().safe_dump(dict(content), sort_keys=False)
    replace_file(arguments.path("path", path), f"# {heading}\n{text}")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("YAML files need PyYAML: pip install 'paddle_unstructured[yaml]'.") from error
    return yaml
