# SPDX-License-Identifier: Apache-2.0
"""Convert the parts of a model that the runtime takes, where it does not take it whole."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Mapping, Sequence

import numpy as np

from ..export.inputs import dtype_of
from ..formats.pir_json import read_program
from ..formats.scratch import scratch
from ..inference import reason
from ..saved_model import Model, open_model, save_model
from .bf16.note import bf16_note
from .bf16.options import Bf16
from .bf16.write_plan import emit as emit_bf16
from .border import Input
from .build import BuildError
from .engine import Engine
from .int8.note import int8_note
from .int8.options import Int8
from .int8.quantize import calibrate
from .int8.ranges import read_ranges
from .net import layers_of
from .op_graph import OpGraph
from .operator import NAME, register
from .parts import Finder, Part
from .precision.samples import Data, read_batches
from .reader import Refusal
from .splice import Piece, write_parts
from .trial import few_samples, look_familiar, trial_inputs
from .try_parts import look, tried, values_of
from .write_plan import KernelChoice, emit


@dataclass
class FoundParts:
    """What was converted of a model.

    Attributes:
        pieces: operators, with what they stand in for; none if nothing was converted.
        choices: what runs their layers with weights.
        rows: of each: number of ops, share of the multiply-adds, and why it ends.
        note: note on a model in int8.
        why: why no part was converted, if that is not said elsewhere.
    """

    pieces: list[Piece] = field(default_factory=list)
    choices: tuple[KernelChoice, ...] = ()
    rows: list[tuple[int, float, str]] = field(default_factory=list)
    note: str = ""
    why: str = ""


def convert_parts(model: Model, prefix: str, int8: Int8 | None, bf16: Bf16 | None = None) -> FoundParts:
    """Convert what can be, and write the model, unless that is nothing.

    Args:
        model: an inference model.
        prefix: prefix of the two files that are written.
        int8: calibration data and how to use them; None for float32.
        bf16: data on which the error is told; None for float32.

    Raises:
        FileNotFoundError: There is no such file of data.
        ValueError: Data that do not fit.
    """
    try:
        register()
    except BuildError as error:
        return FoundParts(why=f"parts of a model need the operator, which cannot be compiled: {error}")
    with scratch() as folder:
        dense = os.path.join(folder, "dense")
        save_model(model, dense)
        finder = Finder(open_model(dense), OpGraph.of(read_program(dense + ".json")))
        batches = _batches(finder.model, (int8 or bf16 or Bf16()).data)
        try:
            parts = _agreed(finder, batches)
            found = _built(finder, parts, batches, int8, bf16)
            if found.pieces:
                write_parts(dense, found.pieces, prefix)
        except Refusal as refusal:
            return FoundParts(why=str(refusal))
    return found


def _agreed(finder: Finder, batches: Sequence[Mapping[str, np.ndarray]]) -> list[Part]:
    """Parts that return what Paddle's ops do, on the first calibration samples or on random inputs."""
    parts = finder.find()
    trials = iter(batches[:1]) if batches else trial_inputs(finder.model)
    feeds = next(trials)
    while parts:
        try:
            if _look_at_few(finder, feeds):
                parts = finder.find()
                continue
            agreed = tried(finder, parts, feeds)
        except Exception as error:  # of any kind that Paddle's C++ comes to Python with
            larger = next(trials, None)
            if larger is None:
                raise Refusal(f"it cannot be tried beside Paddle, which fails: {reason(error)}") from error
            feeds = larger
            continue
        if len(agreed) == len(parts):
            break
        parts = finder.find()
    return parts


def _look_at_few(finder: Finder, feeds: Mapping[str, np.ndarray]) -> bool:
    """`look`; nothing is known if Paddle cannot run so few samples: edges would point to nodes that are not there."""
    try:
        return look(finder, few_samples(finder.model, feeds))
    except Exception:  # of any kind that Paddle's C++ comes to Python with
        return False


def _built(
    finder: Finder,
    parts: Sequence[Part],
    batches: Sequence[Mapping[str, np.ndarray]],
    int8: Int8 | None,
    bf16: Bf16 | None,
) -> FoundParts:
    found, notes = FoundParts(), list[str]()
    numbers = sorted({value for part in parts for value in part.inputs})
    seen = values_of(finder, numbers, batches) if parts and batches else []
    if bf16 is not None and parts and not batches:
        seen = _seen_of_random(finder, numbers)
    if int8 is not None and parts:
        _check_skip(int8, [layer.name for part in parts for layer in layers_of(part.net) if layer.name])
    for part in parts:
        mine = [[arrays[value] for value in part.inputs] for arrays in seen]
        options = None if int8 is None else _own(int8, part)
        rounded = None if options is None else calibrate(part.net, options, mine)
        plain = emit if bf16 is None else emit_bf16
        writer, choices = plain(part.net) if rounded is None else rounded.emitter().run()
        engine = Engine(writer.text, writer.arrays)
        if bf16 is not None:
            notes.append(f"part {len(notes) + 1}: {bf16_note(part.net, mine, engine, given=bf16.data is not None)}")
        if options is not None and rounded is not None:
            notes.append(f"part {len(notes) + 1}: {int8_note(part.net, options, engine, mine, rounded)}")
        name = f"{NAME}{len(part.outputs)}"
        found.pieces.append(Piece(part.ops, part.inputs, part.outputs, name, writer.text, writer.arrays))
        found.choices += tuple(choices)
        why = "; ".join(f"{kind}: {said}" for kind, said in part.ends.items()) or "inputs and outputs of the model"
        found.rows.append((len(part.ops), part.share, why))
    found.note = "\n".join(notes)
    return found


def _seen_of_random(finder: Finder, numbers: Sequence[int]) -> list[dict[int, np.ndarray]]:
    """What Paddle computes of the first random inputs that it takes."""
    for feeds in trial_inputs(finder.model):
        try:
            return values_of(finder, numbers, [feeds])
        except Exception:  # of any kind that Paddle's C++ comes to Python with: they are too small, perhaps
            continue
    raise Refusal("it cannot be tried beside Paddle, which fails on random inputs")


def _batches(model: Model, data: Data | None) -> list[dict[str, np.ndarray]]:
    """Data for the whole model; none if there are none."""
    if data is None:
        return []
    inputs = [
        Input(name, dtype_of(value), ("n", *["c"] * (len(value.shape) - 1)), tuple(value.shape))
        for name, value in model.inputs.items()
    ]
    batches = [dict(zip(model.feeds, arrays)) for arrays in read_batches(data, inputs)]
    look_familiar(model, batches)
    return batches


def _check_skip(int8: Int8, names: Sequence[str]) -> None:
    unknown = sorted(set(int8.skip) - set(names))
    if unknown:
        raise ValueError(
            f"`skip` must name weights of the model, got {', '.join(unknown)}; its parts have {', '.join(names)}."
        )


def _own(int8: Int8, part: Part) -> Int8:
    """The options, with names of this part's weights alone."""
    names = {layer.name for layer in layers_of(part.net) if layer.name}
    ranges = None if int8.ranges is None else read_ranges(int8.ranges)
    return replace(
        int8,
        skip=[name for name in int8.skip if name in names],
        ranges=ranges and {name: ends for name, ends in ranges.items() if name in names},
    )
