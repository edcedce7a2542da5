# SPDX-License-Identifier: Apache-2.0
"""The kernels for bytes equal the slow reference to the bit, on every instruction set of this processor."""

from __future__ import annotations

import int8_reference
import numpy as np
import pytest
from any_layer import CONVOLUTION, DEPTHWISE, windows
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import Int8Weight
from paddle_unstructured.runtime.plan import Window, one_image

NAMES = ("avx512_vbmi", "avx512_vnni", "avx_vnni", "avx2", "portable")
UNIT = Quantizer(1.0, 0)  # a byte is its own number


def is_here(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", name)
        writer = one_image(1)
        writer.output(0, rank=4)
        try:
            Engine(writer.text, [])
        except ValueError as error:
            assert "one that this processor has" in str(error)
            return False
    return True


ISAS_INT8 = [name for name in NAMES if is_here(name)]


def run(writer, x, threads=1, isa=None):
    with pytest.MonkeyPatch.context() as patch:
        if isa is not None:
            patch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", isa)
        return Engine(writer.text, writer.arrays, threads=threads).run(x)


def require_equal(writer, x, threads=1):
    """On every instruction set; returns what the reference says."""
    expected = int8_reference.run(writer.text, writer.arrays, x)
    for isa in ISAS_INT8:
        for got, want in zip(run(writer, x, threads, isa), expected):
            assert got.shape == want.shape
            np.testing.assert_array_equal(got, want, err_msg=isa)
    return expected


def net(layer, channels, source=UNIT, rank=4):
    """quantize, one layer for bytes, dequantize unless it makes floats."""
    writer = one_image(channels)
    write = Int8Writer(writer)
    value = layer(write, write.quantize(0, source))
    if "to=float" not in writer.text:
        value = write.dequantize(value)
    writer.output(value, rank=rank)
    return writer


def pick_bytes(random, *shape, kind="any"):
    """As floats; `kind` for the extremes."""
    if kind == "any":
        return random.integers(0, 256, shape).astype("float32")
    return np.full(shape, 255 if kind == "high" else 0, "float32")


def pick_weights(random, *shape, sparsity=0.0, block=1, kind="any"):
    """Zeros in blocks of `block` outputs x 4 inputs at one place of the kernel."""
    values = random.integers(-127, 128, shape) if kind == "any" else np.full(shape, -127 if kind == "low" else 127)
    rows, groups = -(-shape[0] // block), -(-shape[1] // 4)
    kept = random.random((rows, groups, *shape[2:])) >= sparsity
    kept = kept.repeat(block, 0)[: shape[0]].repeat(4, 1)[:, : shape[1]]
    return (values * kept).astype("int8")


def pick_weight8(random, values, source, step):
    """Scales around which the sums of products spread over the bytes."""
    reach = np.sqrt(max(np.count_nonzero(values) / len(values), 1)) * 100 * source.scale * 70
    scale = random.uniform(0.3, 3, len(values)) * 100 * step / reach
    bias = random.normal(size=len(values)) * 30 * step
    return Int8Weight(values, scale.astype("float32"), bias.astype("float32"))


quantizers = st.builds(
    lambda scale, zero: Quantizer(float(np.float32(scale)), zero),
    st.floats(1e-3, 10),
    st.sampled_from([0, 1, 3, 77, 128, 254, 255]),
)


wide_windows = st.builds(  # padded by a whole kernel, too
    lambda kernel, stride, pad, dilation: Window((kernel,) * 2, (stride,) * 2, pad, (dilation,) * 2),
    st.sampled_from([3, 5]),
    st.integers(1, 3),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.integers(1, 2),
)
kinds = st.sampled_from(["any"] * 5 + ["low", "high"])


def at_least(window, height, width):
    (top, bottom, left, right), reach = window.pad, (window.kernel[0] - 1) * window.dilation[0] + 1
    return max(height, reach - top - bottom), max(width, reach - left - right)


def test_a_1x1_convolution_written_out():
    weight = Int8Weight(
        np.array([[[[1]], [[-2]]], [[[0]], [[127]]]], "int8"),
        np.array([1, 0.5], "float32"),
        np.array([10, 0.25], "float32"),
    )
    writer = net(lambda w, v: w.convolution(v, weight, Window(), Quantizer(1.0, 3)), 2)
    got = require_equal(writer, np.array([[[[4, 255]], [[1, 2]]]], "float32"))[0]
    # 4 - 2 + 10; 255 - 4 + 10 saturates at 255 - zero. A bias of half a step is 0; 63.5 + zero = 66.5 is a tie: 66.
    assert got.tolist() == [[[[12, 252]], [[63, 127]]]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    source=quantizers,
    to=st.one_of(st.none(), quantizers),
    act=st.sampled_from(["none", "relu", "relu6", "clamp:-1.5:2.25"]),
    kind=kinds,
    weights=kinds,
    **{**CONVOLUTION, "window": st.one_of(windows, wide_windows)},
)
def test_convolutions_of_any_shape(
    window, inputs, outputs, height, width, batch, threads, block, sparsity, source, to, act, kind, weights, seed
):
    height, width = at_least(window, height, width)
    random = np.random.default_rng(seed)
    values = pick_weights(random, outputs, inputs, *window.kernel, sparsity=sparsity, block=max(block, 1), kind=weights)
    weight = pick_weight8(random, values, source, to.scale if to else 1.0)
    writer = net(lambda w, v: w.convolution(v, weight, window, to, block=block, act=act), inputs, source)
    x = source.scale * (pick_bytes(random, batch, inputs, height, width, kind=kind) - source.zero)
    require_equal(writer, x.astype("float32"), threads)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    source=quantizers,
    to=quantizers,
    kind=kinds,
    weights=kinds,
    **DEPTHWISE,
)
def test_depthwise_convolutions_of_any_shape(
    kernel, stride, pad, channels, height, width, threads, source, to, kind, weights, seed
):
    window = Window((kernel, kernel), (stride, stride), tuple(min(p, kernel - 1) for p in pad))
    height, width = at_least(window, height, width)
    random = np.random.default_rng(seed)
    weight = pick_weight8(random, pick_weights(random, channels, 1, kernel, kernel, kind=weights), source, to.scale)
    writer = net(lambda w, v: w.depthwise(v, weight, window, to, act="relu6"), channels, source)
    x = source.scale * (pick_bytes(random, 2, channels, height, width, kind=kind) - source.zero)
    require_equal(writer, x.astype("float32"), threads)


@pytest.mark.parametrize(
    "height, width", [(200, 5), (9, 1100), (57, 130), (14, 14), (7, 7), *[(9, width) for width in range(26, 48)]]
)
def test_depthwise_convolutions_of_planes_larger_and_smaller_than_a_square_of_outputs(height, width):
    random = np.random.default_rng(0)
    weight = pick_weight8(random, pick_weights(random, 5, 1, 3, 3), UNIT, 1.0)
    for window in (
        Window((3, 3), pad=(1, 1, 1, 1)),
        Window((3, 3), (2, 2), (0, 1, 0, 1)),
        Window((3, 3), pad=(3, 0, 40, 40)),
        Window((3, 3), (2, 2), (0, 9, 33, 70)),
    ):
        writer = net(lambda w, v: w.depthwise(v, weight, window, Quantizer(1.0, 100)), 5)  # noqa: B023
        require_equal(writer, pick_bytes(random, 1, 5, height, width), 2)


@pytest.mark.parametrize("block", [0, 1, 2, 4])
@pytest.mark.parametrize("inputs, pixels", [(1, 1), (37, 1), (600, 1), (1500, 1), (600, 49), (1500, 17)])
def test_deep_convolutions_run_in_blocks(block, inputs, pixels):
    random = np.random.default_rng(inputs)
    values = pick_weights(random, 70, inputs, 1, 1, sparsity=0.7 * (block > 0), block=max(block, 1))
    weight = pick_weight8(random, values, UNIT, 1.0)
    for to in (None, Quantizer(1.0, 128)):
        writer = net(
            lambda w, v: w.convolution(v, weight, Window(), to, block=block, linear=pixels == 1),  # noqa: B023
            inputs,
        )
        require_equal(writer, pick_bytes(random, 2, inputs, 1, pixels), 3)


@pytest.mark.parametrize("kind", ["low", "high"])
@pytest.mark.parametrize("block", [0, 1, 2, 4])
def test_the_largest_sums_do_not_saturate(kind, block):
    """255 * 127 in every product: pairs of them leave 16 bits."""
    values = pick_weights(np.random.default_rng(0), 6, 512, 1, 1, kind=kind)
    weight = Int8Weight(values, np.ones(6, "float32"), np.zeros(6, "float32"))
    writer = net(lambda w, v: w.convolution(v, weight, Window(), None, block=block), 512)
    got = require_equal(writer, np.full((1, 512, 3, 5), 255, "float32"))[0]
    assert (got == (-1 if kind == "low" else 1) * 512 * 255 * 127).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_scales_of_any_size_saturate(scale):
    random = np.random.default_rng(0)
    weight = Int8Weight(pick_weights(random, 9, 5, 1, 1), np.full(9, 1e-3, "float32"), np.zeros(9, "float32"))
    for zero in (0, 130, 255):
        to = Quantizer(float(np.float32(scale)), zero)
        writer = net(lambda w, v: w.convolution(v, weight, Window(), to), 5)  # noqa: B023
        try:
            require_equal(writer, pick_bytes(random, 1, 5, 6, 7))
        except ValueError as error:
            assert scale == 1e-30 and "scales that do not fit together" in str(error)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 21),
    height=st.integers(1, 9),
    width=st.integers(1, 20),
    threads=st.integers(1, 3),
    a=quantizers,
    b=quantizers,
    to=quantizers,
    act=st.sampled_from(["none", "relu", "relu6", "clamp:-3:4"]),
    seed=st.integers(0, 99),
)
def test_sums_products_tables_and_moves(channels, height, width, threads, a, b, to, act, seed):
    random, writer = np.random.default_rng(seed), one_image(channels)
    write = Int8Writer(writer)
    first, second = write.quantize(0, a), write.quantize(0, b)
    window = Window((1, 1))
    weight = pick_weight8(random, pick_weights(random, channels, channels, 1, 1), b, b.scale)
    other = write.convolution(second, weight, window, b)
    single = write.global_pool(other, b)
    made = [
        write.pairwise("int8.add", [first, other], to, act=act),
        write.pairwise("int8.multiply", [first, other], to, act=act),
        write.pairwise("int8.multiply", [first, single], to),
        write.pairwise("int8.multiply", [single, single], to),
        write.lookup(other, random.integers(0, 256, 256).astype("int16"), to),
        write.concat([other, second, other]),
        write.flatten(other),
        single,
    ]
    for value in made:
        writer.output(write.dequantize(value), rank=4)
    scale = 200 * max(a.scale, b.scale)
    require_equal(writer, (random.normal(size=(2, channels, height, width)) * scale).astype("float32"), threads)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    type_=st.sampled_from(["max", "avg"]),
    ceil=st.integers(0, 1),
    exclusive=st.integers(0, 1),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.tuples(*[st.integers(0, 1)] * 4),
    channels=st.integers(1, 9),
    height=st.integers(4, 12),
    width=st.integers(4, 45),
    source=quantizers,
    to=quantizers,
    seed=st.integers(0, 99),
)
def test_pooling(type_, ceil, exclusive, kernel, stride, pad, channels, height, width, source, to, seed):
    window = Window((kernel, kernel), (stride, stride), tuple(min(p, kernel - 1) for p in pad))
    words = {"type": type_, "ceil": ceil, "exclusive": exclusive}
    writer = net(lambda w, v: w.pool(v, window, words, to), channels, source)
    line = int8_reference.parsed(writer.text)[3]
    assume(type_ == "max" or int8_reference.counted(line, height, width).min() > 0)
    x = source.scale * (pick_bytes(np.random.default_rng(seed), 2, channels, height, width) - source.zero)
    require_equal(writer, x.astype("float32"), 2)


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
            np.testing.assert_allclose(got[0], want[0], rtol=1e-6, atol=1e-6, err_msg=isa)  # ends in floats
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
    with pytest.raises(ValueError, match="must be avx512_vbmi, avx512_vnni, avx_vnni, avx2 or portable"):
        Engine(mixed_net(np.random.default_rng(0)).text, mixed_net(np.random.default_rng(0)).arrays)


def test_the_old_name_of_the_variable_works_with_a_warning(monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA8", "portable")
    writer = mixed_net(np.random.default_rng(0))
    with pytest.warns(FutureWarning, match="PADDLE_UNSTRUCTURED_ISA_INT8 now"):
        assert Engine(writer.text, writer.arrays).isa_int8 == "portable"
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", "avx2")
    with pytest.warns(FutureWarning):
        assert Engine(writer.text, writer.arrays).isa_int8 == "avx2"
