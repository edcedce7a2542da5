# SPDX-License-Identifier: Apache-2.0
"""Convolutions in bfloat16: every instruction set makes the bits of the reference."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from any_layer import CONVOLUTION, at_least
from bf16_plans import ISAS, changed, in_blocks, layer, require_equal, run
from bf16_reference import convolution
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_plans import makes_the_same_in_a_fork

from paddle_unstructured.runtime.bf16.numbers import rounded, widened
from paddle_unstructured.runtime.bf16.plan_lines import Bf16Writer
from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.plan import Window, one_image

needs_amx = pytest.mark.skipif("amx_bf16" not in ISAS, reason="this processor has no tiles of bfloat16")
SAME = Window((3, 3), pad=(1, 1, 1, 1))


def test_a_product_is_what_the_formula_says():
    """Written out: the 32 inputs of one product, even ones and odd ones apart."""
    x = np.array([2.0**24, 1, 1, -(2.0**24), *[0] * 28], "float32")
    weight = np.ones((1, 32, 1, 1), "float32")
    # even: 2^24 + 1 is 2^24; odd: 1 - 2^24; together 1. In one go it would be 2, or 0
    got = run(layer(weight, np.zeros(1, "float32"), Window()), np.tile(x.reshape(1, 32, 1, 1), (1, 1, 1, 2)))
    assert got.tolist() == [[[[1.0, 1.0]]]]


def rounded_and_widened(x, isa):
    """What comes back, of planes and of single pixels, which have a way of their own."""
    writer = one_image(1)
    write = Bf16Writer(writer)
    writer.output(write.widen(write.round(0)))
    pixels = [run(writer, number.reshape(1, 1, 1, 1), isa).ravel() for number in np.split(x, len(x))]
    return run(writer, x.reshape(1, 1, 1, -1), isa).ravel(), np.concatenate(pixels)


@pytest.mark.parametrize("isa", ISAS)
def test_rounding_is_to_the_nearest_even_and_small_numbers_are_zero(isa):
    x = np.float32([1 + 2**-8, 1 + 3 * 2**-8, -1e-39, 2.0**-126, 3.39e38, 3.4e38, np.inf, -np.inf, np.nan])
    want = [1.0, 1 + 2**-6, -0.0, 2.0**-126, 3.3895314e38, np.inf, np.inf, -np.inf, np.nan]
    for got in (widened(rounded(x)), *rounded_and_widened(x, isa)):
        np.testing.assert_array_equal(got, np.float32(want))
        assert np.signbit(got[2])


@pytest.mark.parametrize("isa", ISAS)
def test_a_nan_stays_one_whatever_its_bits(isa):
    """Cut off, the first two would be infinite; rounded up, the last one would be a zero."""
    x = np.array([0x7F800001, 0xFF800001, 0x7F808000, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    for got in (widened(rounded(x)), *rounded_and_widened(x, isa)):
        assert np.isnan(got).all()


def test_what_is_rounded_to_the_smallest_number_is_no_zero():
    """In 24 bits 2^-126 - 2^-152 is 2^-126; 2^-126 - 2^-150 is itself, and small."""
    x, weight = np.zeros((1, 4, 1, 2), "float32"), np.zeros((1, 4, 1, 1), "float32")
    x[0, 0], x[0, 2] = 2.0**-63, (2.0**-100, 2.0**-98)
    weight[0, 0], weight[0, 2] = 2.0**-63, -(2.0**-52)
    want = convolution(x[0], weight, np.zeros(1, "float32"), Window())[None]
    assert want.ravel().tolist() == [2.0**-126, 0.0]
    require_equal(layer(weight, np.zeros(1, "float32"), Window()), x, want)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    real=st.booleans(),
    act=st.sampled_from(["none", "relu", "clamp:-0.5:0.75"]),
    small=st.booleans(),
    **{
        **{name: strategy for name, strategy in CONVOLUTION.items() if name != "block"},
        "inputs": st.integers(1, 40),  # the reference takes its time
        "outputs": st.integers(1, 40),
        "batch": st.integers(1, 2),
    },
)
def test_all_instruction_sets_make_the_same_bits(
    window, inputs, outputs, height, width, batch, threads, sparsity, real, act, small, seed
):
    random = np.random.default_rng(seed)
    height, width = at_least(window, height, width)
    weight = in_blocks(random, (outputs, inputs, *window.kernel), sparsity)
    bias = random.normal(size=outputs).astype("float32")
    x = random.normal(size=(batch, inputs, height, width)).astype("float32")
    if small:  # products about the smallest number
        weight, x, bias = weight * np.float32(2.0**-60), x * np.float32(2.0**-65), bias * np.float32(2.0**-125)
    low, high = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "clamp:-0.5:0.75": (-0.5, 0.75)}[act]
    want = np.stack([convolution(each, weight, bias, window, low=low, high=high, real=real) for each in x])
    for sparse in (False, True):
        require_equal(layer(weight, bias, window, real=real, sparse=sparse, act=act), x, want, threads)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (14, 14)])
def test_a_sum_joins_before_it_is_rounded(real, size):
    random = np.random.default_rng(2)
    weight, bias = in_blocks(random, (37, 37, 3, 3), 0.5), random.normal(size=37).astype("float32")
    x = random.normal(size=(2, 37, *size)).astype("float32")
    want = np.stack([convolution(each, weight, bias, SAME, added=each, low=0, real=real) for each in x])
    require_equal(layer(weight, bias, SAME, real=real, added=True, act="relu"), x, want, 2)


def test_a_sum_needs_equal_sizes():
    writer = one_image(4)
    write = Bf16Writer(writer)
    x = write.round(0)
    window = Window((1, 1), (2, 2))
    value = write.convolution(x, np.ones((4, 4, 1, 1)), np.zeros(4), window, real=True, sparse=False, added=x)
    writer.output(value)
    with pytest.raises(ValueError, match="two activations of different sizes"):
        run(writer, np.zeros((1, 4, 6, 6), "float32"))


@pytest.mark.parametrize("zero", [0x0000, 0x8000, 0x0001, 0x807F])  # 0, -0, and what is too small for a number
@pytest.mark.parametrize("kept", [6, 7])  # of ten chunks of panel rows: without the others, and with them
def test_chunks_of_zeros_are_left_out_where_that_is_faster(kept, zero):
    random = np.random.default_rng(0)
    weight, x = random.normal(size=(16, 320, 1, 1)).astype("float32"), random.normal(size=(1, 320, 1, 5))
    dropped = random.permutation(320 // 2)[16 * kept :]
    weight.reshape(16, -1, 2)[:, dropped] = 0
    x = x.astype("float32") * np.float32(2.0**20)
    writer = layer(weight, np.zeros(16, "float32"), Window())
    words = writer.arrays[0].reshape(16, -1, 2)
    words[:, dropped] = np.array(zero, np.uint16).view(np.int16)
    want = convolution(x[0], weight, np.zeros(16, "float32"), Window())[None]
    require_equal(SimpleNamespace(text=signed(writer.text, writer.arrays), arrays=writer.arrays), x, want)


def test_small_bounds_and_biases_are_zero():
    weight, bias = np.zeros((2, 2, 1, 1), "float32"), np.full(2, 1e-39, "float32")
    writer = layer(weight, bias, Window(), act="clamp:1e-40:1")
    require_equal(writer, np.ones((1, 2, 1, 3), "float32"), np.zeros((1, 2, 1, 3), "float32"))


@pytest.mark.parametrize("sparse", [False, True])
def test_more_panel_rows_than_16_bits_count(sparse):
    inputs = 2 * 65536 + 35
    weight, x = np.zeros((16, inputs, 1, 1), "float32"), np.ones((1, inputs, 1, 2), "float32")
    weight[:, -1], weight[:, 3], x[0, -1] = 2, 1, 8
    require_equal(layer(weight, np.zeros(16, "float32"), Window(), sparse=sparse), x, np.full((1, 16, 1, 2), 17.0))


def test_products_beyond_float32_become_infinite_or_nan_alike():
    weight = np.full((16, 4, 1, 1), 2.0**100, "float32")
    x = np.zeros((1, 4, 1, 6), "float32")
    x[0, :2, 0, 0], x[0, 0, 0, 1], x[0, 0, 0, 2] = (2.0**60, -(2.0**60)), np.nan, np.inf
    want = convolution(x[0], weight, np.zeros(16, "float32"), Window())[None]
    assert np.isnan(want[0, 0, 0, :2]).all() and np.isposinf(want[0, 0, 0, 2]) and not want[0, 0, 0, 3:].any()
    require_equal(layer(weight, np.zeros(16, "float32"), Window()), x, want)


def test_the_odd_channel_of_a_pair_is_never_in_the_way():
    """Three layers of odd widths; what stands where there is no channel must not become NaN."""
    random = np.random.default_rng(0)
    writer, x = one_image(3), random.normal(size=(1, 3, 4, 4)).astype("float32")
    write, want = Bf16Writer(writer), x[0]
    value, bias = write.round(0), np.ones(17, "float32")
    for outputs, inputs in ((17, 3), (5, 17), (1, 5)):
        weight = random.normal(size=(outputs, inputs, 1, 1)).astype("float32")
        value = write.convolution(value, weight, bias[:outputs], Window(), real=False, sparse=False)
        want = convolution(want, weight, bias[:outputs], Window(), real=False)
    writer.output(write.widen(value))
    require_equal(writer, x, want[None])


def test_beside_the_odd_channel_of_a_pair_stands_zero():
    """Were it another infinity, the zero that stands in for its weight would make NaN of it."""
    weight, x = np.ones((16, 3, 1, 1), "float32"), np.ones((1, 3, 2, 2), "float32")
    x[0, 2, 1, 1] = np.inf
    require_equal(layer(weight, np.zeros(16, "float32"), Window()), x, x.sum(1, keepdims=True).repeat(16, 1))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 33)])
def test_any_activation_follows_in_float32(size, threads):
    """Once, whoever computes which outputs."""
    random = np.random.default_rng(0)
    weight, x = random.normal(size=(200, 8, 1, 1)).astype("float32"), random.normal(size=(1, 8, *size))
    x = x.astype("float32")
    sums = convolution(x[0], weight, np.zeros(200, "float32"), Window())
    got = run(layer(weight, np.zeros(200, "float32"), Window(), act="sigmoid"), x, threads=threads)[0]
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-sums)), rtol=1e-5)


def test_around_a_single_pixel_are_zeros_whatever_ran_before():
    random, writer = np.random.default_rng(0), one_image(64)
    write, want = Bf16Writer(writer), random.normal(size=(64, 1, 1)).astype("float32")
    x, value, bias = want[None], write.round(0), np.ones(64, "float32")
    for window, real in ((Window(), False), (SAME, True)):
        weight = random.normal(size=(64, 64, *window.kernel)).astype("float32")
        value = write.convolution(value, weight, bias, window, real=real, sparse=False)
        want = convolution(want, weight, bias, window, real=real)
    writer.output(value)
    require_equal(writer, x, want[None])


def test_nothing_is_written_beyond_the_last_output():
    """What lies behind 17 outputs in memory is read once more."""
    random, writer = np.random.default_rng(0), one_image(2)
    write, x = Bf16Writer(writer), random.normal(size=(1, 2, 8, 8)).astype("float32")
    weight, bias = random.normal(size=(17, 2, 1, 1)).astype("float32"), np.ones(17, "float32")
    read, words = write.round(0), {"real": True, "sparse": False}
    writer.output(write.convolution(read, weight, bias, Window(), act="sigmoid", **words))
    writer.output(write.convolution(read, weight[:1], bias[:1], Window(), **words))
    want = convolution(x[0], weight, bias, Window())
    for isa in ISAS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PADDLE_UNSTRUCTURED_ISA_BF16", isa)
            first, second = Engine(writer.text, writer.arrays).run(x)
        np.testing.assert_allclose(first[0], 1 / (1 + np.exp(-want)), rtol=1e-5)
        np.testing.assert_array_equal(second[0], want[:1], err_msg=isa)


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("block=16", "block=4", "has blocks of 4"),
        ("to=float", "to=int8", "unknown result"),
        ("act=none to=float", "act=sigmoid", "an activation that bfloat16 results cannot have"),
        ("weights=sparse", "weights=dense", "wrong type or size"),
        ("bf16.conv from=1", "bf16.conv from=0", "takes bfloat16, and reads float32"),
        ("bf16.conv from=1", "bf16.conv from=1,1,1", "another number of values than its kind does"),
        ("bf16.round from=0", "bf16.widen from=0", "takes bfloat16, and reads float32"),
        ("act=none", "act=none step=2", "moves along bfloat16 channels"),
        ("output from=2", "output from=1", "returns bfloat16"),
    ],
)
def test_damaged_lines_are_refused(old, new, why):
    writer = layer(np.ones((16, 4, 1, 1), "float32"), np.zeros(16, "float32"), Window(), sparse=True)
    with pytest.raises(ValueError, match=why):
        Engine(changed(writer, old, new), writer.arrays)


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda arrays: arrays[0].__setitem__(slice(0, 1), 0x7F80), "not finite"),
        (lambda arrays: arrays[1].__setitem__(slice(0, 1), 9), "out of range"),
        (lambda arrays: arrays[2].__setitem__(slice(0, 1), 9), "bad counts"),
    ],
)
def test_damaged_weights_are_refused(spoil, why):
    writer = layer(np.ones((16, 4, 1, 1), "float32"), np.zeros(16, "float32"), Window(), sparse=True)
    spoil(writer.arrays)
    with pytest.raises(ValueError, match=why):
        Engine(writer.text, writer.arrays)


def test_a_weight_for_a_channel_that_is_not_there_is_refused():
    writer = layer(np.ones((16, 3, 1, 1), "float32"), np.zeros(16, "float32"), Window())
    writer.arrays[0][0, 3] = np.array(0x8000, np.uint16).view(np.int16)  # -0 is none
    Engine(signed(writer.text, writer.arrays), writer.arrays)
    writer.arrays[0][0, 3] = 0x3F80
    with pytest.raises(ValueError, match="a channel that is not there"):
        Engine(writer.text, writer.arrays)


@needs_amx
def test_tiles_are_the_first_choice_and_may_be_left_out(monkeypatch):
    writer = layer(np.ones((16, 4, 1, 1), "float32"), np.zeros(16, "float32"), Window())
    assert Engine(writer.text, writer.arrays).isa_bf16 == "amx_bf16"
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", "avx2")
    assert Engine(writer.text, writer.arrays).isa_bf16 == "avx2"
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", "portable")
    assert Engine(writer.text, writer.arrays).isa_bf16 == "portable"
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA_BF16", "mmx")
    with pytest.raises(ValueError, match="PADDLE_UNSTRUCTURED_ISA_BF16 must be"):
        Engine(writer.text, writer.arrays)


# As for int8 (test_int8_tiles.py): a stack for signals that is too small for the tiles.
REFUSED = """
import ctypes, sys
class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(6000)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 6000)), None) == 0
sys.path[:0] = {folders!r}
import numpy as np
from bf16_plans import *
from paddle_unstructured.runtime.plan import Window
writer = layer(np.ones((16, 4, 1, 1), "float32"), np.zeros(16, "float32"), Window())
print(Engine(writer.text, writer.arrays).isa_bf16)
"""


@needs_amx
def test_a_refused_permission_falls_back_to_vectors():
    here = os.path.dirname(os.path.abspath(__file__))
    script = REFUSED.format(folders=[os.path.dirname(os.path.dirname(here))])
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert said.stdout.split() == ["avx512"]


def test_forks_and_threads_make_the_same_bits():
    random = np.random.default_rng(5)
    weight = in_blocks(random, (64, 64, 3, 3), 0.75)
    writer = layer(weight, np.zeros(64, "float32"), SAME, sparse=True)
    x = random.normal(size=(2, 64, 9, 9)).astype("float32")
    engine = Engine(writer.text, writer.arrays, threads=2)
    want = engine.run(x)[0]
    assert makes_the_same_in_a_fork(engine, x, want)
    np.testing.assert_array_equal(run(writer, x), want)


def test_small_numbers_are_as_before_outside():
    """The mode in which small numbers are zeros ends with each task."""
    writer = layer(np.ones((16, 4, 1, 1), "float32"), np.zeros(16, "float32"), Window())
    run(writer, np.ones((1, 4, 3, 3), "float32"))
    assert (np.float32(2.0**-126) * np.float32(0.5)).item() == 2.0**-127
