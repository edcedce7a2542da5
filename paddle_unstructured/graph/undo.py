# SPDX-License-Identifier: Apache-2.0
"""A change of a Program that is made whole, or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from paddle.base.libpaddle.pir import reset_insertion_point_to_end

from .program import PirGraph, walk
from .values import exists


@contextmanager
def all_or_nothing(graph: PirGraph) -> Iterator[None]:
    """What an error leaves of ops and variables that were put into the graph since then is taken out again."""
    block = graph.program.global_block()
    read = [(op, op.operands_source()) for op in walk(block)]
    names = set(graph.persistables())
    try:
        yield
    except BaseException:
        known = {op.id() for op, _ in read}
        made = set(graph.persistables()) - names
        for op, values in read:
            for i, value in enumerate(values):
                if exists(value) and not op.operand_source(i).is_same(value):
                    op.operand(i).set_source(value)
        for op in reversed(list(block.ops)):
            if op.id() not in known:
                block.remove_op(op)
        graph.scope.erase([name for name in made if graph.scope.find_var(name)])
        raise
    finally:
        reset_insertion_point_to_end()
