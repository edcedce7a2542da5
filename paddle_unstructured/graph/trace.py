# SPDX-License-Identifier: Apache-2.0
"""The forward Program of an nn.Layer: what is read off it, nothing of it is ever run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

import paddle
from paddle import Tensor, nn

from ..arguments import wrong_kind
from .activations import Activation, activation
from .base import Param, Role
from .program import PirGraph

Found = tuple[Role, tuple[Role, ...]]  # the role of a param, and its readings as a weight


@dataclass(frozen=True)
class Trace:
    """What a Layer computes.

    Attributes:
        graph: graph of its Program, where params have the names that Paddle gave the tensors.
        tensors: The Layer's parameters and buffers, by that name.
    """

    graph: PirGraph
    tensors: Mapping[str, Tensor]

    def roles(self) -> dict[Tensor, Found]:
        """Roles by what the ops do, in the order in which they read the parameters."""
        known = [param for param in self.graph.params() if param.name in self.tensors]
        return {self.tensors[p.name]: (_role(p), p.readings) for p in known}

    def norm_scale(self, param: Param, tensor: Tensor) -> Tensor | None:
        """The scale of the norm that the layer's output goes into first; None if there is none."""
        name = self.graph.norm_scale(replace(param, name=tensor.name))
        return None if name is None else self.tensors[name]

    def activation(self, param: Param, tensor: Tensor, criterion: Any) -> Activation:
        """What the layer reads or gives; ValueError, by the name in the Layer, if that cannot be said."""
        try:
            return activation(self.graph, replace(param, name=tensor.name), criterion)
        except ValueError as error:
            raise ValueError(str(error).replace(f"watch {tensor.name}", f"watch {param.name}")) from None

    def params_of(self, op: Any) -> list[str]:
        """Names of the parameters that an op reads itself."""
        values = self.graph.persistables()
        return [name for name in self.tensors if any(values[name].is_same(v) for v in op.operands_source())]


def trace(model: nn.Layer, input_spec: Sequence[Any]) -> Trace:
    """Trace a Layer in the mode (`train()`, `eval()`) that it is in. Nothing is run, nothing is changed.

    Args:
        model: The Layer.
        input_spec: An InputSpec for each input.

    Raises:
        TypeError: `input_spec` is no list.
        ValueError: Paddle cannot trace the model, with its reason.
    """
    if not isinstance(input_spec, (list, tuple)) or not input_spec:
        raise wrong_kind("input_spec", "a list of paddle.static.InputSpec, one for each input", input_spec)
    forward = getattr(model.forward, "dygraph_function", model.forward)  # of one that to_static has converted
    try:
        function = paddle.jit.to_static(forward, input_spec=list(input_spec), full_graph=True)
        traced = function.concrete_program_specify_input_spec(with_hook=True)
    except Exception as error:  # whatever the model's own code meets
        reason = next(iter(str(error).strip().splitlines()), "") or repr(error)
        raise ValueError(
            f"{type(model).__name__} cannot be traced with `input_spec` {input_spec}: "
            f"{type(error).__name__}: {reason}; leave `input_spec` out to tell roles by the layers."
        ) from error
    tensors, values = traced.parameters
    return Trace(PirGraph(traced.main_program, None, None), {value.name: t for t, value in zip(tensors, values)})


def _role(param: Param) -> Role:
    place = (param.role, param.reader, param.output_axis, param.input_axis, param.groups)
    return Role(*place, through=param.through, broken=param.broken)
