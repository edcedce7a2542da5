# SPDX-License-Identifier: Apache-2.0
"""A converted model where the operator cannot be compiled: the file that Paddle would write, written by hand.

What Paddle spells its own way, the input and the outputs, is taken from the dense model as this Paddle saves it.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from typing import Any, Iterator, Sequence

import numpy as np

from ..formats import pdiparams
from ..formats.pir_json import attribute, ops_of, read_program
from ..saved_model import Model, drafts, save_model

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
    with tempfile.TemporaryDirectory() as folder:
        save_model(like, os.path.join(folder, "dense"))
        content = read_program(os.path.join(folder, "dense.json"))
    ops = ops_of(content)
    feeds = {attribute(op["A"], "name"): op for op in ops if op["#"] == "1.data"}
    fetches = [op for op in ops if op["#"] == "1.fetch"]
    content["program"]["regions"][0]["blocks"][0]["ops"] = _ops(
        name, plan, dict(zip(names, arrays)), [feeds[x] for x in like.feeds], fetches
    )
    with drafts(path) as draft:
        with open(draft + ".json", "w", encoding="utf-8") as stream:
            json.dump(content, stream, separators=(",", ":"))
        with open(draft + ".pdiparams", "wb") as file:
            params = dict(zip(names, arrays))
            for each in sorted(params):
                pdiparams.write(file, params[each].dtype.name, params[each])


def _ops(
    name: str, plan: str, params: dict[str, np.ndarray], feeds: list[dict[str, Any]], fetches: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """In the order in which each finds its operands: parameters, inputs, their lists, the operator, outputs."""
    numbers = itertools.count(1)
    given: list[dict[str, Any]] = [
        {"#": "p", "A": [0, 1, 1, each], "DA": [], "O": _value(numbers, _type(array)), "OA": [1, 1, 1], "QA": []}
        for each, array in params.items()
    ]
    feeds = [{**x, "O": [_value(numbers, x["O"][0]["TT"])]} for x in feeds]
    inputs = _list(numbers, [x["O"][0] for x in feeds])
    listed = _list(numbers, [op["O"] for op in given])
    words = [
        {"AT": {"#": "0.a_i32", "D": 0}, "N": "threads"},
        {"AT": {"#": "0.a_str", "D": plan}, "N": "plan"},
    ]
    outputs = [_value(numbers, op["O"][0]["TT"]) for op in fetches]
    net = _op(_CUSTOM_OP + name, words, [inputs["O"][0], listed["O"][0]], outputs)
    returned = [
        {**op, "I": [{"%": output["%"]}], "O": [_value(numbers, output["TT"])], "OA": _constant(op["OA"], 1)}
        for op, output in zip(fetches, outputs)
    ]
    return [*given, *feeds, inputs, listed, net, *returned]


def _list(numbers: Iterator[int], values: list[dict[str, Any]]) -> dict[str, Any]:
    return _op("0.combine", [], values, [_value(numbers, {"#": "0.t_vec", "D": [each["TT"] for each in values]})])


def _op(kind: str, words: list[Any], operands: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
    operands = [{"%": value["%"]} for value in operands]
    return {"#": kind, "A": words, "I": operands, "O": results, "OA": _constant([], len(results))}


def _constant(words: list[dict[str, Any]], results: int) -> list[dict[str, Any]]:
    """What is said of an op's results, and that no gradient flows through them: nothing here is trained."""
    true = {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}] * results}
    return [*(word for word in words if word["N"] != "stop_gradient"), {"AT": true, "N": "stop_gradient"}]


def _value(numbers: Iterator[int], type_: Any) -> dict[str, Any]:
    return {"%": next(numbers), "TT": type_}


def _type(array: np.ndarray) -> dict[str, Any]:
    word = f"0.t_{pdiparams.DTYPES[array.dtype.name].word}"
    return {"#": "0.t_dtensor", "D": [{"#": word}, list(array.shape), "NCHW", [], 0]}
