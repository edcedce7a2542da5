# SPDX-License-Identifier: Apache-2.0
"""Matrices on tiles (AMX): permission, state, forks, threads; blocks that they want, sums that join them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from any_layer import CONVOLUTION
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_plans import (
    ISAS_INT8,
    UNIT,
    makes_the_same_in_a_fork,
    net,
    pick_bytes,
    pick_weight8,
    pick_weights,
    require_equal,
    run,
)

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import Int8Weight
from paddle_unstructured.runtime.plan import Window, one_image

needs_amx = pytest.mark.skipif("amx" not in ISAS_INT8, reason="this processor has no AMX")
SAME = Window((3, 3), pad=(1, 1, 1, 1))

quantizers = st.builds(
    lambda scale, zero: Quantizer(float(np.float32(scale)), zero),
    st.floats(1e-3, 10),
    st.sampled_from([0, 1, 77, 128, 255]),
)


def layers_on_tiles(random):
    """Dense and in blocks of 16 outputs, 1x1 and 3x3; large enough that they are chosen."""
    writer = one_image(256)
    write, to = Int8Writer(writer), Quantizer(1.0, 100)
    value = write.quantize(0, UNIT)
    for block, window in ((0, Window()), (16, Window()), (0, SAME), (16, SAME)):
        values = pick_weights(random, 256, 256, *window.kernel, sparsity=0.75 * (block > 0), block=max(block, 1))
        value = write.convolution(value, pick_weight8(random, values, UNIT, 1.0), window, to, block=block)
    writer.output(write.dequantize(value), rank=4)
    return writer


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    source=quantizers,
    other=quantizers,
    to=quantizers,
    act=st.sampled_from(["none", "relu", "hard_swish"]),
    **CONVOLUTION,
)
def test_a_sum_joins_a_convolution(
    window, inputs, outputs, height, width, batch, threads, block, sparsity, source, other, to, act, seed
):
    height, width = max(height, 7), max(width, 7)
    random, writer = np.random.default_rng(seed), one_image(inputs)
    write = Int8Writer(writer)
    window = Window(window.kernel, window.stride, tuple(p % window.kernel[0] for p in window.pad))

    def weight(kind, step):
        values = pick_weights(
            random, outputs, inputs, *window.kernel, sparsity=sparsity, block=max(block, 1), kind=kind
        )
        return pick_weight8(random, values, source, step)

    x = write.quantize(0, source)
    added = write.convolution(x, weight("any", other.scale), window, other)
    made = write.convolution(x, weight("any", to.scale), window, to, block=block, act=act, added=added)
    writer.output(write.dequantize(made), rank=4)
    x = source.scale * (pick_bytes(random, batch, inputs, height, width) - source.zero)
    require_equal(writer, x.astype("float32"), threads)


def test_a_sum_is_rounded_once():
    """Written out: 3 * 0.4667 + 8 * 0.4 is 4.6. Were 1.4 rounded first, 1 + 3.2 would make 4."""
    one = pick_weights(np.random.default_rng(0), 1, 1, 1, 1, kind="high")
    weight = pick_weight8(np.random.default_rng(0), one, UNIT, 1.0)
    weight.scale[:], weight.bias[:] = 1.4 / 3 / 127, 0
    writer = one_image(1)
    write = Int8Writer(writer)
    value = write.convolution(
        write.quantize(0, UNIT), weight, Window(), UNIT, added=write.quantize(0, Quantizer(0.4, 0))
    )
    writer.output(write.dequantize(value), rank=4)
    assert require_equal(writer, np.array([[[[3.0]]]], "float32"))[0].item() == 5


def test_a_sum_needs_bytes_and_equal_sizes():
    writer = net(lambda w, v: w.convolution(v, pick_weight8(*ones()), Window(), None, added=v), 1)
    with pytest.raises(ValueError, match="adds to float32"):
        Engine(writer.text, writer.arrays)
    window = Window((1, 1), (2, 2))
    writer = net(lambda w, v: w.convolution(v, pick_weight8(*ones()), window, UNIT, added=v), 1)
    with pytest.raises(ValueError, match="different sizes"):
        run(writer, np.zeros((1, 1, 4, 4), "float32"))


@pytest.mark.parametrize("block", [0, 1, 16])
def test_what_is_added_may_be_larger_than_any_sum(block):
    """A step of it is 10^9 of the output's: what no int32 holds saturates; at its zero the sum stands alone."""
    random, writer = np.random.default_rng(0), one_image(32)
    write = Int8Writer(writer)
    weight = pick_weight8(random, pick_weights(random, 32, 32, 1, 1, block=max(block, 1)), UNIT, 1.0)
    source, added = write.quantize(0, UNIT), write.quantize(0, Quantizer(1e9, 7))
    made = write.convolution(source, weight, Window(), Quantizer(1.0, 100), block=block, added=added)
    writer.output(write.dequantize(made), rank=4)
    x = pick_bytes(random, 1, 32, 5, 7)
    far = random.random(x.shape) < 0.5
    x[far] = random.choice(np.float32([-7e9, -2e9, 2e9, 2e11]), far.sum())
    (want,) = require_equal(writer, x)
    assert set(np.unique(want)) > {-100.0, 155.0}


