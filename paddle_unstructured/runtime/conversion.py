# SPDX-License-Identifier: Apache-2.0
"""`convert`: a pruned inference model in, a model for the stock Predictor (and for `Session`) out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from .. import arguments
from ..arguments import StrPath
from ..reporting.table import aligned
from ..saved_model import Model, check_other, check_outputs, in_inference_mode, open_model, prefix_of, save_model
from .bf16.note import bf16_note
from .bf16.options import Bf16
from .bf16.write_plan import emit as emit_bf16
from .convert_parts import convert_parts
from .engine import Engine
from .int8.errors import LayerError
from .int8.errors import table as error_table
from .int8.note import int8_note
from .int8.options import Int8
from .int8.quantize import calibrate, report
from .int8.ranges import read_ranges
from .net import Net, input_of
from .operator import MOST_OUTPUTS, save_as_operator
from .plan import PlanWriter
from .precision.samples import Data, read_batches
from .read_net import read_net
from .reader import Refusal
from .refusals import RefusedOp, table
from .trial import are_close, look_familiar, trial_inputs
from .write_plan import KernelChoice, emit

ONE_WAY = "what is converted can be neither pruned nor exported nor trained any more"


@dataclass(frozen=True)
class ConvertedPart:
    """A part of a model that became one operator.

    Attributes:
        ops: how many ops of Paddle it stands in for.
        share: fraction of the model's multiply-adds that it does, in [0, 1].
        why: why it ends: the ops around it that the runtime cannot run.
    """

    ops: int
    share: float
    why: str


@dataclass(frozen=True)
class ConversionTable:
    """What runs every layer of a model, and why; prints as a table.

    Attributes:
        choices: The layers with weights, in order; none if the model stays with Paddle.
        refusal: Why the model was not converted whole; empty if it was.
        bytes_before: size of the model's two files.
        bytes_after: size of the converted model's.
        refused: what is refused, op by op, with its share of the arithmetic.
        parts: what was converted of a model that was not converted whole.
        note: note on a model in int8 or bfloat16: how far its outputs are from those in float32, and how it was
            quantized.
        errors: what int8 costs layer by layer, if it was asked for of a model that is converted whole.
    """

    choices: tuple[KernelChoice, ...]
    refusal: str
    bytes_before: int
    bytes_after: int
    note: str = ""
    refused: tuple[RefusedOp, ...] = ()
    parts: tuple[ConvertedPart, ...] = ()
    errors: tuple[LayerError, ...] = ()

    @property
    def converted(self) -> bool:
        """Whether the kernels run the whole model."""
        return not self.refusal

    @property
    def covered(self) -> float:
        """Fraction of the model's multiply-adds that the kernels run, in [0, 1]; open sizes count as 1."""
        return 1.0 if self.converted else min(1.0, sum(part.share for part in self.parts))

    def __str__(self) -> str:
        if self.refusal and not self.parts:
            said = f"The model stays with Paddle as it is: {self.refusal}."
            return f"{said}\n\n{table(self.refused)}" if self.refused else said
        rows: list[tuple[str, ...]] = [
            (c.layer, "x".join(map(str, c.shape)), f"{c.sparsity:.4f}", c.kernel, c.output, c.why) for c in self.choices
        ]
        header: tuple[str, ...] = ("layer", "weight", "sparsity", "kernel", "output", "why")
        if not any(c.output for c in self.choices):
            rows, header = [(*row[:4], row[5]) for row in rows], (*header[:4], header[5])
        sizes = (
            f"{self.bytes_before / 1e6:.2f} MB -> {self.bytes_after / 1e6:.2f} MB on disk "
            f"({self.bytes_before / max(1, self.bytes_after):.1f}x smaller)"
        )
        lines = (aligned(header, rows, numbers=(2,)), self._said_of_parts(), error_table(self.errors), self.note, sizes)
        return "\n".join(line for line in lines if line)

    def _said_of_parts(self) -> str:
        if not self.parts:
            return ""
        rows = [(f"part {i}", str(part.ops), f"{part.share:.1%}", part.why) for i, part in enumerate(self.parts, 1)]
        said = (
            f"{self.covered:.1%} of the multiply-adds are converted, in {len(rows)} part(s); the rest stays with "
            f"Paddle: {self.refusal}."
        )
        return f"\n{aligned(('', 'ops', 'multiply-adds', 'why it ends'), rows, numbers=(1, 2))}\n{said}"


