# SPDX-License-Identifier: Apache-2.0
"""Plans, inputs and what must come out as files, which run_plans.cpp runs and compares without Python."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

import numpy as np

from paddle_unstructured.runtime.border import DTYPES

EXACT_KINDS = ("quantize", "dequantize", "input", "output", "contents")  # beside "int8.…" and "bf16.…"


@dataclass(frozen=True)
class Case:
    """A plan that has run here.

    Attributes:
        plan: Its text, with its digest.
        arrays: Its parameters.
        inputs: What came in.
        outputs: What must come out.
        most: 0.0, or the largest difference as a fraction of the largest number.
        threads: threads of the run.
    """

    plan: str
    arrays: Sequence[np.ndarray]
    inputs: Sequence[np.ndarray]
    outputs: Sequence[np.ndarray]
    most: float = 0.0
    threads: int = 1


def is_exact(plan: str) -> bool:
    """Whether all that a plan computes is int8 or bfloat16, so that every processor must make the same bits."""
    kinds = [line.split(" ", 1)[0] for line in plan.splitlines()[1:] if line]
    return all(kind in EXACT_KINDS or kind.startswith(("int8.", "bf16.")) for kind in kinds)


def write_cases(path: Path, cases: Iterable[Case]) -> Path:
    """Write cases into one file, one behind the other; returns it."""
    with path.open("wb") as file:
        for case in cases:
            text = case.plan.encode()
            file.write(_integers(len(text)) + text + _integers(len(case.arrays)))
            for array in case.arrays:
                file.write(_integers(DTYPES[array.dtype.name], array.size) + array.tobytes())
            for tensors in (case.inputs, case.outputs):
                file.write(_integers(len(tensors)))
                for array in tensors:
                    file.write(_integers(DTYPES[array.dtype.name], array.ndim, *array.shape) + array.tobytes())
            file.write(struct.pack("<d", case.most) + _integers(case.threads))
    return path


def _integers(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)
