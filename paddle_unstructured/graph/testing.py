# SPDX-License-Identifier: Apache-2.0
"""The Program that tests what another one trains: Paddle 3 has no `clone(for_test=True)`."""

from __future__ import annotations

from typing import Any, Sequence

import paddle
from paddle.base.libpaddle import pir

from ..arguments import wrong_kind
from .inference_mode import to_inference
from .program import walk


def test_program(program: Any, fetch: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Clone what computes some values, in test mode: norms use their running statistics, nothing is dropped.

    Both Programs read the same weights, and share them through the scope. Before or after `minimize`: gradients and
    updates are not cloned, and neither is an input (the labels) that the values do not need.

    Args:
        program: The training Program; it is not changed.
        fetch: Values of it, such as logits, loss, accuracy, or inputs.

    Returns:
        The Program for testing, and its values that stand for `fetch`.

    Raises:
        ValueError: Nothing to fetch, or a value of another Program; values that depend on random numbers, by the ops
            that make them.
        TypeError: Something that is not a Program, or not a list of values.

    Example:
        >>> test, (test_logits,) = test_program(program, [logits])  # doctest: +SKIP
        >>> exe.run(test, feed={"image": images}, fetch_list=[test_logits])  # doctest: +SKIP
    """
    if not isinstance(program, pir.Program):
        raise TypeError(f"`program` must be a paddle.static.Program, got {type(program).__name__}.")
    if not isinstance(fetch, (list, tuple)) or not all(isinstance(value, pir.Value) for value in fetch):
        raise wrong_kind("fetch", "a list of values of the Program", fetch, "write [logits]")
    own = {op.id() for op in program.global_block().ops}
    if not fetch or any(value.get_defining_op().id() not in own for value in fetch):
        foreign = sum(value.get_defining_op().id() not in own for value in fetch)
        got = f"{foreign} of {len(fetch)} that are none of them" if foreign else "an empty list"
        raise ValueError(f"`fetch` must be values of `program`, outside branches and loops, got {got}.")
    mapping = pir.IrMapping()
    clone = program.clone(mapping)
    values = [mapping.look_up(value) for value in fetch]
    _keep_what_makes(clone, values)
    with paddle.static.program_guard(clone):
        pir.reset_insertion_point_to_end()
        for i, value in enumerate(values):  # readers, which follow where a value is replaced
            paddle._pir_ops.fetch(value, f"fetch_{i}", i)
    readers = clone.global_block().ops[-len(values) :]
    to_inference(clone)
    values = [op.operand_source(0) for op in readers]
    for op in readers:
        clone.global_block().remove_op(op)
    return clone, values


test_program.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test where it is imported


def _keep_what_makes(program: Any, values: Sequence[Any]) -> None:
    """Remove all ops that the values do not need."""
    block = program.global_block()
    needed = {value.get_defining_op().id() for value in values}
    for op in reversed(list(block.ops)):
        if op.id() not in needed:
            block.remove_op(op)
            continue
        inside = [inner for body in op.blocks() for inner in walk(body)]
        for inner in inside:
            if inner.name() == "cf.tuple_push":  # keeps what only the gradient of a branch or loop reads
                inner.get_parent_block().remove_op(inner)
        # What is inside reads values from outside, too.
        reading = [op, *(inner for body in op.blocks() for inner in walk(body))]
        sources = (value for reader in reading for value in reader.operands_source() if value.initialized())
        needed |= {made.id() for made in (value.get_defining_op() for value in sources) if made is not None}
