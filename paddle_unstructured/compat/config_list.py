# SPDX-License-Identifier: Apache-2.0
"""Which layer is pruned how, as a list of rules: what NNI's users know as `config_list`."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence, Union

from ..arguments import fraction, path, sentence
from ..criteria import Criterion
from ..formats.yaml import read_yaml
from ..graph.base import WEIGHT_ROLES, Param
from ..patterns import Pattern, own_sparsity
from .paddleslim import to_criterion, to_pattern

Rules = Union[Sequence[Mapping[str, Any]], str, Path]
_KEYS = ("sparsity", "op_types", "op_names", "exclude", "pattern", "criterion")


@dataclass(frozen=True)
class LayerChoice:
    """What the rules say of one layer."""

    sparsity: float
    pattern: Pattern
    criterion: Criterion


def choices(rules: Rules, params: Sequence[Param]) -> dict[str, LayerChoice]:
    """Apply the rules in order; where two speak of one layer, the later one wins, key by key.

    A rule is a dict of

    - `op_types`: roles such as "conv2d", "linear", "embedding", or "default" for all; left out: all;
    - `op_names`: patterns as in a shell, "fc_*", for a param's name or the part before its last dot; left out: all;
    - `sparsity` in [0, 1]; or `exclude`: True to leave those layers dense;
    - `pattern`: a pattern or "2:4"; a complete n:m needs no sparsity;
    - `criterion`: a function or object.

    Args:
        rules: The list, or the path of a YAML file with such a list.
        params: The weights that may be pruned.

    Returns:
        Name -> choice, for the layers that are to be pruned.

    Raises:
        ValueError: An unknown key or type, a rule that fits no layer, a layer without a sparsity.

    Example:
        >>> from paddle_unstructured.graph import Param
        >>> conv, head = (Param(name, (4, 4), "float32", "linear", "", 1, 0) for name in ("conv.w_0", "head.w_0"))
        >>> found = choices([{"sparsity": 0.8}, {"exclude": True, "op_names": ["head"]}], [conv, head])
        >>> {name: choice.sparsity for name, choice in found.items()}
        {'conv.w_0': 0.8}
    """
    said: dict[str, dict[str, Any]] = {param.name: {} for param in params}
    for i, rule in enumerate(_listed(rules)):
        fitting = [param for param in params if _fits(rule, param)]
        if not fitting:
            raise ValueError(f"rule {i}, {dict(rule)!r}, fits none of the layers {', '.join(said)}.")
        for param in fitting:
            said[param.name].update({"exclude": False, **{k: v for k, v in rule.items() if not k.startswith("op_")}})
    return {name: _choice(name, words) for name, words in said.items() if words and not words["exclude"]}


def _listed(rules: Rules) -> Sequence[Mapping[str, Any]]:
    listed: Any = read_yaml(path("rules", rules)) if isinstance(rules, (str, os.PathLike)) else rules
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(rule, Mapping) for rule in listed):
        raise ValueError(sentence("rules", f"a list of dicts with some of the keys {', '.join(_KEYS)}", listed))
    for i, rule in enumerate(listed):
        _check(i, rule)
    return list(listed)


def _check(i: int, rule: Mapping[str, Any]) -> None:
    unknown = [key for key in rule if key not in _KEYS]
    if unknown:
        raise ValueError(f"rule {i} has unknown keys {', '.join(map(str, unknown))}; known are {', '.join(_KEYS)}.")
    for key in ("op_types", "op_names"):
        value = rule.get(key, [])
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"rule {i}: `{key}` must be a list, got {value!r}.")
    wrong = [t for t in rule.get("op_types", []) if t not in (*WEIGHT_ROLES, "default")]
    if wrong:
        raise ValueError(
            f'rule {i}: `op_types` must be among {", ".join(WEIGHT_ROLES)} or "default", got '
            f"{', '.join(map(repr, wrong))}."
        )
    if "sparsity" in rule:
        fraction(f"rules[{i}]['sparsity']", rule["sparsity"])


def _fits(rule: Mapping[str, Any], param: Param) -> bool:
    types, names = rule.get("op_types", ["default"]), rule.get("op_names", ["*"])
    layer = param.name.rsplit(".", 1)[0]
    return (param.role in types or "default" in types) and any(
        fnmatch.fnmatchcase(param.name, name) or fnmatch.fnmatchcase(layer, name) for name in names
    )


def _choice(name: str, words: Mapping[str, Any]) -> LayerChoice:
    pattern = to_pattern(None, words.get("pattern"))
    sparsity = words.get("sparsity", own_sparsity(pattern))
    if sparsity is None:
        raise ValueError(f"the rules give no sparsity for {name}; add one, or exclude it.")
    return LayerChoice(float(sparsity), pattern, to_criterion(words.get("criterion")))
