# SPDX-License-Identifier: Apache-2.0
"""From a PIR inference Program to layers, op by op."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.values import exists
from ..saved_model import Model
from .edges import batch_of, border, output
from .net import Layer, Net, Output
from .ops import OPS
from .ops.common import Made
from .prefix import has_prefix, moved
from .reader import Reader, Refusal, Results
from .refusals import counted, kind_of
from .sizes import count_of, filled, full_like, is_constant_maker, make_constant, shape_of
from .views import View


def read_net(model: Model) -> Net:
    """Read a whole Program.

    Raises:
        Refusal: It has ops, or uses of them, that no kernel covers; names all of them with their reasons.
    """
    reader, refused = Reader(model, batch=batch_of(model.inputs.values())), list[tuple[Any, str]]()
    outputs = dict[int, Output]()
    for op in model.program.global_block().ops:
        if op.name() == "pd_op.fetch":
            if refused:
                continue
            outputs[op.attrs().get("col", 0)] = output(reader, op.operand_source(0))
        else:
            _read_op(reader, op, refused)
    if refused:
        found = counted(refused, model.program.global_block().ops)
        raise Refusal("; ".join(dict.fromkeys(f"{kind_of(op)}: {why}" for op, why in refused)), found)
    if not outputs:  # a Program in memory says nothing of outputs
        outputs = {i: output(reader, value) for i, value in enumerate(model.fetches)}
    inputs = [reader.view_of(value).layer for value in model.inputs.values()]
    return Net(inputs, [one for _, one in sorted(outputs.items())])


def _read_op(reader: Reader, op: Any, refused: list[tuple[Any, str]]) -> None:
    """Read one op; what is refused is noted, and reading goes on with what is not known, to find all of it."""
    kind = kind_of(op)
    try:
        made = read_op(reader, op)
    except Refusal as refusal:
        at, why = op, str(refusal)
        if _is_part_of_pad(op, kind):
            at, why = op.result(0).all_used_ops()[0], "the runtime has no kernel for this op, which F.pad is made of"
        if at.id() not in {seen.id() for seen, _ in refused}:
            refused.append((at, why))
    except Exception as error:  # a consequence of what is not known, or a use that its converter did not think of
        if not refused:
            refused.append((op, unforeseen(error)))
    else:
        note(reader, op, made)
        return
    for result in op.results():
        if result.is_dense_tensor_type():
            reader.learn(result.id, reader.fresh(Layer("unknown"), list(result.shape)))


def unforeseen(error: Exception) -> str:
    """The reason for which an op is refused whose converter fails."""
    return f"it is used in a way that the runtime does not know ({error!r})"


def note(reader: Reader, op: Any, made: Made) -> None:
    """What an op made becomes known under the values that it returns."""
    symbols = made.symbols if isinstance(made, Results) else (made,)
    for i, symbol in enumerate(symbols):
        if symbol is not None:
            reader.learn(op.result(i).id, reader.result(op, symbol, i) if isinstance(symbol, Layer) else symbol)


def _is_part_of_pad(op: Any, kind: str) -> bool:
    """Whether the op only puts in the axis that F.pad needs: what is missing then is the pad."""
    return kind == "unsqueeze" and [after.name() for after in op.result(0).all_used_ops()] == ["pd_op.pad3d"]


def read_op(reader: Reader, op: Any) -> Made:
    """What an op makes.

    Raises:
        Refusal: No kernel covers it.
    """
    kind = kind_of(op)
    if kind == "parameter" or (kind == "data" and op.result(0).persistable):
        if all(kind_of(after) == "rnn" and _is_state(op, after) for after in op.result(0).all_used_ops()):
            return np.zeros(0)  # the state of an LSTM's dropout has no numbers, and often no variable
        name = op.attrs().get("parameter_name") or op.attrs()["name"]
        found = np.asarray(reader.graph.array(name))
        if not found.size:
            raise Refusal(f"{name} has no elements")
        return found
    if kind == "data":
        return border(reader, op.result(0), op.attrs()["name"])
    operands = [reader.values.get(source.id) if exists(source) else None for source in op.operands_source()]
    if kind == "combine":
        return tuple(operands)
    if kind in ("split", "slice") and op.name().startswith("builtin."):  # of a list of values
        parts = operands[0]
        assert isinstance(parts, tuple)
        return Results(parts) if kind == "split" else Results((parts[op.attrs()["index"]],))
    if kind in ("shape", "shape64") and isinstance(operands[0], View):
        return shape_of(operands[0])
    if kind == "numel" and isinstance(operands[0], View):
        return count_of(operands[0])
    if kind == "full_like" and isinstance(operands[0], View):
        value = reader.constant(op, 1)
        return filled(operands[0], value) if _is_read_whole(op) else full_like(operands[0], value)
    if has_prefix(operands) and not any(map(_has_view, operands)):
        return moved(op, kind, operands, lambda of: make_constant(op, kind, of))
    if is_constant_maker(kind) and all(_is_constant(operand) for operand in operands):
        return make_constant(op, kind, lambda i: operands[i])
    if kind not in OPS:
        raise Refusal("the runtime has no kernel for this op")
    made: Made = OPS[kind](reader, op)
    return made


def _has_view(operand: Any) -> bool:
    return any(map(_has_view, operand)) if isinstance(operand, tuple) else isinstance(operand, View)


def _is_state(op: Any, recurrent: Any) -> bool:
    """Whether an op makes the state of a recurrent layer's dropout."""
    return bool(recurrent.operand_source(4).id == op.result(0).id)


def _is_read_whole(op: Any) -> bool:
    """Whether an op behind it must see all places of a constant, so that it cannot be left to broadcast."""
    return any(kind_of(after) in ("triu", "tril", "cumsum") for after in op.result(0).all_used_ops())


def _is_constant(operand: Any) -> bool:
    if isinstance(operand, tuple):
        return all(isinstance(each, np.ndarray) for each in operand)
    return isinstance(operand, np.ndarray)
