# SPDX-License-Identifier: Apache-2.0
"""Pruning without training, as `prune` and `accelerate` ask for it."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TextIO

import numpy as np

from .calibration import Samples

BATCH = 32  # samples that go through the model together
_WIDTH = 20
_SECONDS = 20.0  # between lines where there is no terminal


def reconstructed(model: Any, arrays: Samples, *, made: bool, **words: Any) -> Any:
    """A `Reconstruction` of a saved model, on samples for each of its inputs, which may be made ones."""
    from ..reconstruction.made import norms_of_made_inputs
    from ..reconstruction.reconstruct import reconstruct

    batches = batches_of(model, arrays)
    with norms_of_made_inputs(model, batches) if made else nullcontext():
        return reconstruct(model, batches, told=Bar(), **words)


def batches_of(model: Any, arrays: Samples) -> list[dict[str, np.ndarray]]:
    """The samples in batches that the model takes."""
    if isinstance(arrays, list):
        return arrays
    count = len(next(iter(arrays.values())))
    size = max([value.shape[0] for value in model.inputs.values() if value.shape[0] > 0], default=BATCH)
    whole = count - count % size if size != BATCH else count  # a model may take batches of one size only
    return [{name: array[i : i + size] for name, array in arrays.items()} for i in range(0, whole, size)]


def pattern_beside(pattern: str | None, ratio: float | None, flag: str) -> Any:
    """What --pattern means beside a ratio, which stands behind `flag`."""
    from ..export import parse_pattern
    from ..patterns import NM, own_sparsity

    found = pattern and parse_pattern(pattern)
    if isinstance(found, NM):  # a first convolution of three channels stays dense; the table says why
        found = replace(found, indivisible="skip")
    meant = own_sparsity(found) if found else None
    if None not in (meant, ratio) and ratio != meant:
        raise ValueError(f"{flag} {ratio:g} is not what --pattern {pattern} means, {meant:g}; leave {flag} out.")
    return found


class Bar:
    """The layer that is done, its error and the time left: a bar on terminals, elsewhere a line now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out, self._started = sys.stderr if stream is None else stream, time.monotonic()
        self._written = self._started

    def __call__(self, row: Any, done: float) -> None:
        now = time.monotonic()
        left = (now - self._started) * (1.0 - done) / max(done, 1e-9)
        error = "" if row.after is None else f" error {row.after:.4f}"
        text = f"{100 * done:3.0f} % {_spoken(left)} left  {row.name}{error}"
        if self._out.isatty():
            filled = round(_WIDTH * done)
            bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {text}"
            self._out.write(f"\r\x1b[K{bar[:100]}" + ("\n" if done >= 1.0 - 1e-9 else ""))
        elif now - self._written >= _SECONDS:
            self._out.write(f"{text}\n")
            self._written = now
        self._out.flush()


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
