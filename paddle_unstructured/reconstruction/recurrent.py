# SPDX-License-Identifier: Apache-2.0
"""What each weight of a recurrent layer reads: its steps, gone through once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping

import numpy as np

from ..graph import Param, PirGraph
from ..graph.splice import is_variable, variable_name
from ..graph.values import exists, forward_uses, kind_of
from .layers import SolvableLayer

Weights = Callable[[str], np.ndarray]  # name -> array
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_MADE = ("full", "full_with_tensor", "full_batch_size_like", "full_like")


@dataclass(frozen=True, eq=False)
class RecurrentLayer(SolvableLayer):
    """One weight of an `rnn` op: what multiplies its inputs or, of a state, what multiplies the state before.

    Each step is to give what it gives in the dense net, where it reads that net's states: a state that has gone astray
    is not what a step by itself can make up for.

    Attributes:
        layer: of those that lie upon each other in the op.
        backwards: whether it goes through the steps from the last to the first.
        of_state: whether it multiplies the state.
    """

    layer: int = 0
    backwards: bool = False
    of_state: bool = False

    @property
    def turn(self) -> int:
        return 2 * self.layer + self.of_state

    def reads(self, live: Mapping[str, np.ndarray], weights: Weights, dense: Weights) -> np.ndarray:
        """Rows [1, rows, inputs] in a net of these weights, with the dense ones for what is found in this turn."""
        x = np.asarray(live[self.input.id], np.float32)  # [steps, n, inputs]
        lengths = self.op.operand_source(3)
        count = live.get(lengths.id) if exists(lengths) else None
        lasts = np.ones(x.shape[:2], bool) if count is None else np.arange(len(x))[:, None] < np.ravel(count)
        both = (False, True) if self.op.attrs()["is_bidirec"] else (False,)
        for layer in range(self.layer):
            x = np.concatenate([self._run(x, lasts, layer, way, weights, weights)[1] for way in both], -1)
        if self.of_state:
            x = self._run(x, lasts, self.layer, self.backwards, weights, dense)[0]
        return np.ascontiguousarray(x[lasts][None])

    def _run(
        self, x: np.ndarray, lasts: np.ndarray, layer: int, backwards: bool, weights: Weights, of_state: Weights
    ) -> tuple[np.ndarray, np.ndarray]:
        """The states that steps read, and those that they give; 0 where a sample has ended."""
        attrs = self.op.attrs()
        names = parts(self.op)
        which, half = layer * (1 + attrs["is_bidirec"]) + backwards, len(names) // 2
        w, r = weights(names[2 * which]), of_state(names[2 * which + 1])
        b, c = weights(names[half + 2 * which]), weights(names[half + 2 * which + 1])
        given = x @ w.T + b  # [steps, n, gates * hidden]
        h = cell = np.zeros((x.shape[1], r.shape[1]), np.float32)
        before, after = (np.zeros((*x.shape[:2], r.shape[1]), np.float32) for _ in range(2))
        for t in range(len(x))[:: -1 if backwards else 1]:
            before[t] = h
            new, own = _STEPS[attrs["mode"]](given[t], h @ r.T + c, h, cell)
            on = lasts[t][:, None]
            h, cell = np.where(on, new, h), np.where(on, own, cell)
            after[t] = np.where(on, h, 0.0)
        return before, after


def recurrent(graph: PirGraph, param: Param) -> RecurrentLayer | str:
    """The place of a param in an `rnn` op, or why it is left as its scores left it."""
    value = graph.persistable(param.name)
    lists = [op for op in forward_uses(value) if kind_of(op) == "combine"]
    ops = [op for each in lists for op in forward_uses(each.result(0)) if kind_of(op) != "coalesce_tensor"]
    if len(ops) != 1 or any(kind_of(op) != "combine" for op in forward_uses(value)):
        return "several ops read it"
    op = ops[0]
    if kind_of(op) != "rnn" or graph.is_inner(op):
        return f"{op.name()} is not solved for" if kind_of(op) != "rnn" else "it is read inside a branch or a loop"
    attrs, names = op.attrs(), parts(op)
    ways = 1 + attrs["is_bidirec"]
    if attrs["mode"] not in _GATES or len(names) != 4 * attrs["num_layers"] * ways or "" in names:
        return f"{op.name()} reads it in a way that is not followed"
    if not all(_is_zero(state) for state in op.operand_source(1).get_defining_op().operands_source()):
        return "its first state is given, and it is not followed from there"
    place = names.index(param.name)
    which, half = place // 2, len(names) // 2
    bias = names[half + place]
    single = len(forward_uses(graph.persistable(bias))) == len(lists)
    sink = bias if single else None
    return RecurrentLayer(param, op, sink, 1, (), which // ways, bool(which % ways), bool(place % 2))


def parts(op: Any) -> list[str]:
    """Names of its weights, then of its biases, two by two: of inputs, of states."""
    values = op.operand_source(2).get_defining_op().operands_source()
    return [variable_name(v.get_defining_op()) if is_variable(v.get_defining_op()) else "" for v in values]


def _is_zero(value: Any) -> bool:
    op = value.get_defining_op()
    if op is None or kind_of(op) not in _MADE:
        return False
    found = op.attrs().get("value")
    return found == 0 if found is not None else op.num_operands() > 0 and _is_zero(op.operand_source(0))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.5 + 0.5 * np.tanh(0.5 * x)
    return found


def _lstm(x: np.ndarray, r: np.ndarray, h: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(x + r, 4, -1)
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(cell), cell


def _gru(x: np.ndarray, r: np.ndarray, h: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (x0, x1, x2), (r0, r1, r2) = np.split(x, 3, -1), np.split(r, 3, -1)
    z, new = _sigmoid(x1 + r1), np.tanh(x2 + _sigmoid(x0 + r0) * r2)
    return z * h + (1.0 - z) * new, cell


_STEPS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": lambda x, r, h, cell: (np.tanh(x + r), cell),
    "RNN_RELU": lambda x, r, h, cell: (np.maximum(x + r, 0.0), cell),
}
