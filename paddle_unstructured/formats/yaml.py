# SPDX-License-Identifier: Apache-2.0
"""Small YAML files that people edit; PyYAML is an extra."""

from __future__ import annotations

from typing import Any, Mapping

from .. import arguments
from ..arguments import StrPath
from .atomic import check_readable, replace_file

_LARGEST, _MOST = 1 << 24, 1_000_000  # bytes of a file; values in it, each counted wherever an alias repeats it


def read_yaml(path: StrPath) -> Any:
    """The content of a file; reading runs nothing in it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML, or larger than what people write: by itself, or by aliases of aliases.
    """
    yaml, path = _yaml(), arguments.path("path", path)
    check_readable(path)
    with open(path, "rb") as stream:
        text = stream.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"{path} must be a YAML file of {_LARGEST >> 20} MiB at most; it is larger.")
    try:
        content = yaml.safe_load(text)
        count = _count(content, {})
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"{path} must be a YAML file, but cannot be read: {why}.") from error
    if count > _MOST:
        raise ValueError(f"{path} must hold {_MOST:,} values at most, and its aliases make {count:,} of it.")
    return content


def write_yaml(path: StrPath, content: Mapping[str, float], heading: str) -> None:
    """Write a mapping under a comment line."""
    text = _yaml().safe_dump(dict(content), sort_keys=False)
    replace_file(arguments.path("path", path), f"# {heading}\n{text}")


def _count(value: Any, counted: dict[int, int | None]) -> int:
    """How many values there are when every alias is written out; RecursionError if a value holds itself."""
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if id(value) not in counted:
        counted[id(value)] = None  # not known yet: whoever meets this is inside of it
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count(each, counted) for each in inner)
    found = counted[id(value)]
    if found is None:
        raise RecursionError
    return found


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("YAML files need PyYAML: pip install 'paddle_unstructured[yaml]'.") from error
    return yaml
