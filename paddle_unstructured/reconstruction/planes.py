# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions of small images as products of matrices, which Paddle differentiates many times faster."""

from __future__ import annotations

from math import prod
from typing import Any, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..graph import PirGraph
from ..graph.values import channel_axis
from .layers import SolvableLayer, solvable
from .segments import GIVEN

LARGEST = 40_000  # pixels of an image times those that come of it: beyond 14 x 14 and as many it takes longer
_ROOM = 2_500_000  # numbers that the matrices of a layer may have


def pairs(layer: SolvableLayer) -> int | None:
    """Pixels of an input image times those of the output, of a depthwise layer that can be a product; or None."""
    op, groups = layer.op, layer.param.groups
    if not layer.is_conv or layer.is_transposed or groups == 1 or channel_axis(op, layer.input) != 1:
        return None
    shape, result = layer.input.shape, op.result(0).shape
    count = prod(shape[2:]) * prod(result[2:])
    small = len(shape) == 4 and min(*shape[2:], *result[2:]) > 0 and count <= min(LARGEST, _ROOM // groups)
    return count if small and shape[1] == result[1] == groups else None


def to_products(graph: PirGraph, *, keep: Sequence[Any] = ()) -> dict[str, np.ndarray]:
    """Replace depthwise convolutions of small images.

    With x_c [n, p] the pixels of channel c and w_c [k] its weights,

        y_c = x_c T_c,    T_c = sum_k w_ck S_k

    where S_k [p, o] is 1 where the k-th weight takes pixel p to o. At 14 x 14 pixels a step of gradients takes a half
    to a quarter of the time, at 4 x 4 a tenth or less: Paddle goes image by image and channel by channel.

    Args:
        graph: of an inference Program, which is changed.
        keep: values of it that are used later, and so must stay.

    Returns:
        What is to be fed besides, by name: S as [k, p o].
    """
    block, kept, tables = graph.program.global_block(), {value.id for value in keep}, dict[str, np.ndarray]()
    for param in graph.params():
        layer = solvable(graph, param, shared=True)
        for one in (layer, *layer.also) if isinstance(layer, SolvableLayer) else ():
            if pairs(one) is None or one.op.result(0).id in kept:
                continue
            name, table = f"{GIVEN}table{len(tables)}", _table(one)
            x, weight, y, channels = one.input, one.op.operand_source(1), one.op.result(0), param.groups
            with paddle.static.program_guard(graph.program):
                pir.set_insertion_point(one.op)
                given = paddle.static.data(name, list(table.shape), "float32")
                steps = paddle.matmul(weight.reshape([channels, -1]), given.astype(weight.dtype))
                steps = steps.reshape([channels, prod(x.shape[2:]), -1])
                rows = x.reshape([0, channels, -1]).transpose([1, 0, 2])
                made = paddle.matmul(rows, steps).transpose([1, 0, 2]).reshape([0, channels, *y.shape[2:]])
                pir.reset_insertion_point_to_end()
            y.replace_all_uses_with(made)
            block.remove_op(one.op)
            tables[name] = table
    return tables


def _table(layer: SolvableLayer) -> np.ndarray:
    """S: a picture of the numbers of its pixels says which of them each output reads."""
    shape = (1, layer.param.groups, *layer.input.shape[2:])
    outputs = prod(layer.output_size(shape))
    numbers = np.broadcast_to(np.arange(1, prod(shape[2:]) + 1.0).reshape(1, 1, *shape[2:]), shape)
    read = layer.rows(numbers, np.arange(outputs)[None])[0].T.astype(int)  # [k, o], 0: of the padding
    table = np.zeros((len(read), prod(shape[2:]) + 1, outputs), np.float32)
    np.put_along_axis(table, read[:, None], 1.0, 1)
    return np.ascontiguousarray(table[:, 1:]).reshape(len(read), -1)
