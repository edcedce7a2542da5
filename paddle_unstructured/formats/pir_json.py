# SPDX-License-Identifier: Apache-2.0
"""Paddle's `.json` Programs, as far as files can be understood without Paddle: their ops, and what ops say."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any, Iterable, Iterator, Mapping

from .atomic import check_readable


def read_program(file: str) -> dict[str, Any]:
    """The content of a `.json` file as `save_inference_model` of Paddle 3 writes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no Program of Paddle 3.
    """
    check_readable(file)
    with open(file, "rb") as stream:
        text = stream.read()
    with understood(file):
        content: dict[str, Any] = json.loads(text)
        list(ops_of(content))
    return content


@contextmanager
def understood(file: str) -> Iterator[None]:
    """What is read of a Program's content in this block is there, or ValueError says that `file` is no Program."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} must be a Program as save_inference_model of Paddle 3 writes it, but cannot be "
            f"read as one: {error!r}."
        ) from error


def ops_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The ops of a Program's outermost block, each as Paddle writes it: "#" its kind, "I", "O", "A" its attributes."""
    ops: list[dict[str, Any]] = content["program"]["regions"][0]["blocks"][0]["ops"]
    return ops


def all_ops(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The ops of all blocks, those of branches and loops after the op that holds them."""
    pending = list(ops_of(content))
    while pending:
        op = pending.pop(0)
        yield op
        blocks = [block for region in op.get("regions", []) for block in region.get("blocks", [])]
        pending[:0] = [inner for block in blocks for inner in block["ops"]]


def reads_of(content: dict[str, Any]) -> list[tuple[str, list[int]]]:
    """For each op of all blocks its kind, without its dialect and "_", and the values that it reads."""
    return [
        (op["#"].split(".")[-1].rstrip("_"), [one["%"] for one in op.get("I", ()) if one["%"]])
        for op in all_ops(content)
    ]


def ranks_of(content: dict[str, Any]) -> Iterator[int]:
    """How many axes each tensor has that the ops of all blocks make."""
    for op in all_ops(content):
        made = [op["O"]] if isinstance(op["O"], dict) else op["O"]
        yield from (len(one["TT"]["D"][1]) for one in made if one.get("TT", {}).get("#") == "0.t_dtensor")


def norms_of(content: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """The first axis that each layer norm of all blocks normalizes, and how many axes its numbers have."""
    for op in all_ops(content):
        if op["#"].endswith(".layer_norm"):
            yield attribute(op["A"], "begin_norm_axis"), len(op["O"][0]["TT"]["D"][1])


def share_params(content: dict[str, Any]) -> bool:
    """Let one op stand for each parameter, in place; whether there was one with two.

    Two recurrent layers declare one variable twice, and Paddle's Predictor, which reads a tensor for each declaration,
    then finds too few in the `.pdiparams` that Paddle itself has saved.
    """
    ops, same = ops_of(content), {}
    first: dict[str, Any] = {}
    for op in ops:
        name = param_name(op)
        if name is not None:
            kept = first.setdefault(name, op["O"])
            if kept is not op["O"] and kept["TT"] == op["O"]["TT"]:
                same[op["O"]["%"]] = kept["%"]
    for op in all_ops(content) if same else ():
        for operand in [] if param_name(op) is not None else op["I"]:
            operand["%"] = same.get(operand["%"], operand["%"])
    ops[:] = [op for op in ops if param_name(op) is None or op["O"]["%"] not in same]
    return bool(same)


def param_name(op: dict[str, Any]) -> str | None:
    """The name of the parameter that an op stands for; None of any other op."""
    return op["A"][3] if op["#"] == "p" else None


def attribute(attributes: Iterable[dict[str, Any]], name: str) -> Any:
    """The value of an attribute, out of the "A" or "OA" of an op; None if it is not there."""
    return next((held(one["AT"]) for one in attributes if one["N"] == name), None)


def held(value: Mapping[str, Any]) -> Any:
    """What a written value holds: Paddle puts infinities and NaN, which JSON has not, as words under another name."""
    return float(value["VD"]) if "VD" in value else value["D"]
