# SPDX-License-Identifier: Apache-2.0
"""`Session`: a converted model without Paddle in the process: numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

from .. import arguments
from ..arguments import StrPath
from ..formats import pair
from ..formats.atomic import finish
from ..formats.pdiparams import read, scan
from ..formats.pir_json import attribute, ops_of, param_name, read_program, understood
from .border import by_name
from .engine import Engine

_OPERATORS = ("paddle_unstructured_run", "paddle_unstructured_net")  # the second before version 3 of the plan


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
        content = read_program(program)
        ours = _only_operator(content, program)
        stored = {tensor.name: tensor for tensor in scan(params, program)}
        pair.check(program, params)
        missing = [name for name in ours.params if name not in stored]
        if missing:
            raise ValueError(f"{params} must hold {missing[0]}, which {program} reads; convert the model again.")
        try:
            self._engine = Engine(ours.plan, [read(params, stored[name]) for name in ours.params], threads=threads)
        except ValueError as error:
            raise ValueError(f"{prefix}: {error}") from None
        if len(self._engine.inputs) != len(ours.inputs):
            raise ValueError(f"{program} must feed what the plan in it reads; convert the model again.")
        self._inputs, self._outputs = tuple(name or "" for name in ours.inputs), _names_of_outputs(content)

    @property
    def isa(self) -> str:
        """The instruction set that runs: "avx512", "avx2" or "portable"."""
        return self._engine.isa

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order in which `run` takes them."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, as Paddle's Predictor has them, in the order in which `run` returns them."""
        return self._outputs

    def run(self, *inputs: np.ndarray | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for its inputs: arrays in order, or one dict by name; numbers become the inputs' dtypes.

        A NaN stays one: in float32 it reaches what is computed from it; int8 has none, so that every output of a
        sample with a NaN is NaN there.

        Raises:
            ValueError: The input does not fit the model, or has a number that float32 does not hold.
            TypeError: It is not an array of real numbers.
        """
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            inputs = tuple(by_name(self._inputs, inputs[0]))
        return self._engine.run(*inputs)


def _prefix(path: StrPath) -> str:
    path = arguments.path("path", path)
    return next((path[: -len(end)] for end in (".json", ".pdiparams") if path.endswith(end)), path)


def _only_operator(content: dict[str, Any], program: str) -> Operator:
    """That of a model that is nothing but our operator."""
    found = operators(content, program)
    others = {op["#"].split(".")[-1] for op in ops_of(content)} - {"p", "combine", "data", "fetch"}
    if len(found) != 1 or len(others) != 1 or None in found[0].inputs:
        raise ValueError(
            f"{program} must be a model that `convert` converted whole; this one needs Paddle, so run it "
            "with create_predictor."
        )
    return found[0]


def _names_of_outputs(content: dict[str, Any]) -> tuple[str, ...]:
    fetches = [op for op in ops_of(content) if op["#"].endswith(".fetch")]
    fetches.sort(key=lambda op: int(attribute(op["A"], "col") or 0))
    return tuple(str(attribute(op["A"], "name")) for op in fetches)


@dataclass(frozen=True)
class Operator:
    """One of our operators in a Program.

    Attributes:
        plan: what it runs.
        params: names of the parameters that it reads.
        inputs: names of the model's inputs that it reads; None for what another op makes.
    """

    plan: str
    params: list[str]
    inputs: list[str | None]


def is_ours(op: dict[str, Any]) -> bool:
    """Whether an op of a Program's content is our operator."""
    return any(name in op["#"] for name in _OPERATORS)


def operators(content: dict[str, Any], program: str) -> list[Operator]:
    """Our operators in a PIR Program's content.

    Args:
        content: What `read_program` gave.
        program: The file, for messages.
    """
    ops = ops_of(content)
    with understood(program):
        params = {op["O"]["%"]: param_name(op) or "" for op in ops if param_name(op) is not None}
        feeds = {op["O"][0]["%"]: str(attribute(op["A"], "name")) for op in ops if op["#"].endswith(".data")}
        lists = {op["O"][0]["%"]: [each["%"] for each in op["I"]] for op in ops if op["#"].endswith(".combine")}
        found = []
        for op in ops:
            plan = attribute(op["A"], "plan") if is_ours(op) else None
            if plan:
                first, second = (each["%"] for each in op["I"])
                inputs = [feeds.get(value) for value in lists.get(first, [first])]
                found.append(Operator(plan, [params.get(value, "") for value in lists[second]], inputs))
        return found
