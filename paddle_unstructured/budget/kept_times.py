# SPDX-License-Identifier: Apache-2.0
"""What was clocked once, kept beside the kernels for the next time: one file for a net's layers on one machine.

~/.cache/paddle_unstructured/          or $PADDLE_UNSTRUCTURED_CACHE
    times-0123456789abcdef.json        named by a digest of all that the times depend on: see `Facts`
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..formats.atomic import replace_file
from ..masking.update import PrunedLayer
from ..runtime import kept
from ..runtime.compiler import kernel_digest
from ..runtime.engine import Engine
from .levels import Levels
from .times import Clocked, Planned

_log = logging.getLogger(__name__)
_OF_WEIGHTS = ("params", "weights", "block")  # words of a plan's line that follow from the weights
_in_memory: dict[str, list[Clocked]] = {}  # where nothing can be written


@dataclass(frozen=True)
class Facts:
    """All that the times of a net depend on.

    Attributes:
        processor: name of the processor.
        isa: instruction sets that run, for float32 and for int8.
        kernels: digest of the kernels' sources.
        threads: threads of one run.
        inputs: shape of each input.
        plan: lines of the dense net's plan, but for weights and scales: two nets of the same layers are the same.
        levels: name of each pruned weight, its pattern and its numbers of zeros.
    """

    processor: str
    isa: tuple[str, str]
    kernels: str
    threads: int
    inputs: tuple[tuple[int, ...], ...]
    plan: tuple[str, ...]
    levels: tuple[tuple[str, str, tuple[int, ...]], ...]

    @property
    def digest(self) -> str:
        return _digest(asdict(self))


def facts(
    dense: Planned,
    layers: Sequence[PrunedLayer],
    levels: Levels,
    inputs: Sequence[np.ndarray],
    *,
    threads: int,
) -> Facts:
    """The facts of a dense net on this machine."""
    engine = Engine(dense.writer.text, dense.writer.arrays)
    lines = [line for line in dense.writer.text.splitlines()[2:] if line]
    steps = {name: ",".join(map(str, numbers)) for name, numbers in dense.steps.items()}
    # A weight is its place in the plan: another training may have given it another name.
    own = [(steps.get(p.param.name, ""), repr(p.pattern), levels[p.param.name]) for p in layers]
    return Facts(
        processor(),
        (engine.isa, engine.isa_int8),
        kernel_digest(),
        threads,
        tuple(array.shape for array in inputs),
        tuple(map(_structure, lines)),
        tuple(own),
    )


def clocked(known: Facts, count: int, measure: Callable[[], list[Clocked]], *, again: bool = False) -> list[Clocked]:
    """What is kept for these facts, else what `measure` finds, which is kept.

    Args:
        known: facts of the net.
        count: levels.
        measure: clocks the net at each level.
        again: measure it although it is kept.
    """
    path = kept.home() / f"times-{known.digest[:16]}.json"
    found = None if again else _read(path, known, count) or _in_memory.get(known.digest)
    if found is not None:
        return found
    found = measure()
    content = {"of": asdict(known), "steps": [one.steps.tolist() for one in found]}
    content.update(beside=[one.beside for one in found], whole=[one.whole for one in found])
    try:
        kept.make_home()
        replace_file(path, json.dumps({**content, "digest": _digest(content)}, indent=1) + "\n")
    except (OSError, ValueError) as error:
        _in_memory[known.digest] = found
        reason = getattr(error, "strerror", None) or error
        _log.warning(
            "times that were measured cannot be kept in %s (%s) and are measured again by the next process; set "
            "PADDLE_UNSTRUCTURED_CACHE to a folder of yours",
            kept.home(),
            reason,
        )
    return found


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = dict(reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]))
    names = [told[key] for key in ("model name", "cpu family", "model", "stepping", "CPU part") if told.get(key)]
    return " ".join(names) or platform.processor() or platform.machine()


def _read(path: Path, known: Facts, count: int) -> list[Clocked] | None:
    if not os.path.lexists(path):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop("digest")
        if digest != _digest(content) or _digest(content["of"]) != known.digest:
            raise ValueError("its digest differs")
        columns = zip(content["steps"], content["beside"], content["whole"])
        found = [Clocked(np.array(steps, np.float64), float(b), float(w)) for steps, b, w in columns]
        numbers = [n for one in found for n in (*one.steps.tolist(), one.beside, one.whole)]
        if len(found) != count or not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise ValueError("it has other numbers")
        return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("%s is damaged (%s); the times are measured anew", path, error)
        return None


def _structure(line: str) -> str:
    """A line of a plan without what follows from weights and data: numbers with a fraction are scales."""
    kind, *words = line.split(" ")
    return " ".join([kind, *(word for word in words if not _follows(word))])


def _follows(word: str) -> bool:
    name, _, value = word.partition("=")
    return name in _OF_WEIGHTS or name in ("scale", "zero") or "." in value or "e-" in value


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
