# SPDX-License-Identifier: Apache-2.0
"""`convert`: a pruned inference model in, a model for the stock Predictor (and for `Session`) out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from .. import arguments
from ..arguments import StrPath
from ..reporting.table import aligned
from ..saved_model import Model, in_inference_mode, open_model, prefix_of, save_model
from .agreement import Agreement, compare
from .engine import Engine
from .int8.observe import Batch, samples_of
from .int8.options import Int8
from .int8.quantize import batches_of, quantize
from .net import Net
from .operator import MOST_OUTPUTS, save_as_operator
from .plan import PlanWriter
from .read_net import read_net
from .reader import Refusal
from .refusals import RefusedOp, table
from .write_plan import KernelChoice, emit

_COMPARED = 64  # samples


@dataclass(frozen=True)
class ConversionTable:
    """What runs every layer of a model, and why; prints as a table.

    Attributes:
        choices: The layers with weights, in order; none if the model stays with Paddle.
        refusal: Why the whole model stays with Paddle; empty if it was converted.
        bytes_before: size of the model's two files.
        bytes_after: size of the converted model's.
        refused: what is refused, op by op, with its share of the arithmetic.
        note: note on a model in bytes: how it was quantized, and how far its outputs are from those in floats.
    """

    choices: tuple[KernelChoice, ...]
    refusal: str
    bytes_before: int
    bytes_after: int
    note: str = ""
    refused: tuple[RefusedOp, ...] = ()

    @property
    def converted(self) -> bool:
        """Whether the kernels run the model."""
        return not self.refusal

    def __str__(self) -> str:
        if self.refusal:
            said = f"The model stays with Paddle as it is: {self.refusal}."
            return f"{said}\n\n{table(self.refused)}" if self.refused else said
        rows: list[tuple[str, ...]] = [
            (c.layer, "x".join(map(str, c.shape)), f"{c.sparsity:.4f}", c.kernel, c.output, c.why) for c in self.choices
        ]
        header: tuple[str, ...] = ("layer", "weight", "sparsity", "kernel", "output", "why")
        if not self.note:
            rows, header = [(*row[:4], row[5]) for row in rows], (*header[:4], header[5])
        sizes = (
            f"{self.bytes_before / 1e6:.2f} MB -> {self.bytes_after / 1e6:.2f} MB on disk "
            f"({self.bytes_before / max(1, self.bytes_after):.1f}x smaller)"
        )
        return "\n".join(part for part in (aligned(header, rows, numbers=(2,)), self.note, sizes) if part)


def convert(model: StrPath, out: StrPath, *, int8: Int8 | None = None) -> ConversionTable:
    """Convert a saved inference model so that its zeros make it faster.

    The whole net becomes one operator: batch norms are folded, activations fused, weights stored without their zeros.
    A net with an op that no kernel covers is written as it is, for Paddle alone, and the table says why.

    With `int8`, weights and activations are bytes, and blocks of 4 neighbouring inputs that are all zero are left out;
    layers that no kernel for bytes covers run in floats between the others, and the table says so.

    Args:
        model: An inference model, as `open_model` takes it. Paddle must be in static mode.
        out: The prefix of the two files that are written.
        int8: Calibration data and how to use them; None for floats.

    Returns:
        What runs each layer.

    Raises:
        FileNotFoundError: There is no model, or no such file of data.
        ValueError: Calibration data that do not fit.
        BuildError: The kernels must be compiled once, and cannot be.

    Example:
        >>> print(convert("runs/gmp90/inference", "runs/gmp90/fast"))  # doctest: +SKIP
        >>> print(convert("runs/gmp90/inference", "runs/gmp90/int8", int8=Int8("images.npy")))  # doctest: +SKIP
    """
    prefix = prefix_of(arguments.path("out", out))
    if int8 is not None:
        arguments.instance("int8", int8, Int8, rule='None or what says how, `Int8("images.npy")` say')
    opened = open_model(arguments.path("model", model))
    before = _bytes(opened.files.program, opened.files.params)
    opened = in_inference_mode(opened) if opened.fetches else opened
    try:
        writer, choices, note = _converted(opened, int8)
    except Refusal as refusal:
        save_model(opened, prefix)
        after = _bytes(prefix + ".json", prefix + ".pdiparams")
        return ConversionTable((), str(refusal), before, after, refused=refusal.ops)
    save_as_operator(writer.text, writer.arrays, opened, prefix)
    return ConversionTable(tuple(choices), "", before, _bytes(prefix + ".json", prefix + ".pdiparams"), note)


def _converted(model: Model, int8: Int8 | None) -> tuple[PlanWriter, list[KernelChoice], str]:
    if not 1 <= len(model.fetches) <= MOST_OUTPUTS:
        raise Refusal(f"it has {len(model.fetches)} outputs, and the runtime returns at most {MOST_OUTPUTS}")
    net = read_net(model)
    batches = [] if int8 is None else batches_of(net, int8)
    writer, choices = emit(net) if int8 is None else quantize(net, int8, batches)
    engine = Engine(writer.text, writer.arrays)  # loads it once, with all checks, before anything is written
    note = "" if int8 is None else _note(net, int8, engine, batches)
    return writer, choices, note


def _note(net: Net, int8: Int8, engine: Engine, batches: Sequence[Batch]) -> str:
    if int8.data is None:
        return "activations: ranges learned in training"
    found = _agreement(net, batches, engine)
    how = int8.calibration + ", equalized" * int8.equalize + ", ranges from training" * (int8.ranges is not None)
    return f"activations: {how}; against floats, on the calibration data: {found}"


def _agreement(net: Net, batches: Sequence[Batch], engine: Engine) -> Agreement:
    """On the first calibration samples of one size."""
    few = [samples_of(net, batch, 0, _COMPARED) for batch in batches[:_COMPARED]]
    few = [batch for batch in few if all(a.shape[1:] == b.shape[1:] for a, b in zip(batch, few[0]))]
    writer, _ = emit(net)
    exact = Engine(writer.text, writer.arrays)
    runs = [[each.run(*batch) for batch in few] for each in (exact, engine)]
    return compare(*[[np.concatenate(parts)[:_COMPARED] for parts in zip(*run)] for run in runs])


def _bytes(*files: str) -> int:
    return sum(os.path.getsize(file) for file in files)
