# SPDX-License-Identifier: Apache-2.0
"""From some ops of a PIR inference Program to layers, and which ops can be read at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..graph.values import exists
from ..saved_model import Model
from .edges import batch_of, border, output
from .net import Net, Output
from .read_net import note, read_op, unforeseen
from .reader import Reader, Refusal, Symbol
from .views import OPEN, Atom, Prefix


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
    reader = Reader(model, batch=batch)
    ops = {at: op for at, op in enumerate(model.program.global_block().ops) if op.name() != "pd_op.fetch"}
    refused = _read_on(reader, ops, foreign, odd)
    made = {
        at: [reader.values[value.id] for value in op.results() if value.id in reader.values] for at, op in ops.items()
    }
    activations = {at for at, symbols in made.items() if at not in refused and any(map(_is_activation, symbols))}
    return Survey(refused, activations)


def _read_on(
    reader: Reader, ops: Mapping[int, Any], foreign: Mapping[int, str], odd: Iterable[Any] = ()
) -> dict[int, str]:
    """Read some ops, and take as given what the foreign ones make; all that are foreign now, and why, in their order.

    Args:
        reader: what is known; learns what the ops make.
        ops: ops, by their places.
        foreign: op, by its place -> why it is not to be read; empty where that follows from others.
        odd: values that no plan takes.
    """
    found, never, lost = dict(foreign), {value.id for value in odd}, set[int]()
    for at, op in ops.items():
        if at not in foreign:
            if any(source.id in lost for source in op.operands_source() if exists(source)):
                found[at] = ""
            else:
                try:
                    note(reader, op, read_op(reader, op))
                except Refusal as refusal:
                    found[at] = str(refusal)
                except Exception as error:  # a use that its converter did not think of
                    found[at] = unforeseen(error)
        for value in op.results() if at in found else ():
            if value.id in never:
                lost.add(value.id)
                continue
            try:
                reader.learn(value.id, border(reader, value, f"v{value.id}"))
            except Exception:  # a list of values, or one without a shape, too
                lost.add(value.id)
    return found


def _is_activation(symbol: Symbol) -> bool:
    return any(map(_is_activation, symbol)) if isinstance(symbol, tuple) else not isinstance(symbol, np.ndarray)


class RefusedAt(Refusal):
    """Ops that are not read as members of a part, though they were in the whole Program.

    Args:
        reasons: place of an op in the block -> why it is not read.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = dict(reasons)


def read_part(model: Model, ops: Iterable[int], inputs: Sequence[Any], outputs: Mapping[int, Any]) -> Net:
    """Read some ops of a Program.

    Args:
        model: an inference model.
        ops: places of the ops, each behind those that it reads from.
        inputs: values that come from without; called v0, v1, ...
        outputs: values that are returned, by the places of the ops that make them.

    Raises:
        RefusedAt: Ops, or what they make, do not go into a plan of their own; names all of them.
    """
    reader, block = Reader(model, batch=batch_of(inputs)), model.program.global_block().ops
    for i, value in enumerate(inputs):
        reader.learn(value.id, border(reader, value, f"v{i}"))
    layers = [reader.view_of(value).layer for value in inputs]
    refused = {at: why for at, why in _read_on(reader, {at: block[at] for at in sorted(ops)}, {}).items() if why}
    makers = {value.id: at for at in ops for value in block[at].results()}
    returned = list[Output]()
    for at, values in outputs.items() if not refused else ():
        try:
            returned.extend(_whole_output(reader, value) for value in values)
        except Refusal as refusal:
            refused[at] = str(refusal)
            for behind in _ranges_behind(
                reader, block, makers, block[at]
            ):  # these would be the next that are to be returned
                refused[behind] = str(refusal)
    if refused:
        raise RefusedAt(refused)
    return Net(layers, returned)


def _whole_output(reader: Reader, value: Any) -> Output:
    """`output` of what is not 1 along an axis that only the next reader would have repeated."""
    view = reader.view_of(value)
    if any(extent == OPEN and not axis for extent, axis in zip(list(value.shape)[1:], view.axes[1:])):
        raise Refusal("numbers would leave the part before they are repeated as often as the input's size says")
    return output(reader, value)


def _ranges_behind(reader: Reader, block: Sequence[Any], makers: Mapping[int, int], op: Any) -> Iterator[int]:
    """Places of the ops from which one that makes the first places of a stored array has it; no plan returns any."""
    pending, seen = list(op.operands_source()), set[int]()
    while pending:
        value = pending.pop()
        at = makers.get(value.id) if exists(value) else None
        if at is not None and at not in seen and isinstance(reader.values.get(value.id), Prefix):
            seen.add(at)
            yield at
            pending.extend(block[at].operands_source())
