# SPDX-License-Identifier: Apache-2.0
"""Lengths that recurrent layers are given: Paddle's op writes beyond its memory where one is larger than the steps."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from .program import walk
from .values import exists, kind_of

_SAME_NUMBERS = {"cast", "assign"}
_SAME_AXES = {*_SAME_NUMBERS, "scale", "relu", "tanh", "sigmoid", "gelu", "dropout", "layer_norm", "transpose"}
_SAME_AXES |= {"embedding", "matmul", "add", "multiply"}  # with a table, a weight, a bias or a factor beside it


def check_lengths(program: Any, feeds: Mapping[str, np.ndarray], what: str) -> None:
    """See that no sequence is longer than its steps, where both come straight from inputs.

    Args:
        program: the Program; lengths that it computes are not looked at, nor is what they are of if that is computed
            in a way that may change the number of steps.
        feeds: arrays by name of the input.
        what: who gave them, for the message.

    Raises:
        ValueError: A length is negative or larger than the steps; Paddle would end the process, or write anywhere.
    """
    for op in walk(program.global_block()):
        if kind_of(op) != "rnn" or not exists(_lengths_of(op)):
            continue
        lengths = _source(_lengths_of(op), 0, _SAME_NUMBERS)
        steps = _source(op.operand_source(0), 0, _SAME_AXES)  # [steps, n, features]
        if lengths is None or steps is None or lengths[0] not in feeds or steps[0] not in feeds:
            continue
        given, most = np.asarray(feeds[lengths[0]]), np.shape(feeds[steps[0]])[steps[1]]
        if given.size and not 0 <= given.min() <= given.max() <= most:
            raise ValueError(
                f"{what} must give {lengths[0]} lengths from 0 to {most}, the steps of {steps[0]}, got "
                f"{given.min()} to {given.max()}."
            )


def _lengths_of(op: Any) -> Any:
    return op.operand_source(op.get_input_names().index("sequence_length"))


def _source(value: Any, axis: int, through: set[str]) -> tuple[str, int] | None:
    """The input of which a value has an axis, behind ops of some kinds, and which of its axes that is."""
    while (kind := kind_of(op := value.get_defining_op())) in through:
        before, rank = op.operand_source(0), len(value.shape)
        if kind == "transpose":
            axis = int(op.attrs()["perm"][axis])
        elif kind in ("embedding", "matmul") and (axis == rank - 1 or len(op.operand_source(1).shape) != 2):
            return None
        elif kind in ("add", "multiply") and list(before.shape) != list(value.shape):
            return None
        value = before
    return (str(op.attrs()["name"]), axis) if kind == "data" else None