@pytest.mark.parametrize("block", [0, 16])
def test_more_panel_rows_than_16_bits_count(block):
    inputs, one = 4 * 65536 + 35, Quantizer(1.0, 0)
    values, x = np.zeros((16, inputs, 1, 1), "int8"), np.ones((1, inputs, 1, 2), "float32")
    values[:, -1], values[:, 3], x[0, -1] = 2, 1, 8
    weight = Int8Weight(values, np.ones(16, "float32"), np.zeros(16, "float32"))
    writer = net(lambda w, v: w.convolution(v, weight, Window(), one, block=block), inputs)
    for isa in ISAS_INT8:
        np.testing.assert_array_equal(run(writer, x, isa=isa)[0], np.full((1, 16, 1, 2), 17.0), err_msg=isa)


def ones():
    random = np.random.default_rng(0)
    return random, pick_weights(random, 1, 1, 1, 1, kind="high"), UNIT, 1.0


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (9, 33), (1, 1)])
def test_layers_that_run_on_tiles(size):
    random = np.random.default_rng(5)
    require_equal(layers_on_tiles(random), pick_bytes(random, 2, 256, *size), 2)


@needs_amx
def test_amx_is_the_first_choice_and_may_be_left_out(monkeypatch):
    writer = layers_on_tiles(np.random.default_rng(0))
    assert Engine(writer.text, writer.arrays).isa_int8 == "amx"
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", "avx2")
    assert Engine(writer.text, writer.arrays).isa_int8 in ("avx_vnni", "avx2")


# A thread whose stack for signals is too small for the tiles: the system refuses them to the whole process.
REFUSED = """
import ctypes, sys
class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(6000)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 6000)), None) == 0
sys.path.insert(0, {tests!r})
sys.path.insert(0, {here!r})
from test_int8_tiles import layers_on_tiles, np, Engine, pick_bytes
random = np.random.default_rng(5)
writer = layers_on_tiles(random)
engine = Engine(writer.text, writer.arrays)
print(engine.isa_int8, engine.run(pick_bytes(random, 1, 256, 6, 6))[0].sum())
"""


@needs_amx
def test_a_refused_permission_falls_back_to_vectors():
    here = os.path.dirname(os.path.abspath(__file__))
    script = REFUSED.format(here=here, tests=os.path.dirname(os.path.dirname(here)))
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True
    ).stdout
    isa, total = said.split()
    random = np.random.default_rng(5)
    writer = layers_on_tiles(random)
    assert isa == "avx512_vbmi" and float(total) == run(writer, pick_bytes(random, 1, 256, 6, 6))[0].sum()


@needs_amx
def test_a_fork_and_threads_of_the_caller_run_on_tiles():
    random = np.random.default_rng(5)
    writer, x = layers_on_tiles(random), pick_bytes(random, 2, 256, 9, 9)
    engine = Engine(writer.text, writer.arrays, threads=2)
    want = engine.run(x)[0]
    assert makes_the_same_in_a_fork(engine, x, want)
    wrong = []

    def work():
        for _ in range(5):
            if not (engine.run(x)[0] == want).all():
                wrong.append(1)

    callers = [threading.Thread(target=work) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
