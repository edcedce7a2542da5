# SPDX-License-Identifier: Apache-2.0
"""What a model was called with, as something that a file can hold and a trace can begin with."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Mapping, Sequence

from paddle import Tensor
from paddle.static import InputSpec

from ..arguments import whole, wrong_kind

Inputs = Any  # nested lists and dicts; a Tensor is {"shape": [...], "dtype": "float32"}, a constant {"value": 3}


def inputs_of(forward: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Inputs:
    """What `forward(*given, **named)` is called with, in the order of its arguments.

    Raises:
        TypeError: Something that is neither Tensor, list, dict nor constant; an argument that has a name only.
    """
    bound = inspect.signature(forward).bind(*given, **named)
    if bound.kwargs:
        raise TypeError(f"{', '.join(bound.kwargs)} can be given by name only")
    return _described(list(bound.args))


def specs_of(inputs: Inputs) -> list[Any]:
    """An InputSpec for each Tensor; the rest as it was.

    Raises:
        ValueError, TypeError: It is not what `inputs_of` gives.
    """
    if not isinstance(inputs, list):
        raise wrong_kind("inputs", "a list of what a model was called with", inputs)
    return [_spec(each) for each in inputs]


def _described(value: Any) -> Inputs:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).split(".")[-1]}
    if isinstance(value, (list, tuple)):
        return [_described(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _described(each) for key, each in value.items()}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"a {type(value).__name__} cannot be traced")


def _spec(inputs: Inputs) -> Any:
    if isinstance(inputs, list):
        return [_spec(each) for each in inputs]
    if not isinstance(inputs, dict):
        raise wrong_kind("inputs", "nested lists and dicts", inputs)
    if "shape" in inputs:
        return InputSpec([whole("shape", extent) for extent in inputs["shape"]], str(inputs["dtype"]))
    return {key: _spec(each) for key, each in inputs["dict"].items()} if "dict" in inputs else inputs["value"]
