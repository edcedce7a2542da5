# SPDX-License-Identifier: Apache-2.0
"""Whole int8 plans: they saturate, mix with float32, and are refused where they are damaged."""

from __future__ import annotations

import int8_reference
import numpy as np
import pytest
from int8_plans import ISAS_INT8, UNIT, net, pick_bytes, pick_weight8, pick_weights, require_equal, run

from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.plan import Window, one_image


def test_what_is_too_large_saturates():
    x = np.array([0, np.inf, -np.inf, 3e38, -3e38, 0.5, 1.5, 2.5, -0.5], "float32").reshape(1, 1, 3, 3)
    writer = net(lambda w, v: v, 1, Quantizer(1.0, 100))
    got = require_equal(writer, x)[0].ravel()
    assert got.tolist() == [0, 155, -100, 155, -100, 0, 2, 2, 0]


def test_vectors_pass_as_single_pixels():
    random, writer = np.random.default_rng(3), one_image(50, 2)
    write = Int8Writer(writer)
    weight = pick_weight8(random, pick_weights(random, 30, 50, 1, 1), UNIT, 1.0)
    value = write.convolution(write.quantize(0, UNIT), weight, Window(), Quantizer(1.0, 9), linear=True)
    writer.output(write.dequantize(value), rank=2)
    require_equal(writer, pick_bytes(random, 5, 50))


def mixed_net(random):
    """Bytes and floats, three outputs; branches that live long."""
    writer = one_image(3)
    write, half, same = Int8Writer(writer), Window((3, 3), (2, 2), (1, 1, 1, 1)), Window((3, 3), pad=(1, 1, 1, 1))
    to = Quantizer(0.05, 20)

    def conv(value, shape, window, source, block=0, target=to, act="relu"):
        values = pick_weights(random, *shape, sparsity=0.6 * (block > 0), block=max(block, 1))
        weight = pick_weight8(random, values, source, 0.05)
        return write.convolution(value, weight, window, target, block=block, act=act)

    image = write.quantize(0, Quantizer(0.02, 128))
    stem = conv(image, (18, 3, 3, 3), half, Quantizer(0.02, 128))
    deep = write.depthwise(stem, pick_weight8(random, pick_weights(random, 18, 1, 3, 3), to, 0.05), same, to)
    wide = conv(deep, (40, 18, 1, 1), Window(), to, 1)
    back = conv(wide, (18, 40, 3, 3), same, to, 2, act="none")
    total = write.pairwise("int8.add", [back, stem], to)
    gate = conv(write.global_pool(total, to), (18, 18, 1, 1), Window(), to, 4)
    gated = write.pairwise("int8.multiply", [total, gate], to)
    plain = writer.add("activation", [write.dequantize(gated)], act="hard_swish")
    last = conv(write.flatten(write.global_pool(gated, to)), (10, 18, 1, 1), Window(), to, target=None, act="none")
    for value in (plain, last):
        writer.output(value, rank=4)
    return writer


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_whole_net_of_bytes_and_floats(threads, batch):
    writer = mixed_net(np.random.default_rng(7))
    random = np.random.default_rng(batch)
    for size in ((33, 47), (2, 3)):
        x = random.normal(size=(batch, 3, *size)).astype("float32")
        want = int8_reference.run(writer.text, writer.arrays, x)
        for isa in ISAS_INT8:
            got = run(writer, x, threads, isa)
            np.testing.assert_allclose(got[0], want[0], rtol=1e-6, atol=1e-6, err_msg=isa)  # ends in float32
            np.testing.assert_array_equal(got[1], want[1], err_msg=isa)


def plan_of(text, arrays):
    channels = text.split("in=")[1].split()[0]
    return signed(f"paddle_unstructured plan 2\ncontents digest=0\ninput channels={channels} rank=4\n{text}", arrays)


def damaged(text, arrays, match):
    with pytest.raises(ValueError, match=match):
        Engine(plan_of(text, arrays), arrays)


CONV = (
    "quantize from=0 scale=0.1 zero=3\nint8.conv from=1 in=4 out=2 kernel=1,1 stride=1,1 pad=0,0,0,0 dilation=1,1 "
    "act=none scale=0.1 zero=3 weights=dense params=0,1,2\ndequantize from=2\noutput from=3 rank=4"
)
LAST = ("dequantize from=2\noutput from=3 rank=4",)
ARRAYS = (np.ones((2, 4), "int8"), np.ones(2, "float32"), np.zeros(2, "float32"))


def with_array(place, array):
    return [array if i == place else kept for i, kept in enumerate(ARRAYS)]


