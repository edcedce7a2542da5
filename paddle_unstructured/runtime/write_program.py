# SPDX-License-Identifier: Apache-2.0
"""A converted model where the operator cannot be compiled: the file that Paddle would write, written by hand.

What Paddle spells its own way, the input and the outputs, is taken from the dense model as this Paddle saves it.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import Any, Dict, Iterator, Mapping, Sequence

import numpy as np

from ..formats import pdiparams
from ..formats.pir_json import attribute, ops_of, read_program
from ..formats.scratch import scratch
from ..saved_model import Model, drafts, save_model

Op = Dict[str, Any]  # an op, or a value: as the file holds them
_CUSTOM_OP = "3."  # the dialect of operators that are registered at run time


def write_program(
    name: str, plan: str, names: Sequence[str], arrays: Sequence[np.ndarray], like: Model, path: str
) -> None:
    """Write a Program that is nothing but one operator, `path`.json, and its parameters, `path`.pdiparams.

    Args:
        name: the operator, as it is registered.
        plan: what it runs.
        names: of its parameters, in the order in which the plan numbers them.
        arrays: the parameters.
        like: the model whose feed it takes and whose fetches it returns.
        path: the prefix of the files.
    """
    with scratch() as folder:
        save_model(like, os.path.join(folder, "dense"))
        content = read_program(os.path.join(folder, "dense.json"))
    ops = ops_of(content)
    feeds = {attribute(op["A"], "name"): op for op in ops if op["#"] == "1.data"}
    fetches = [op for op in ops if op["#"] == "1.fetch"]
    content["program"]["regions"][0]["blocks"][0]["ops"] = _ops(
        name, plan, dict(zip(names, arrays)), [feeds[x] for x in like.feeds], fetches
    )
    with drafts(path) as draft:
        write_files(draft, content, {name: (array.dtype.name, array) for name, array in zip(names, arrays)})


def write_files(draft: str, content: dict[str, Any], params: Mapping[str, tuple[str, np.ndarray]]) -> None:
    """Write a Program's content and its parameters, name -> dtype and array, under a prefix."""
    with open(draft + ".json", "w", encoding="utf-8") as stream:
        json.dump(content, stream, separators=(",", ":"))
    with open(draft + ".pdiparams", "wb") as file:
        for name in sorted(params):
            pdiparams.write(file, *params[name])


def _ops(
    name: str, plan: str, params: dict[str, np.ndarray], feeds: list[dict[str, Any]], fetches: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """In the order in which each finds its operands: parameters, inputs, their lists, the operator, outputs."""
    numbers = itertools.count(1)
    given = parameters(numbers, params)
    feeds = [{**x, "O": [value(numbers, x["O"][0]["TT"])]} for x in feeds]
    inputs = listed(numbers, [x["O"][0] for x in feeds])
    params_list = listed(numbers, [op["O"] for op in given])
    outputs = [value(numbers, op["O"][0]["TT"]) for op in fetches]
    net = operator(name, plan, [inputs["O"][0], params_list["O"][0]], outputs)
    returned = [
        {**op, "I": [{"%": output["%"]}], "O": [value(numbers, output["TT"])], "OA": constant(op["OA"], 1)}
        for op, output in zip(fetches, outputs)
    ]
    return [*given, *feeds, inputs, params_list, net, *returned]


def parameters(numbers: Iterator[int], params: Mapping[str, np.ndarray]) -> list[Op]:
    """The ops that stand for some parameters."""
    return [
        {"#": "p", "A": [0, 1, 1, each], "DA": [], "O": value(numbers, type_of(array)), "OA": [1, 1, 1], "QA": []}
        for each, array in params.items()
    ]


def operator(name: str, plan: str, operands: list[Op], results: list[Op]) -> Op:
    """One of our operators; the operands are its list of inputs and that of its parameters."""
    words = [
        {"AT": {"#": "0.a_i32", "D": 0}, "N": "threads"},
        {"AT": {"#": "0.a_str", "D": plan}, "N": "plan"},
    ]
    return op_of(_CUSTOM_OP + name, words, operands, results)


def listed(numbers: Iterator[int], values: list[dict[str, Any]]) -> dict[str, Any]:
    return op_of("0.combine", [], values, [value(numbers, {"#": "0.t_vec", "D": [each["TT"] for each in values]})])


def op_of(kind: str, words: list[Any], operands: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
    operands = [{"%": value["%"]} for value in operands]
    return {"#": kind, "A": words, "I": operands, "O": results, "OA": constant([], len(results))}


def constant(words: list[dict[str, Any]], results: int) -> list[dict[str, Any]]:
    """What is said of an op's results, and that no gradient flows through them: nothing here is trained."""
    true = {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}] * results}
    return [*(word for word in words if word["N"] != "stop_gradient"), {"AT": true, "N": "stop_gradient"}]


def value(numbers: Iterator[int], type_: Any) -> dict[str, Any]:
    return {"%": next(numbers), "TT": type_}


def type_of(array: np.ndarray) -> dict[str, Any]:
    word = f"0.t_{pdiparams.DTYPES[array.dtype.name].word}"
    return {"#": "0.t_dtensor", "D": [{"#": word}, list(array.shape), "NCHW", [], 0]}
