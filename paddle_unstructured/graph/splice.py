# SPDX-License-Identifier: Apache-2.0
"""One Program inside another: forward ops are copied, variables get names of their own, nothing of it trains."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import paddle
from paddle.base.libpaddle import pir

from .program import PirGraph, persistable_data
from .testing import test_program
from .values import agree


def splice(
    source: PirGraph, outputs: Sequence[Any], into: PirGraph, inputs: Mapping[str, Any], prefix: str
) -> list[Any]:
    """Append what `source` computes for `outputs` to the Program of `into`, as inference means it (see `to_inference`:
    nothing is dropped at random), and without gradients.

    Args:
        source: The Program to copy from, and the scope of its variables; neither is changed.
        outputs: Values of its Program.
        into: The Program to append to; its scope gets copies of the variables as they are now.
        inputs: Name of an input of `source` -> value of `into`. Default: the input of the same name.
        prefix: text that goes before the names of the variables.

    Returns:
        The values of `into` that stand for `outputs`.

    Raises:
        ValueError: An output of another Program; an input without a value, or with one that it cannot read; a variable
            without a value, or a name that is taken; a Program with control flow; outputs that depend on random
            numbers. Nothing is changed.
    """
    _check_outputs(source.program, outputs)
    tested, outputs = test_program(source.program, outputs)
    needed = _needed(tested, outputs)
    given = {**_inputs(into.program.global_block().ops), **inputs}
    _check(needed, source, into, given, prefix)
    _check_inputs(_inputs(source.program.global_block().ops), _inputs(needed), into.program, given, inputs)
    mapping = pir.IrMapping()
    with paddle.static.program_guard(into.program):
        pir.reset_insertion_point_to_end()
        for op in needed:
            if is_variable(op):
                value, name = op.result(0), variable_name(op)
                into.store(prefix + name, source.stored(name))
                mapping.add(value, persistable_data(prefix + name, value))
            elif is_input(op):
                mapping.add(op.result(0), given[op.attrs()["name"]])
            else:
                clone_op(op, mapping)
    return [mapping.look_up(output) for output in outputs]


def program_of(value: Any, name: str) -> Any:
    """The Program that a value is in; TypeError names the argument if it is none."""
    if not isinstance(value, pir.Value):
        raise TypeError(f"`{name}` must be a value of a PIR Program, got {type(value).__name__}.")
    return value.get_defining_op().get_parent_block().program


def _check_outputs(program: Any, outputs: Sequence[Any]) -> None:
    if not {output.get_defining_op().id() for output in outputs} <= {op.id() for op in program.global_block().ops}:
        raise ValueError("an output must be a value of the Program that is copied; got one of another Program.")


def _needed(program: Any, outputs: Sequence[Any]) -> list[Any]:
    ops = list(program.global_block().ops)
    wanted = {output.get_defining_op().id() for output in outputs}
    needed = []
    for op in reversed(ops):
        if op.id() in wanted:
            needed.append(op)
            wanted |= {value.get_defining_op().id() for value in op.operands_source() if value.initialized()}
    return needed[::-1]


def _check(needed: Sequence[Any], source: PirGraph, into: PirGraph, given: Mapping[str, Any], prefix: str) -> None:
    lacking = [name for name in _inputs(needed) if name not in given]
    if lacking:
        raise ValueError(
            f"`inputs` must say what the Program that is copied reads as {', '.join(lacking)}; the other "
            f"one has the inputs {', '.join(given)}."
        )
    if any(list(op.blocks()) for op in needed):
        raise ValueError(
            "the Program that is copied must be without control flow, and has `while` or `if` in it; write it without, "
            "or leave it a Program of its own."
        )
    for name in (variable_name(op) for op in needed if is_variable(op)):
        if not source.is_initialized(name):
            raise ValueError(f"{name} of the Program that is copied has no value in its scope; load its weights first.")
        if into.persistable(prefix + name) is not None:
            raise ValueError(f"`prefix` must give new names, and the Program has a {prefix + name}; take another one.")


def _check_inputs(
    known: Mapping[str, Any], needed: Mapping[str, Any], into: Any, given: Mapping[str, Any], inputs: Mapping[str, Any]
) -> None:
    unknown = sorted(str(name) for name in inputs.keys() - known.keys())
    if unknown:
        raise ValueError(
            f"`inputs` must name inputs of the Program that is copied, {', '.join(known)}, got {', '.join(unknown)}."
        )
    for name, value in inputs.items():
        if program_of(value, f"inputs[{name!r}]") != into:
            raise ValueError(f"`inputs[{name!r}]` must be a value of the Program that is copied into, got another's.")
    for name, wanted in needed.items():
        value = given[name]
        if value.dtype != wanted.dtype or not agree(value.shape, wanted.shape):
            raise ValueError(
                f"`inputs[{name!r}]` must be {list(wanted.shape)} {wanted.dtype}, as the Program that is copied reads "
                f"{name}, got {list(value.shape)} {value.dtype}; name another value there."
            )


def clone_op(op: Any, mapping: Any) -> None:
    copy = op.clone(mapping, pir.CloneOptions(True, True, True))
    if copy.has_attr("is_test"):
        copy.set_bool_attr("is_test", True)
    for value in copy.results():
        value.stop_gradient = True


def _inputs(ops: Sequence[Any]) -> dict[str, Any]:
    return {op.attrs()["name"]: op.result(0) for op in ops if is_input(op)}


def is_input(op: Any) -> bool:
    return op.name() == "pd_op.data" and not op.result(0).persistable


def is_variable(op: Any) -> bool:
    return bool(op.name() == "builtin.parameter" or (op.name() == "pd_op.data" and op.result(0).persistable))


def variable_name(op: Any) -> str:
    return str(op.attrs()["parameter_name" if op.name() == "builtin.parameter" else "name"])
