# SPDX-License-Identifier: Apache-2.0
"""Paddle's `rnn` op: LSTM, GRU and simple recurrent layers, several of them, in both directions."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ...graph.values import exists
from ..meet import constant_layer
from ..net import Layer
from ..reader import Reader, Results
from ..views import View, axis_of
from .common import Converter, Made, require
from .cut import chosen
from .join import joined

_MODES = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "tanh", "RNN_RELU": "relu"}
_END = 1 << 24


def _rnn(reader: Reader, op: Any) -> Made:
    """[steps, n, inputs] to the states of all steps [steps, n, directions * hidden], and the last ones."""
    attributes = op.attrs()
    mode, directions, count = attributes["mode"], 1 + attributes["is_bidirec"], attributes["num_layers"]
    require(mode in _MODES, f"the mode {mode} is not known")
    require(attributes.get("is_test") or not attributes["dropout_prob"], "it is in training mode")
    weights, states = reader.operand(op, 2), reader.operand(op, 1)
    assert isinstance(weights, tuple) and isinstance(states, tuple)
    source, length = reader.tokens(reader.view(op, 0), [-1]), _length(reader, op)
    wanted = _last_states_are_read(op)
    last: list[list[View]] = [[] for _ in states]
    for layer in range(count):
        made = []
        for direction in range(directions):
            which = layer * directions + direction
            biases = 2 * (count * directions + which)
            own = [np.asarray(weights[i], np.float64) for i in (2 * which, 2 * which + 1, biases, biases + 1)]
            name = reader.name(op, 2, 2 * which + 1)
            first = [layer for state in states for layer in _first(reader, state, which)]
            inputs = (_gates(source, own[0], own[2], reader.name(op, 2, 2 * which)), *first, *length)
            words: dict[str, int | str] = {
                "mode": _MODES[mode],
                "reverse": direction,
                "initial": int(bool(first)),
                "length": len(length),
                "states": int(wanted),
            }
            recurrent = Layer("recurrent", inputs, name, own[1][:, :, None, None], own[3], words=words)
            made.append(_steps(source, recurrent, own[1].shape[1], wanted))
            for i in range(len(states) if wanted else 0):
                last[i].append(_last(reader, recurrent, own[1].shape[1], i))
        source = joined(reader, made, 2)
    ends = tuple(joined(reader, each, 0) for each in last) if wanted else None
    return Results((source, None, ends, None))


def _length(reader: Reader, op: Any) -> tuple[Layer, ...]:
    """How many steps of each sample count, if the op is told."""
    if not exists(op.operand_source(3)):
        return ()
    if reader.is_constant(op, 3):
        count = np.unique(reader.constant(op, 3))
        require(len(count) == 1, "lengths that are constants, and differ, are not known")
        return (constant_layer(count, [1, 1, 1]),)
    return (reader.view(op, 3).layer,)


def _last_states_are_read(op: Any) -> bool:
    parts = [part for user in op.result(2).all_used_ops() for part in user.results()]
    return any(part.all_used_ops() for part in parts)


def _first(reader: Reader, state: Any, which: int) -> Sequence[Layer]:
    """The first state of a layer in one direction; nothing if it is zero."""
    if isinstance(state, np.ndarray):
        require(not state.any(), "first states that are constants other than zero are not known")
        return ()
    one = chosen(reader, state, 0, which)
    return (reader.arranged(one, channels=one.axes[-1], pixels=()).layer,)


def _gates(source: View, weight: np.ndarray, bias: np.ndarray, name: str) -> Layer:
    """What the inputs add to the gates: a 1x1 convolution over the sequence."""
    return Layer("conv", (source.layer,), name, weight[:, :, None, None], bias)


def _steps(source: View, recurrent: Layer, hidden: int, with_last: bool) -> View:
    """The states of all steps."""
    channels = axis_of(hidden)
    axes = (*source.axes[:2], channels)
    if not with_last:
        return View(recurrent, axes, channels, source.height, source.width)
    own: dict[str, int | str] = {"axis": "channels", "start": 0, "step": 1, "count": hidden}
    before: dict[str, int | str] = {"axis": "width", "start": 0, "step": 1, "stop": -1}
    layer = Layer("slice", (Layer("slice", (recurrent,), words=own),), words=before)
    return View(layer, axes, channels, (), source.pixels)


def _last(reader: Reader, recurrent: Layer, hidden: int, which: int) -> View:
    """The last state, h (0) or c (1), as [1, n, hidden]."""
    own: dict[str, int | str] = {"axis": "channels", "start": which * hidden, "step": 1, "count": hidden}
    after: dict[str, int | str] = {"axis": "width", "start": -1, "step": 1, "stop": _END}
    layer = Layer("slice", (Layer("slice", (recurrent,), words=own),), words=after)
    channels = axis_of(hidden)
    return View(layer, ((), (reader.batch,), channels), channels)


OPS: dict[str, Converter] = {"rnn": _rnn}
