# SPDX-License-Identifier: Apache-2.0
"""From some ops of a PIR inference Program to layers, and which ops can be read at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Sequence

import numpy as np

from ..graph.values import exists
from ..saved_model import Model
from .edges import batch_of, border, output
from .net import Net, Output
from .read_net import note, read_op, unforeseen
from .reader import Reader, Refusal, Symbol
from .views import Atom


@dataclass(frozen=True)
class Survey:
    """What a reader finds that takes whatever it cannot read as given.

    Attributes:
        foreign: op, by its place in the block -> why it is not read; empty where that follows from others.
        activations: ops that are read, and make activations.
    """

    foreign: dict[int, str]
    activations: set[int]


def survey(model: Model, foreign: Mapping[int, str], odd: Iterable[Any] = (), *, samples: int | None = None) -> Survey:
    """Read all ops of a Program, but for those that are known to be foreign.

    Args:
        model: an inference model.
        foreign: op, by its place -> why it is not to be read.
        odd: values whose first axis is not the samples, though the Program leaves it open.
        samples: first extent of what counts as a batch, if it is not that of the model's inputs: boxes of an image.
    """
    batch = batch_of(model.inputs.values()) if samples is None else Atom(samples)
    reader, found = Reader(model, batch=batch), Survey(dict(foreign), set())
    never, lost = {value.id for value in odd}, set[int]()  # values that no plan takes
    for at, op in enumerate(model.program.global_block().ops):
        if op.name() == "pd_op.fetch":
            continue
        reads = [source.id for source in op.operands_source() if exists(source)]
        if at not in foreign:
            if lost & set(reads):
                found.foreign[at] = ""
            else:
                try:
                    note(reader, op, read_op(reader, op))
                except Refusal as refusal:
                    found.foreign[at] = str(refusal)
                except Exception as error:  # a use that its converter did not think of
                    found.foreign[at] = unforeseen(error)
        for value in op.results() if at in found.foreign else ():
            if value.id in never:
                lost.add(value.id)
                continue
            try:
                reader.values[value.id] = border(reader, value, f"v{value.id}")
            except Exception:  # a list of values, or one without a shape, too
                lost.add(value.id)
        made = [reader.values[value.id] for value in op.results() if value.id in reader.values]
        if at not in found.foreign and any(_is_activation(one) for one in made):
            found.activations.add(at)
    return found


def _is_activation(symbol: Symbol) -> bool:
    return any(map(_is_activation, symbol)) if isinstance(symbol, tuple) else not isinstance(symbol, np.ndarray)


class RefusedAt(Refusal):
    """An op that is not read as a member of a part, though it was in the whole Program.

    Args:
        at: place of the op in the block.
        reason: message.
    """

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at


def read_part(model: Model, ops: Iterable[int], inputs: Sequence[Any], outputs: Mapping[int, Any]) -> Net:
    """Read some ops of a Program.

    Args:
        model: an inference model.
        ops: places of the ops, each behind those that it reads from.
        inputs: values that come from without; called v0, v1, ...
        outputs: values that are returned, by the places of the ops that make them.

    Raises:
        RefusedAt: An op, or what it makes, does not go into a plan of its own.
    """
    reader, block = Reader(model, batch=batch_of(inputs)), model.program.global_block().ops
    for i, value in enumerate(inputs):
        reader.values[value.id] = border(reader, value, f"v{i}")
    layers = [reader.view_of(value).layer for value in inputs]
    returned = list[Output]()
    for at in sorted(ops):
        op = block[at]
        try:
            note(reader, op, read_op(reader, op))
        except Refusal as refusal:
            raise RefusedAt(at, str(refusal)) from None
        except Exception as error:
            raise RefusedAt(at, unforeseen(error)) from error
    for at, values in outputs.items():
        try:
            returned.extend(output(reader, value) for value in values)
        except Refusal as refusal:
            raise RefusedAt(at, str(refusal)) from None
    return Net(layers, returned)
