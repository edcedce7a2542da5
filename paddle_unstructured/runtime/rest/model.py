# SPDX-License-Identifier: Apache-2.0
"""Ops of a saved Program as one ONNX model: each is a node or a few, and one that no table has is refused by name."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from . import activations, boxes, choose, elementwise, move, normalize, reduce, resize, scatter, sizes, windows
from .builder import OPSET, Builder, Converter, Op, number

CONVERTERS: dict[str, Converter] = {
    **elementwise.CONVERTERS,
    **activations.CONVERTERS,
    **reduce.CONVERTERS,
    **move.CONVERTERS,
    **choose.CONVERTERS,
    **sizes.CONVERTERS,
    **scatter.CONVERTERS,
    **windows.CONVERTERS,
    **normalize.CONVERTERS,
    **resize.CONVERTERS,
    **boxes.CONVERTERS,
}


def to_onnx_model(
    ops: Sequence[Op],
    types: Mapping[int, Any],
    known: Mapping[int, np.ndarray],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> bytes:
    """An ONNX model of some ops, whose inputs and outputs are named v and the number of the value.

    Args:
        ops: ops, each behind those that it reads from.
        types: value -> its type, as the file holds it.
        known: value -> its numbers: parameters and constants.
        inputs: values that come from without.
        outputs: values that are returned.

    Raises:
        ValueError: An op is not in the tables; names it.
        ImportError: The package onnx is not there.
    """
    from onnx import helper, numpy_helper

    b = Builder(types, dict(known))
    for op in ops:
        kind = op["#"].split(".", 1)[-1].rstrip("_")
        if op["#"] == "0.combine":
            b.lists[op["O"][0]["%"]] = b.names(op)
        elif op["#"] == "0.split":
            for one, name in zip(op["O"], b.lists[op["I"][0]["%"]]):
                b.node("Identity", [name], [f"v{one['%']}"])
        elif kind not in CONVERTERS or not op["#"].startswith("1."):
            raise ValueError(f"Session cannot run {kind}, for which it has no ONNX node; use create_predictor.")
        else:
            try:
                CONVERTERS[kind](b, op)
            except ValueError as error:
                raise ValueError(f"Session cannot run {kind}: {error}; use create_predictor.") from None
    for value in outputs:
        b.name(value)

    def described(value: int) -> Any:
        dims = types[value]["D"][1]
        shape = [f"d{value}_{i}" if extent < 0 else extent for i, extent in enumerate(dims)]
        return helper.make_tensor_value_info(f"v{value}", number(b.dtype(value)), shape)

    free = [helper.make_tensor_value_info(f"v{value}", number(b.dtype(value)), None) for value in outputs]
    tensors = [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in b.constants.items()]
    graph = helper.make_graph(b.nodes, "rest", [described(value) for value in inputs], free, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())
