# SPDX-License-Identifier: Apache-2.0
"""The forward Program of an nn.Layer: what is read off it, nothing of it is ever run."""

from __future__ import annotations

import re
from typing import AbstractSet, Any, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn

from ..arguments import wrong_kind
from ..formats import bfloat16
from .base import Param, Role
from .converted import before_conversion
from .op_facts import is_parameter
from .program import PirGraph, walk
from .values import exists
from .watched import accumulators

Found = tuple[Role, tuple[Role, ...]]  # the role of a param, and its readings as a weight
MASK = "_sparsity_mask"  # attribute of a parameter: a mask is found again by whoever prunes the same parameter


class TracedGraph(PirGraph):
    """The Program of an nn.Layer. Params have the names that they have in the Layer, and its values.

    Args:
        program: The Program, with parameters of these names.
        tensors: The Layer's parameters and buffers by name.
    """

    def __init__(self, program: Any, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(program, None, None)
        self._tensors = dict(tensors)
        self._beside: dict[str, list[str]] = {}

    def roles(self) -> dict[str, Found]:
        """Roles by what the ops do, in the order in which they read the parameters."""
        return {param.name: (param.own_role, param.readings) for param in self.params() if param.name in self._tensors}

    def read_by(self, op: Any) -> list[str]:
        """Names of the parameters that an op reads itself."""
        return [name for name, value in self._values.items() if any(value.is_same(v) for v in op.operands_source())]

    def follow(self, optimizer: Any) -> None:
        """Know what an optimizer keeps of each param in its shape, as values beside it."""
        for name, tensor in list(self._tensors.items()):
            kept = {f"{name} {key}": t for key, t in accumulators(optimizer, tensor) if t.shape == tensor.shape}
            self._tensors.update(kept)
            self._beside[name] = list(kept)

    def beside(self, name: str) -> list[str]:
        """Names of what an optimizer that is followed keeps of a param."""
        return self._beside.get(name, [])

    def declared_masks(self, params: Sequence[Param]) -> list[str]:
        return [param.mask_name for param in params if hasattr(self._tensors.get(param.name), MASK)]

    def is_initialized(self, name: str) -> bool:
        return name in self._tensors

    def array(self, name: str) -> np.ndarray:
        return on_host(self._tensors[name])

    def stored(self, name: str) -> np.ndarray:
        return np.asarray(self._tensors[name].numpy())

    def store(self, name: str, array: np.ndarray) -> None:
        self._tensors[name].set_value(array)


def trace(model: nn.Layer, names: Mapping[Tensor, str], input_spec: Sequence[Any]) -> TracedGraph:
    """Trace a Layer in the mode (`train()`, `eval()`) that it is in. Nothing is run, nothing is changed.

    Args:
        model: The Layer.
        names: What its parameters and buffers are called.
        input_spec: An InputSpec for each input.

    Raises:
        TypeError: `input_spec` is no list.
        ValueError: Paddle cannot trace the model, with its reason.
    """
    if not isinstance(input_spec, (list, tuple)) or not input_spec:
        raise wrong_kind("input_spec", "a list of paddle.static.InputSpec, one for each input", input_spec)
    forward = before_conversion(model)
    try:
        function = paddle.jit.to_static(forward, input_spec=list(input_spec), full_graph=True)
        traced = function.concrete_program_specify_input_spec(with_hook=True)
    except Exception as error:  # whatever the model's own code meets
        raise ValueError(
            f"{type(model).__name__} cannot be traced with `input_spec` {input_spec}: {reason_of(error)}; leave "
            "`input_spec` out to tell roles by the layers."
        ) from error
    known = {}
    for tensor, value in zip(*traced.parameters):
        if tensor in names:
            value.get_defining_op().set_str_attr("parameter_name", names[tensor])
            known[names[tensor]] = tensor
    read_what_is_computed(traced.main_program, set(known))
    given = [value for value in paddle.utils.flatten(traced.outputs) if isinstance(value, paddle.pir.Value)]
    with paddle.static.program_guard(traced.main_program):
        for i, value in enumerate(given):
            paddle._pir_ops.fetch(value, f"output {i}", i)
    return TracedGraph(traced.main_program, known)


def read_what_is_computed(program: Any, names: AbstractSet[str]) -> None:
    """Let ops read a computed value instead of the tensor that it is written to: `weight_norm` and `spectral_norm` of
    paddle.nn.utils write a layer's weight anew at every call, as a plain attribute.

    Args:
        program: a traced Program; it is changed.
        names: names of its params and buffers, which stay, as does what is read before it is written: a state.
    """
    block, written, states = program.global_block(), set[str](), set[str]()
    for op in block.ops:
        if _target(op):
            written.add(_target(op))
        for inner in (op, *(each for held in op.blocks() for each in walk(held))):
            states |= {_target(inner)} if inner is not op else set()
            read = inner.operands_source()[:1] if _target(inner) else inner.operands_source()
            states |= {_parameter_name(value) for value in read if exists(value) and is_parameter(value)} - written
    now: dict[str, Any] = {}
    for op in list(block.ops):
        if _target(op) in written - (states | names):
            now[_target(op)] = op.operand_source(0)
            op.result(0).replace_all_uses_with(op.operand_source(0))
            block.remove_op(op)
            continue
        for inner in (op, *(each for held in op.blocks() for each in walk(held))):
            for i, value in enumerate(inner.operands_source()):
                if exists(value) and is_parameter(value) and _parameter_name(value) in now:
                    inner.operand(i).set_source(now[_parameter_name(value)])
    for op in [op for op in block.ops if op.name() == "builtin.parameter"]:
        if op.attrs()["parameter_name"] in now:
            block.remove_op(op)


def _target(op: Any) -> str:
    """Name of the parameter that an op copies a value into, or ""."""
    copies = op.name() == "pd_op.assign_out_" and is_parameter(op.operand_source(1))
    return _parameter_name(op.operand_source(1)) if copies else ""


def _parameter_name(value: Any) -> str:
    return str(value.get_defining_op().attrs()["parameter_name"])


def reason_of(error: Exception) -> str:
    """What Paddle says of an error in the model's code, without the code: `ValueError: (InvalidArgument) ...`."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if lines and lines[0].startswith("In transformed code"):
        own = [line for line in lines if re.match(r"(\w+Error|\w+Exception)\b", line)]
        if own:
            return own[0]
    return f"{type(error).__name__}: {lines[0] if lines else repr(error)}"


def on_host(tensor: Tensor) -> np.ndarray:
    """A copy on the host, bfloat16 as float32; without any operation, which static mode would not survive."""
    array = np.asarray(tensor.numpy())
    return bfloat16.widened(array) if tensor.dtype == paddle.bfloat16 else array
