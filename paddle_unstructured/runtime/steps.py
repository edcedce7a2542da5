# SPDX-License-Identifier: Apache-2.0
"""A Program that is partly our operators, run without Paddle: the rest is ONNX Runtime's, segment by segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Sequence

import numpy as np

from ..formats import pdiparams
from ..formats.pir_json import attribute, ops_of, param_name
from .border import Input, in_order
from .engine import Engine
from .op_graph import OpGraph
from .rest.model import to_onnx_model
from .rest.sizes import constant_of

_WORDS = {f"0.t_{dtype.word}": dtype.numpy for dtype in pdiparams.DTYPES.values()}
_IDLE = ("1.data", "1.fetch", "1.assign", "p")  # nothing is computed
Op = Dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What runs at once.

    Attributes:
        inputs: values that it reads.
        outputs: values that it makes.
        run: from the arrays of the inputs to those of the outputs.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    run: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


class Steps:
    """A model in parts, loaded and checked. Arrays are handed from step to step as they are.

    Args:
        content: content of its `.json`.
        stored: name -> where its values are.
        params: its `.pdiparams`.
        is_ours: whether an op is one of our operators.
        threads: threads of one run.

    Raises:
        ImportError: onnx or onnxruntime is not there.
        ValueError: A plan is damaged, or ONNX has no node for an op; names it.
    """

    def __init__(
        self,
        content: Op,
        stored: Mapping[str, pdiparams.Stored],
        params: str,
        is_ours: Callable[[Op], bool],
        *,
        threads: int,
    ) -> None:
        self._ops, self._stored, self._params, self._threads = ops_of(content), stored, params, threads
        self._runtime = _onnxruntime(self._others(is_ours))
        self._types = {one["%"]: one["TT"] for op in self._ops for one in _results(op)}
        feeds = [op for op in self._ops if op["#"] == "1.data"]
        self.inputs = tuple(self._input(op) for op in feeds)
        self._feeds = [op["O"][0]["%"] for op in feeds]
        fetches = sorted(
            (op for op in self._ops if op["#"] == "1.fetch"), key=lambda op: int(attribute(op["A"], "col") or 0)
        )
        self.outputs = tuple(str(attribute(op["A"], "name")) for op in fetches)
        self._now: dict[int, int] = {}
        self._known = self._constants()
        self.isa = ""
        self._steps = list(self._made(is_ours))
        self._fetched = [self._source(op["I"][0]["%"]) for op in fetches]
        self._check_order()

    def run(self, *inputs: np.ndarray | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """From the inputs, in order or in one dict by name, to the outputs.

        Raises:
            ValueError: An input does not fit, or a step fails on it.
            TypeError: It is not an array of real numbers.
        """
        values = dict(zip(self._feeds, in_order(self.inputs, inputs)))
        for step in self._steps:
            values.update(zip(step.outputs, step.run([values[value] for value in step.inputs])))
        return [values[value] if value in values else self._known[value] for value in self._fetched]

    def _check_order(self) -> None:
        made = {*self._feeds, *self._known}
        for step in self._steps:
            lost = set(step.inputs) - made
            if lost:
                raise ValueError(f"an op reads value {min(lost)}, which none before it makes; convert the model again")
            made.update(step.outputs)
        if not made.issuperset(self._fetched):
            raise ValueError("an output is a value that no op makes; convert the model again")

    def _others(self, is_ours: Callable[[Op], bool]) -> list[str]:
        kinds = {op["#"].split(".")[-1] for op in self._ops if not is_ours(op) and op["#"] not in _IDLE}
        return sorted(kinds - {"combine", "full", "full_int_array", "split"})

    def _input(self, op: Op) -> Input:
        kind, dims, *_ = op["O"][0]["TT"]["D"]
        axes = ("n", *["cchw"[min(i, 3)] for i in range(len(dims) - 1)])
        return Input(str(attribute(op["A"], "name")), _WORDS[kind["#"]], axes[: len(dims)], tuple(dims))

    def _source(self, value: int) -> int:
        """The value under whose number an op finds what this one holds, at the place that was reached."""
        return self._now.get(value, value)

    def _follow(self, op: Op) -> None:
        """Copies are what they were made of; what an op writes over is from now on what that op makes."""
        if op["#"] == "1.assign":
            self._now[op["O"][0]["%"]] = self._source(op["I"][0]["%"])
        elif op["#"].endswith("_") and "batch_norm" not in op["#"] and op.get("I") and op["O"]:
            self._now[op["I"][0]["%"]] = op["O"][0]["%"]

    def _constants(self) -> dict[int, np.ndarray]:
        """Constants; parameters come when they are read."""
        found = {op["O"][0]["%"]: constant_of(op) for op in self._ops if param_name(op) is None and op["O"]}
        return {value: array for value, array in found.items() if array is not None}

    def _made(self, is_ours: Callable[[Op], bool]) -> Any:
        """Steps, in the order of the file: runs of ops between our operators are joined."""
        lists = {op["O"][0]["%"]: [one["%"] for one in op["I"]] for op in self._ops if op["#"] == "0.combine"}
        names = {op["O"]["%"]: param_name(op) or "" for op in self._ops if param_name(op) is not None}
        ours = {
            value
            for op in self._ops
            if is_ours(op)
            for one in op["I"]
            for value in (one["%"], *lists.get(one["%"], ()))
        }
        pending: list[Op] = []
        for op in self._ops:
            if is_ours(op):
                yield from self._rest(pending, names)
                pending = []
                first, second = (one["%"] for one in op["I"])
                arrays = [pdiparams.read(self._params, self._stored[names[value]]) for value in lists[second]]
                engine = Engine(attribute(op["A"], "plan"), arrays, threads=self._threads)
                self.isa = engine.isa
                inputs = tuple(self._source(value) for value in lists.get(first, [first]))
                yield Step(inputs, tuple(one["%"] for one in op["O"]), _runner(engine))
            elif op["#"] not in _IDLE and not (op["#"] == "0.combine" and op["O"][0]["%"] in ours):
                if constant_of(op) is None:
                    pending.append({**op, "I": [{"%": self._source(one["%"])} for one in op["I"]]})
            self._follow(op)
        yield from self._rest(pending, names)

    def _rest(self, ops: Sequence[Op], names: Mapping[int, str]) -> Any:
        if not ops:
            return
        graph = OpGraph([[one["%"] for one in op["I"]] for op in ops], [[one["%"] for one in op["O"]] for op in ops])
        made = {value for each in graph.makes for value in each}
        read = dict.fromkeys(
            value for each in graph.reads for value in each if value not in made and value in self._types
        )
        known = {value: self._known[value] for value in read if value in self._known}
        known |= {
            value: pdiparams.read(self._params, self._stored[names[value]])
            for value in read
            if names.get(value) in self._stored
        }
        inputs = tuple(value for value in read if value not in known)
        kept = self._asked_elsewhere(ops)
        outputs = tuple(value for value in sorted(made) if value in kept and self._types[value]["#"] == "0.t_dtensor")
        model = to_onnx_model(ops, self._types, known, inputs, outputs)
        options = self._runtime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, self._threads
        try:
            session = self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of its own kinds
            raise ValueError(f"ONNX Runtime does not take the ops that are not ours: {error}") from error
        to = [f"v{value}" for value in outputs]

        def run(given: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            try:
                found: Sequence[np.ndarray] = session.run(to, dict(zip([f"v{value}" for value in inputs], given)))
            except Exception as error:
                raise ValueError(f"ONNX Runtime cannot run the ops that are not ours: {error}") from error
            return found

        yield Step(inputs, outputs, run)

    def _asked_elsewhere(self, ops: Sequence[Op]) -> set[int]:
        """Values that ops outside these read."""
        mine = {one["%"] for op in ops for one in op["O"]}
        others = [op for op in self._ops if not mine.intersection(one["%"] for one in _results(op))]
        return {self._source(one["%"]) for op in others for one in op.get("I", ())}


def _runner(engine: Engine) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
    return lambda given: engine.run(*given)


def _results(op: Op) -> list[Op]:
    found = op["O"]
    return [found] if isinstance(found, dict) else list(found)


def _onnxruntime(others: Sequence[str]) -> Any:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"the model was converted in parts, and Session needs onnx and onnxruntime for the rest of it "
            f"({', '.join(others)}): pip install 'paddle_unstructured[onnx]', or use create_predictor ({error})."
        ) from error
    del onnx
    return onnxruntime
