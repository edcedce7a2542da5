# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and simple recurrent layers of the engine against a loop over steps in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_nets import ISAS, blocks_of_zeros, relative_error

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window, one_image

RANDOM = np.random.default_rng(0)
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
PLAIN = {**Window().words, "linear": 1}


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def vector(writer, values):
    return writer.add("constant", [0], channels=len(values), height=1, width=1, params=writer.keep(values))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def steps(mode, x, weight, bias, h, c, length, reverse):
    """x [gates, steps] to the states of all steps [hidden, steps], and the last ones."""
    made = np.zeros((len(h), x.shape[1]))
    for t in reversed(range(length)) if reverse else range(length):
        product = weight @ h + bias
        if mode == "gru":
            xr, xz, xn = np.split(x[:, t], 3)
            r, z, n = np.split(product, 3)
            candidate = np.tanh(xn + sigmoid(xr + r) * n)
            h = (h - candidate) * sigmoid(xz + z) + candidate
        elif mode == "lstm":
            i, f, g, o = np.split(x[:, t] + product, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            h = np.tanh(x[:, t] + product) if mode == "tanh" else np.maximum(x[:, t] + product, 0)
        made[:, t] = h
    return made, h, c


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    isa=st.sampled_from(ISAS),
    mode=st.sampled_from(sorted(GATES)),
    hidden=st.integers(1, 40),
    count=st.sampled_from([1, 2, 15, 16, 17, 40]),
    block=st.sampled_from([0, 1, 2, 4]),
    reverse=st.booleans(),
    initial=st.booleans(),
    length=st.sampled_from([None, 0, 1, 9, 99]),
    states=st.booleans(),
    threads=st.integers(1, 3),
)
def test_recurrent_layers_equal_a_loop(isa, mode, hidden, count, block, reverse, initial, length, states, threads):
    gates = GATES[mode] * hidden
    weight, bias = blocks_of_zeros(RANDOM, normal(gates, hidden), 0.6, max(block, 1)) / hidden**0.5, normal(gates)
    x, h, c = normal(2, gates, 1, count), normal(hidden) * initial, normal(hidden) * initial
    writer = one_image(gates)
    inputs = [0]
    if initial:
        inputs += [vector(writer, h), vector(writer, c)] if mode == "lstm" else [vector(writer, h)]
    if length is not None:
        inputs.append(vector(writer, np.array([float(length)])))
    words = {"mode": mode, "reverse": int(reverse), "initial": int(initial), "length": int(length is not None)}
    words["states"] = int(states)
    writer.output(writer.recurrent(inputs, weight, bias, block=block, **words), rank=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA", isa)
        got = Engine(writer.text, writer.arrays, threads=threads).run(x)[0]
    valid = count if length is None else min(length, count)
    for sample, made in zip(x[:, :, 0].astype("float64"), got[:, :, 0]):
        expected, last, cell = steps(mode, sample, weight.astype("float64"), bias, h, c, valid, reverse)
        if states:
            assert np.abs(made[:hidden, -1] - last).max() < 1e-5 * max(1, np.abs(last).max())
            if mode == "lstm":
                assert relative_error(made[hidden:, -1], cell) < 1e-5 or np.abs(cell).max() == 0
            made = made[:hidden, :-1]
        assert np.abs(made - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(
    "bad", [{"mode": "rnn"}, {"out": 7}, {"in": 3}, {"reverse": 2}, {"initial": 1}, {"length": 1}, {"stride": "2,2"}]
)
def test_bad_words_are_refused_at_load(bad):
    writer = one_image(8)
    line = {"mode": "lstm", **PLAIN, "weights": "dense", "params": writer.keep(normal(8, 2), normal(8))}
    writer.output(writer.add("recurrent", [0], **{"in": 2, "out": 8, **line, **bad}), rank=4)
    with pytest.raises(ValueError, match="damaged"):
        Engine(writer.text, writer.arrays)
