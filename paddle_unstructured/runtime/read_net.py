# SPDX-License-Identifier: Apache-2.0
"""From a PIR inference Program to layers, op by op."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ..graph.values import exists
from ..saved_model import Model
from .border import IMAGE, image
from .fold_constants import is_constant_maker, make_constant
from .net import Layer, Net, Output, input_layer
from .paddle_ops import OPS
from .reader import Reader, Refusal, Symbol
from .refusals import counted, kind_of


def read_net(model: Model) -> Net:
    """Read a whole Program.

    Raises:
        Refusal: It has ops, or uses of them, that no kernel covers; names all of them with their reasons.
    """
    reader, refused = Reader(model), list[tuple[Any, str]]()
    outputs = dict[int, Output]()
    for op in model.program.global_block().ops:
        if op.name() == "pd_op.fetch":
            if refused:
                continue
            outputs[op.attrs().get("col", 0)] = Output(reader.layer(op, 0), dims=_axes(op.operand_source(0)))
        else:
            _read_op(reader, op, refused)
    if refused:
        found = counted(refused, model.program.global_block().ops)
        raise Refusal("; ".join(dict.fromkeys(f"{kind_of(op)}: {why}" for op, why in refused)), found)
    inputs = [reader.layer_of(value) for value in model.inputs.values()]
    return Net(inputs, [output for _, output in sorted(outputs.items())])


def _read_op(reader: Reader, op: Any, refused: list[tuple[Any, str]]) -> None:
    """Read one op; what is refused is noted, and reading goes on with what is not known, to find all of it."""
    made: Symbol | None
    kind = kind_of(op)
    try:
        made = _made(reader, op, kind)
    except Refusal as refusal:
        at, why = op, str(refusal)
        if _is_part_of_pad(op, kind):
            at, why = op.result(0).all_used_ops()[0], "the runtime has no kernel for this op, which F.pad is made of"
        if at.id() not in {seen.id() for seen, _ in refused}:
            refused.append((at, why))
    except Exception:
        if not refused:
            raise  # it is no consequence of what is not known
    else:
        if made is not None:
            reader.values[op.result(0).id] = made
        return
    for result in op.results():
        reader.values[result.id] = Layer("unknown")


def _is_part_of_pad(op: Any, kind: str) -> bool:
    """Whether the op only puts in the axis that F.pad needs: what is missing then is the pad."""
    return kind == "unsqueeze" and [after.name() for after in op.result(0).all_used_ops()] == ["pd_op.pad3d"]


def _made(reader: Reader, op: Any, kind: str) -> Symbol | None:
    if kind == "parameter" or (kind == "data" and op.result(0).persistable):
        return reader.model.graph.array(op.attrs().get("parameter_name") or op.attrs()["name"])
    if kind == "data":
        return _checked_input(op)
    operands = [reader.values.get(source.id) if exists(source) else None for source in op.operands_source()]
    if kind == "combine":
        return tuple(operands)
    constants = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if is_constant_maker(kind) and len(constants) == len(operands):
        return make_constant(op, kind, lambda i: constants[i])
    if kind not in OPS:
        raise Refusal("the runtime has no kernel for this op")
    convert: Callable[[Reader, Any], Layer] = OPS[kind]
    return convert(reader, op)


def _axes(value: Any) -> tuple[str, ...]:
    rank = len(value.shape)
    if rank not in (2, 4):
        raise Refusal(f"an output must be [n, channels, height, width] or [n, channels], got {list(value.shape)}")
    return IMAGE[:rank]


def _checked_input(op: Any) -> Layer:
    value = op.result(0)
    shape = list(value.shape)
    if len(shape) not in (2, 4) or shape[1] < 1 or "float32" not in str(value.dtype).lower():
        raise Refusal(
            f"the input must be float32 [n, channels, height, width] or [n, channels], got {shape} of {value.dtype}"
        )
    return input_layer(image(shape[1], len(shape), name=op.attrs()["name"]))
