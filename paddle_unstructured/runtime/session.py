# SPDX-License-Identifier: Apache-2.0
"""`Session`: a converted model without Paddle in the process: numpy in, numpy out."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import arguments
from ..arguments import StrPath
from ..formats import pair
from ..formats.atomic import finish
from ..formats.pdiparams import read, scan
from ..formats.pir_json import attribute, ops_of, param_name, read_program, understood
from .engine import Engine

_OPERATOR = "paddle_unstructured_net"


class Session:
    """A converted model, loaded and checked. May be run by several Python threads at once, and in forks of the process.

    Args:
        path: The prefix of the `.json` and `.pdiparams` that `convert` wrote, or one of the two files.
        threads: threads of one run, 1 to 256.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is damaged, or the model was not converted whole; nothing has run then.
        BuildError: The kernels must be compiled once, and cannot be.

    Example:
        >>> session = Session("runs/gmp90/fast", threads=2)  # doctest: +SKIP
        >>> probabilities, = session.run(images)  # float32 [n, 3, 224, 224]  # doctest: +SKIP
    """

    def __init__(self, path: StrPath, *, threads: int = 1) -> None:
        prefix = _prefix(path)
        program, params = prefix + ".json", prefix + ".pdiparams"
        finish(prefix)
        plan, names = _read_plan(program)
        stored = {tensor.name: tensor for tensor in scan(params, program)}
        pair.check(program, params)
        missing = [name for name in names if name not in stored]
        if missing:
            raise ValueError(f"{params} must hold {missing[0]}, which {program} reads; convert the model again.")
        try:
            self._engine = Engine(plan, [read(params, stored[name]) for name in names], threads=threads)
        except ValueError as error:
            raise ValueError(f"{prefix}: {error}") from None

    @property
    def isa(self) -> str:
        """The instruction set that runs: "avx512", "avx2" or "portable"."""
        return self._engine.isa

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """The model's outputs for [n, channels, height, width] (or [n, channels]); other real numbers become float32.

        A NaN stays one: in float32 it reaches what is computed from it; int8 has none, so that every output of a
        sample with a NaN is NaN there.

        Raises:
            ValueError: The input does not fit the model, or has a number that float32 does not hold.
            TypeError: It is not an array of real numbers.
        """
        return self._engine.run(x)


def _prefix(path: StrPath) -> str:
    path = arguments.path("path", path)
    return next((path[: -len(end)] for end in (".json", ".pdiparams") if path.endswith(end)), path)


def _read_plan(program: str) -> tuple[str, list[str]]:
    """The plan of a model that is nothing but our operator, and the names of its parameters."""
    content = read_program(program)
    plans = read_plans(content, program)
    others = {op["#"].split(".")[-1] for op in ops_of(content)} - {"p", "combine", "data", "fetch"}
    if len(plans) != 1 or len(others) != 1:
        raise ValueError(
            f"{program} must be a model that `convert` converted whole; this one needs Paddle, so run it "
            "with create_predictor."
        )
    return plans[0]


def read_plans(content: dict[str, Any], program: str) -> list[tuple[str, list[str]]]:
    """The plan of each of our operators in a PIR Program's content, and the names of the parameters that it reads.

    Args:
        content: What `read_program` gave.
        program: The file, for messages.
    """
    ops = ops_of(content)
    with understood(program):
        names = {op["O"]["%"]: param_name(op) or "" for op in ops if param_name(op) is not None}
        lists = {
            op["O"][0]["%"]: [names.get(each["%"], "") for each in op["I"]]
            for op in ops
            if op["#"].endswith(".combine")
        }
        found = [(attribute(op["A"], "plan"), op["I"][1]["%"]) for op in ops if _OPERATOR in op["#"]]
        return [(plan, lists[params]) for plan, params in found if plan]