@pytest.mark.parametrize(
    "old, new, match",
    [
        ("scale=0.1 zero=3\nint8.conv", "scale=0 zero=3\nint8.conv", "scale that is not a positive number"),
        ("scale=0.1 zero=3\nint8.conv", "scale=-1 zero=3\nint8.conv", "scale that is not a positive number"),
        ("scale=0.1 zero=3\nint8.conv", "scale=inf zero=3\nint8.conv", "number that is none"),
        ("scale=0.1 zero=3\nint8.conv", "scale=0.1 zero=256\nint8.conv", "zero out of range"),
        ("scale=0.1 zero=3\nint8.conv", "scale=0.1 zero=-1\nint8.conv", "zero out of range"),
        ("int8.conv from=1", "int8.conv from=0", "takes int8, and reads float32"),
        ("dequantize from=2", "quantize from=2 scale=1 zero=0", "takes float32, and reads int8"),
        ("dequantize from=2", "activation from=2 act=relu", "takes float32, and reads int8"),
        ("output from=3", "output from=2", "returns int8"),
        ("act=none", "act=tanh", "activation that int8 does not take"),
        ("act=none", "act=clamp:3:1", "activation that int8 does not take"),
        ("in=4", "in=5", "wrong type or size"),
        ("in=4", "in=3", "channel that is not there"),
        (*LAST, "int8.lookup from=2 scale=1 zero=0 params=1\ndequantize from=3\noutput from=4 rank=4", "wrong type"),
        (
            *LAST,
            "int8.lookup from=2 scale=1 zero=0 params=3\ndequantize from=3\noutput from=4 rank=4",
            "without 256 entries",
        ),
        (*LAST, "int8.lookup from=2 scale=1 zero=0 params=4\ndequantize from=3\noutput from=4 rank=4", "no byte"),
        (*LAST, "int8.concat from=1,2\ndequantize from=3\noutput from=4 rank=4", None),
        ("dequantize from=2", "quantize from=0 scale=0.2 zero=3\nint8.concat from=1,3", "different scales"),
        (
            "dequantize from=2",
            "quantize from=0 scale=1e-37 zero=3\nint8.add from=1,2 act=none scale=1e-37 zero=0",
            "do not fit together",
        ),
        ("dequantize from=2", "int8.add from=1 act=none scale=1 zero=0", "another number of values"),
        ("int8.conv from=1", "int8.conv from=1,1,1", "another number of values"),
    ],
)
def test_damaged_lines_are_refused(old, new, match):
    arrays = [*ARRAYS, np.zeros(9, "int16"), np.full(256, 256, "int16")]
    assert old in CONV
    if match is None:
        Engine(plan_of(CONV.replace(old, new), arrays), arrays)
    else:
        damaged(CONV.replace(old, new), arrays, match)


@pytest.mark.parametrize(
    "place, array, match",
    [
        (0, np.ones((2, 4), "float32"), "wrong type or size"),
        (0, np.ones((2, 3), "int8"), "wrong type or size"),
        (0, np.full((2, 4), -128, "int8"), "weight of -128"),
        (1, np.zeros(2, "float32"), "weight scale"),
        (1, np.array([1, np.nan], "float32"), "weight scale"),
        (1, np.array([1, np.inf], "float32"), "weight scale"),
        (2, np.array([0, np.nan], "float32"), "bias that is not finite"),
        (2, np.array([0, 3e8], "float32"), "leave 32 bits"),
        (1, np.full(2, 3e38, "float32"), "do not fit together"),
    ],
)
def test_damaged_arrays_are_refused(place, array, match):
    damaged(CONV, with_array(place, array), match)


@pytest.mark.parametrize(
    "columns, counts, match",
    [
        ([0, 3], [1, 1], "out of range"),
        ([-1, 0], [1, 1], "out of range"),
        ([0, 1], [1, 2], "bad counts"),
        ([0, 1], [2], "another number"),
        ([1, 0], [2, 0], "order"),
        ([0, 1], [3, -1], "bad counts"),
    ],
)
def test_damaged_indices_are_refused(columns, counts, match):
    arrays = [np.ones((2, 1, 4), "int8"), np.array(columns, "int16"), np.array(counts, "int16"), *ARRAYS[1:]]
    text = CONV.replace("weights=dense params=0,1,2", "weights=sparse block=1 params=0,1,2,3,4")
    text = text.replace("in=4", "in=12")
    damaged(text, arrays, match)


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", "mmx")
    with pytest.raises(ValueError, match="must be .*avx2, portable, (amx_only )?or plain_tiles"):
        Engine(mixed_net(np.random.default_rng(0)).text, mixed_net(np.random.default_rng(0)).arrays)


def test_the_old_name_of_the_variable_works_with_a_warning(monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA8", "portable")
    writer = mixed_net(np.random.default_rng(0))
    with pytest.warns(FutureWarning, match="PADDLE_UNSTRUCTURED_ISA_INT8 now"):
        assert Engine(writer.text, writer.arrays).isa_int8 == "portable"
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", "avx2")
    with pytest.warns(FutureWarning):
        assert Engine(writer.text, writer.arrays).isa_int8 == "avx2"