def convert(model: StrPath, out: StrPath, *, int8: Int8 | None = None, bf16: Bf16 | None = None) -> ConversionTable:
    """Convert a saved inference model so that its zeros make it faster.

    The whole net becomes one operator: batch norms are folded, activations fused, weights stored without their zeros.
    Of a net with ops that no kernel covers, the largest parts without them become operators, and Paddle runs the rest;
    the table says why a part ends. Where there are none, the model is written as it is. What is converted is compared
    with Paddle on one input before it is written.

    With `int8`, weights and activations are int8, and blocks of 4 neighbouring inputs that are all zero are left out;
    layers that no int8 kernel covers run in float32 between the others, and the table says so.

    With `bf16`, convolutions multiply bfloat16 numbers, and sum in float32: for processors with AMX, whose tiles leave
    out blocks of 16 outputs x 2 inputs that are all zero. It needs no calibration.

    Args:
        model: An inference model, as `open_model` takes it. Paddle must be in static mode.
        out: The prefix of the two files that are written.
        int8: Calibration data and how to use them; None for float32.
        bf16: How convolutions are rounded to bfloat16; None for float32. Not together with `int8`.

    Returns:
        What runs each layer.

    Raises:
        FileNotFoundError: There is no model, or no such file of data.
        ValueError: A checkpoint; data that do not fit, or both `int8` and `bf16`.
        BuildError: The kernels must be compiled once, and cannot be.

    Example:
        >>> print(convert("runs/gmp90/inference", "runs/gmp90/fast"))  # doctest: +SKIP
        >>> print(convert("runs/gmp90/inference", "runs/gmp90/int8", int8=Int8("images.npy")))  # doctest: +SKIP
    """
    prefix = prefix_of(arguments.path("out", out))
    if int8 is not None:
        arguments.instance("int8", int8, Int8, rule='None or what says how, `Int8("images.npy")` say')
    if bf16 is not None:
        arguments.instance("bf16", bf16, Bf16, rule="None or `Bf16()`, with data or without")
        if int8 is not None:
            raise ValueError("`bf16` must be left out with `int8`: a model is rounded to one or the other.")
    opened = open_model(arguments.path("model", model))
    check_outputs(opened)
    check_other(opened.files, out, ONE_WAY)
    if int8 is not None and int8.ranges is not None:
        int8 = replace(int8, ranges=read_ranges(int8.ranges, opened.files.params))
    before = _bytes(opened.files.program, opened.files.params)
    opened = in_inference_mode(opened)
    try:
        writer, choices, note, errors = _converted(opened, int8, bf16)
    except Refusal as refusal:
        found = convert_parts(opened, prefix, int8, bf16)
        if not found.pieces:
            save_model(opened, prefix)
        after = _bytes(prefix + ".json", prefix + ".pdiparams")
        parts = tuple(ConvertedPart(*row) for row in found.rows)
        why = f"{refusal}; {found.why}" if found.why else str(refusal)
        return ConversionTable(found.choices, why, before, after, found.note, refusal.ops, parts)
    save_as_operator(writer.text, writer.arrays, opened, prefix)
    after = _bytes(prefix + ".json", prefix + ".pdiparams")
    return ConversionTable(tuple(choices), "", before, after, note, errors=errors)


def _converted(
    model: Model, int8: Int8 | None, bf16: Bf16 | None
) -> tuple[PlanWriter, list[KernelChoice], str, tuple[LayerError, ...]]:
    if not 1 <= len(model.fetches) <= MOST_OUTPUTS:
        raise Refusal(f"it has {len(model.fetches)} outputs, and the runtime returns at most {MOST_OUTPUTS}")
    net = read_net(model)
    feeds = _compare_with_paddle(model, net)
    if bf16 is not None:
        samples = [list(feeds.values())] if bf16.data is None else _batches(model, net, bf16.data)
        writer, choices = emit_bf16(net)
        note = bf16_note(net, samples, Engine(writer.text, writer.arrays), given=bf16.data is not None)
        return writer, choices, note, ()
    if int8 is None:
        writer, choices = emit(net)
        Engine(writer.text, writer.arrays)  # loads it once, with all checks, before anything is written
        return writer, choices, "", ()
    batches = [] if int8.data is None else _batches(model, net, int8.data)
    found = calibrate(net, int8, batches)
    writer, choices = found.emitter().run()
    note = int8_note(net, int8, Engine(writer.text, writer.arrays), batches, found)
    return writer, choices, note, tuple(report(found, batches)) if int8.report else ()


def _batches(model: Model, net: Net, data: Data) -> list[list[np.ndarray]]:
    """Data as the net takes them, of the sizes that the model declares: of others the net may make something, too."""
    taken = [input_of(layer) for layer in net.inputs]
    batches = read_batches(data, [replace(one, dims=tuple(model.inputs[one.name].shape)) for one in taken])
    look_familiar(model, [dict(zip((one.name for one in taken), batch)) for batch in batches])
    return batches


def _compare_with_paddle(model: Model, net: Net) -> dict[str, np.ndarray]:
    """Raise Refusal unless a net returns what the model returns, on random inputs that Paddle takes; returns these."""
    writer, _ = emit(net)
    failed: ValueError | None = None
    for feeds in trial_inputs(model):
        try:
            want = model.run(**feeds)
        except Exception:  # of any kind that Paddle's C++ comes to Python with: of another size, perhaps
            continue
        try:
            found = Engine(writer.text, writer.arrays).run(feeds)
        except ValueError as error:  # too small a size, perhaps, of which Paddle makes nothing
            failed = error
            continue
        if not all(map(are_close, found, want)):
            raise Refusal("the plan that was made of it does not compute what Paddle computes")
        return feeds
    if failed is not None:
        raise Refusal(f"the plan that was made of it does not run: {failed}") from failed
    return next(trial_inputs(model))


def _bytes(*files: str) -> int:
    return sum(os.path.getsize(file) for file in files)
