# SPDX-License-Identifier: Apache-2.0
"""`Session`: a converted model without Paddle in the process: numpy in, numpy out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from .. import arguments
from ..arguments import StrPath, WrongKind
from ..formats import pair
from ..formats.atomic import finish
from ..formats.pdiparams import read, scan
from ..formats.pir_json import all_ops, attribute, ops_of, param_name, read_program, understood
from .border import by_name
from .engine import Engine
from .steps import Steps

_OPERATORS = ("paddle_unstructured_run", "paddle_unstructured_net")  # the second before version 3 of the plan


class Session:
    """A converted model, loaded and checked. May be run by several Python threads at once, and in forks of the process.

    What is not ours of a model in parts is run by ONNX Runtime, which does not work in forks.

    Args:
        path: The prefix of the `.json` and `.pdiparams` that `convert` wrote, one of the two files, or their folder.
        threads: threads of one run, 1 to 256.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is damaged, the model was not converted, or it was converted in parts and ONNX has no node
            for an op of the rest; nothing has run then.
        ImportError: The model was converted in parts, and the extra "onnx" is not installed.
        BuildError: The kernels must be compiled once, and cannot be.

    Example:
        >>> session = Session("runs/gmp90/fast", threads=2)  # doctest: +SKIP
        >>> probabilities, = session.run(images)  # float32 [n, 3, 224, 224]  # doctest: +SKIP
    """

    def __init__(self, path: StrPath, *, threads: int = 1) -> None:
        prefix = _prefix(path)
        program, params = prefix + ".json", prefix + ".pdiparams"
        finish(prefix)
        if not os.path.isfile(program):
            raise FileNotFoundError(f"no model at {os.fspath(path)}: looked for {program} with {params}.")
        content = read_program(program)
        found = operators(content, program)
        if not found:
            raise ValueError(
                f"{program} must be a model that `convert` converted, whole or in parts; run this one with "
                "create_predictor."
            )
        stored = {tensor.name: tensor for tensor in scan(params, program)}
        pair.check(program, params)
        missing = [name for one in found for name in one.params if name not in stored]
        if missing:
            raise ValueError(f"{params} must hold {missing[0]}, which {program} reads; convert the model again.")
        try:
            if _is_whole(content, found):
                [ours] = found
                arrays = [read(params, stored[name]) for name in ours.params]
                self._runs: Engine | Steps = Engine(ours.plan, arrays, threads=threads)
                self._inputs, self._outputs = tuple(map(str, ours.inputs)), _names_of_outputs(content)
            else:
                self._runs = Steps(content, stored, params, is_ours, threads=threads)
                self._inputs, self._outputs = tuple(one.name for one in self._runs.inputs), self._runs.outputs
        except WrongKind:
            raise
        except ValueError as error:
            raise ValueError(f"{prefix}: {error}") from None
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{program} must be a Program as Paddle 3 writes it, but has {error!r}.") from error
        if len(self._runs.inputs) != len(self._inputs):
            raise ValueError(f"{program} must feed what the plan in it reads; convert the model again.")

    def __repr__(self) -> str:
        return f"Session(inputs={self.inputs}, outputs={self.outputs}, isa={self.isa!r})"

    @property
    def isa(self) -> str:
        """The instruction set that runs: "avx512", "avx2", "neon" or "portable"."""
        return self._runs.isa

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order in which `run` takes them."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, as Paddle's Predictor has them, in the order in which `run` returns them."""
        return self._outputs

    def run(self, *inputs: np.ndarray | Mapping[str, np.ndarray], **named: np.ndarray) -> list[np.ndarray]:
        """The model's outputs for its inputs: arrays in order, one dict by name, or by keyword; numbers become the
        inputs' dtypes. The only input of a model may be called x, whatever its name.

        A NaN stays one: in float32 it reaches what is computed from it; int8 has none, so that every output of a
        sample with a NaN is NaN there.

        Raises:
            ValueError: The input does not fit the model, or has a number that float32 does not hold.
            TypeError: It is not an array of real numbers.
        """
        if named and inputs:
            raise TypeError(
                f"`run` must get its inputs in order or by name, got both; give {', '.join(named)} in order."
            )
        if len(self._inputs) == 1 and list(named) == ["x"]:
            inputs = (named["x"],)
        elif named:
            inputs = (named,)
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            inputs = tuple(by_name(self._inputs, inputs[0]))
        return self._runs.run(*inputs)


def _prefix(path: StrPath) -> str:
    """A path without its ending; of a folder that holds one model, that model's."""
    path = arguments.path("path", path)
    if os.path.isdir(path):
        finish(path)
        inside = [str(file)[: -len(".pdiparams")] for file in sorted(Path(path).glob("*.pdiparams"))]
        if len(inside) > 1:
            raise ValueError(f"{path} must hold one model, but holds {', '.join(inside)}; name one.")
        if inside and not os.path.isfile(path + ".json"):
            return inside[0]
    return next((path[: -len(end)] for end in (".json", ".pdiparams") if path.endswith(end)), path)


def _is_whole(content: dict[str, Any], found: Sequence[Operator]) -> bool:
    """Whether a model is nothing but one of our operators."""
    others = {op["#"].split(".")[-1] for op in ops_of(content)} - {"p", "combine", "data", "fetch"}
    return len(found) == len(others) == 1 and None not in found[0].inputs


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


def loses_layout(content: dict[str, Any]) -> list[str]:
    """The loops of a model in parts: oneDNN reads wrong numbers in them where what goes in is ours, in plain layout."""
    loops = ["while"] if any(op["#"].endswith(".while") for op in all_ops(content)) else []
    return loops if any(map(is_ours, ops_of(content))) else []


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
