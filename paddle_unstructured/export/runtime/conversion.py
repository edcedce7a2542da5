"""`convert`: a pruned inference model in, a model for the stock Predictor (and for `Session`) out."""
from __future__ import annotations

import os
from dataclasses import dataclass

from ...report import aligned
from ..model import Model, open_model, prefix_of, save_model
from .emit import Choice, emit
from .engine import Engine
from .operator import MOST_OUTPUTS, build_program
from .ops import Refusal
from .reading import read_net


@dataclass(frozen=True)
class ConversionTable:
    """What runs every layer of a model, and why; prints as a table.

    Attributes:
        choices: The layers with weights, in order; none if the model stays with Paddle.
        refusal: Why the whole model stays with Paddle; empty if it was converted.
        bytes_before: Of the model's two files.
        bytes_after: Of the converted model's.
    """

    choices: tuple[Choice, ...]
    refusal: str
    bytes_before: int
    bytes_after: int

    @property
    def converted(self) -> bool:
        """Whether the kernels run the model."""
        return not self.refusal

    def __str__(self) -> str:
        if self.refusal:
            return f"The model stays with Paddle as it is: {self.refusal}."
        rows = [(c.layer, "x".join(map(str, c.shape)), f"{c.sparsity:.4f}", c.kernel, c.why) for c in self.choices]
        sizes = (f"{self.bytes_before / 1e6:.2f} MB -> {self.bytes_after / 1e6:.2f} MB on disk "
                 f"({self.bytes_before / max(1, self.bytes_after):.1f}x smaller)")
        return aligned(("layer", "weight", "sparsity", "kernel", "why"), rows, numbers=(2,)) + "\n" + sizes


def convert(model_path: str, out_path: str) -> ConversionTable:
    """Convert a saved inference model so that its zeros make it faster.

    The whole net becomes one operator: batch norms are folded, activations fused, weights stored without their zeros.
    A net with an op that no kernel covers is written as it is, for Paddle alone, and the table says why.

    Args:
        model_path: An inference model, as `open_model` takes it. Paddle must be in static mode.
        out_path: The prefix of the two files that are written.

    Returns:
        What runs each layer.

    Raises:
        FileNotFoundError: There is no model.
        BuildError: The kernels must be compiled once, and cannot be.

    Example:
        >>> print(convert("runs/gmp90/inference", "runs/gmp90/fast"))  # doctest: +SKIP
    """
    model, out = open_model(model_path), prefix_of(out_path)
    before = _bytes(model.files.program, model.files.params)
    try:
        fast, choices = _converted(model)
    except Refusal as refusal:
        save_model(model, out)
        return ConversionTable((), str(refusal), before, _bytes(out + ".json", out + ".pdiparams"))
    save_model(fast, out)
    return ConversionTable(tuple(choices), "", before, _bytes(out + ".json", out + ".pdiparams"))


def _converted(model: Model) -> tuple[Model, list[Choice]]:
    if not 1 <= len(model.fetches) <= MOST_OUTPUTS:
        raise Refusal(f"it has {len(model.fetches)} outputs, and the runtime returns at most {MOST_OUTPUTS}")
    net = read_net(model)
    writer, choices = emit(net)
    Engine(writer.text, writer.arrays)  # loads it once, with all checks, before anything is written
    return build_program(writer.text, writer.arrays, model), choices


def _bytes(*files: str) -> int:
    return sum(os.path.getsize(file) for file in files)
