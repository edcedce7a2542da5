# SPDX-License-Identifier: Apache-2.0
"""Every int8 kernel of every instruction set against the reference, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import int8_reference
import numpy as np
import pytest
from any_layer import CONVOLUTION, DEPTHWISE, at_least, windows
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from int8_plans import UNIT, net, pick_bytes, pick_weight8, pick_weights, require_equal, run

from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import Int8Weight
from paddle_unstructured.runtime.plan import Window, one_image

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


def keeping(window):
    """The same with a padding that keeps the size of a plane, where the stride is 1."""
    rows, columns = ((size - 1) * step for size, step in zip(window.kernel, window.dilation))
    top, left = min(window.pad[0], rows), min(window.pad[2], columns)
    return replace(window, pad=(top, rows - top, left, columns - left))


odd_windows = st.builds(  # rows unlike columns; more than 15 taps on either
    Window,
    st.tuples(*[st.sampled_from([1, 2, 3, 5, 17])] * 2),
    st.tuples(*[st.sampled_from([1, 1, 2, 2, 3])] * 2),
    st.tuples(*[st.sampled_from([0, 0, 1, 2, 9])] * 4),
    st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 2),
)
odd_windows = st.one_of(odd_windows, odd_windows.map(keeping))
kinds = st.sampled_from(["any"] * 5 + ["low", "high"])
AROUND = Int8Weight(
    np.array([[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]], "int8"), np.array([0.5], "float32"), np.zeros(1, "float32")
)


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


def test_a_hard_swish_written_out_is_rounded_once():
    """Of x = 0.5, 1.5, 3, -1 and -3.5, x * min(max(x + 3, 0), 6) / 6 is 0.2917, 1.125, 3, -0.333 and 0."""
    weight = Int8Weight(np.array([[[[1]]]], "int8"), np.array([0.5], "float32"), np.zeros(1, "float32"))
    to = Quantizer(0.125, 10)
    for made in (
        lambda w, v: w.convolution(v, weight, Window(), to, act="hard_swish"),
        lambda w, v: w.depthwise(v, AROUND, Window((3, 3), pad=(1, 1, 1, 1)), to, act="hard_swish"),
    ):
        got = require_equal(net(made, 1, Quantizer(1.0, 100)), np.array([[[[1, 3, 6, -2, -7]]]], "float32"))[0]
        assert got.ravel().tolist() == [0.25, 1.125, 3.0, -0.375, 0.0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    source=quantizers,
    to=st.one_of(st.none(), quantizers),
    act=st.sampled_from(["none", "relu", "relu6", "clamp:-1.5:2.25", "hard_swish"]),
    kind=kinds,
    weights=kinds,
    **{**CONVOLUTION, "window": st.one_of(windows, wide_windows), "block": st.sampled_from([0, 1, 2, 4, 16, 32])},
)
def test_convolutions_of_any_shape(
    window, inputs, outputs, height, width, batch, threads, block, sparsity, source, to, act, kind, weights, seed
):
    assume(to is not None or act != "hard_swish")
    height, width = at_least(window, height, width)
    random = np.random.default_rng(seed)
    values = pick_weights(random, outputs, inputs, *window.kernel, sparsity=sparsity, block=max(block, 1), kind=weights)
    weight = pick_weight8(random, values, source, to.scale if to else 1.0)
    writer = net(lambda w, v: w.convolution(v, weight, window, to, block=block, act=act), inputs, source)
    x = source.scale * (pick_bytes(random, batch, inputs, height, width, kind=kind) - source.zero)
    require_equal(writer, x.astype("float32"), threads)


ODD = {"inputs": 9, "outputs": 7, "height": 9, "width": 13, "block": 1, "seed": 0}


@settings(max_examples=60, deadline=None, derandomize=True)
@example(window=Window((17, 1), pad=(8, 8, 0, 0)), added=False, **ODD)
@example(window=Window((1, 17), pad=(0, 0, 8, 8)), added=True, **ODD)
@example(window=Window((1, 1), pad=(0, 0, 0, 2)), added=False, **ODD)
@example(window=Window((1, 1), (3, 3), (1, 1, 1, 1)), added=False, **{**ODD, "height": 1, "width": 1})
@example(window=Window((3, 3), (2, 1), (1, 1, 1, 1)), added=True, **ODD)
@example(window=Window((3, 3), (1, 2), (1, 1, 1, 1)), added=True, **ODD)
@given(
    window=odd_windows,
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    height=st.integers(1, 17),
    width=st.integers(1, 24),
    block=st.sampled_from([0, 1, 2, 4, 16]),
    added=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_whose_rows_are_unlike_their_columns(window, inputs, outputs, height, width, block, added, seed):
    height, width = at_least(window, height, width)
    random, writer, source = np.random.default_rng(seed), one_image(inputs), Quantizer(1.0, 77)
    write = Int8Writer(writer)

    def convolution(block, **words):
        values = pick_weights(random, outputs, inputs, *window.kernel, sparsity=0.5, block=max(block, 1))
        return write.convolution(
            x, pick_weight8(random, values, source, 1.0), window, Quantizer(1.0, 100), block=block, **words
        )

    x = write.quantize(0, source)
    made = convolution(block, **({"added": convolution(0)} if added else {}))
    writer.output(write.dequantize(made), rank=4)
    require_equal(writer, pick_bytes(random, 2, inputs, height, width) - 77, 1 + seed % 3)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("inputs, outputs", [(3, 1), (40, 6), (1700, 45)])
def test_rows_that_share_some_of_their_weights(inputs, outputs, size):
    """Single rows are computed two at a time where registers suffice; more than 128 groups are several blocks."""
    random = np.random.default_rng(0)
    values = pick_weights(random, outputs, inputs, 1, 1, sparsity=0.5, block=1)
    values[outputs // 2 :: 3] = 0
    weight = pick_weight8(random, values, UNIT, 1.0)
    writer = net(lambda w, v: w.convolution(v, weight, Window(), UNIT, block=1), inputs)
    for threads in (1, 2):
        require_equal(writer, pick_bytes(random, 2, inputs, size, size).astype("float32"), threads)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    source=quantizers,
    to=quantizers,
    kind=kinds,
    weights=kinds,
    act=st.sampled_from(["relu6", "hard_swish"]),
    **DEPTHWISE,
)
def test_depthwise_convolutions_of_any_shape(
    window, channels, height, width, threads, source, to, kind, weights, act, seed
):
    height, width = at_least(window, height, width)
    random = np.random.default_rng(seed)
    weight = pick_weight8(random, pick_weights(random, channels, 1, *window.kernel, kind=weights), source, to.scale)
    writer = net(lambda w, v: w.depthwise(v, weight, window, to, act=act), channels, source)
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
        Window((3, 3), (2, 1), (0, 9, 33, 70)),
        Window((3, 3), (1, 2), (3, 0, 40, 40), (2, 18)),
    ):
        writer = net(lambda w, v: w.depthwise(v, weight, window, Quantizer(1.0, 100)), 5)  # noqa: B023
        require_equal(writer, pick_bytes(random, 1, 5, height, width), 2)


@pytest.mark.parametrize("height, width", [(8, 8), (9, 13), (31, 32), (2, 70), (5, 1)])
@pytest.mark.parametrize(
    "kernel, pad, dilation",
    [
        ((1, 1), (0, 0, 0, 0), (1, 1)),
        ((3, 3), (1, 1, 1, 1), (1, 1)),
        ((3, 3), (0, 1, 0, 1), (1, 1)),
        ((7, 7), (3, 3, 3, 3), (1, 1)),
        ((3, 2), (2, 2, 1, 1), (2, 3)),
        ((1, 17), (0, 0, 8, 8), (1, 1)),  # more taps than a split input serves
    ],
)
def test_windows_of_stride_two_find_even_and_odd_pixels(kernel, pad, dilation, height, width):
    random, window = np.random.default_rng(3), Window(kernel, (2, 2), pad, dilation)
    height, width = at_least(window, height, width)
    for block in (0, 4):
        values = pick_weights(random, 20, 9, *kernel, sparsity=0.5 * (block > 0), block=max(block, 1))
        weight = pick_weight8(random, values, Quantizer(1.0, 77), 1.0)
        writer = net(
            lambda w, v: w.convolution(v, weight, window, Quantizer(1.0, 100), block=block),  # noqa: B023
            9,
            Quantizer(1.0, 77),
        )
        require_equal(writer, pick_bytes(random, 2, 9, height, width).astype("float32") - 77, 3)


@pytest.mark.parametrize("block", [0, 1, 2, 4, 16])
@pytest.mark.parametrize("inputs, pixels", [(1, 1), (37, 1), (600, 1), (1500, 1), (600, 49), (1500, 17), (600, 128)])
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


@pytest.mark.parametrize("block", [0, 1, 2, 4, 16])
def test_sums_up_to_32_bits_are_exact_and_larger_ones_refused(block):
    """Four products of 255 and 1 above a bias of 2^31 - 1024; float32 knows steps of 128 there."""
    for bias, refused in ((2.0**31 - 1024, False), (1024 - 2.0**31, False), (2.0**31 - 896, True)):
        weight = Int8Weight(np.ones((1, 4, 1, 1), "int8"), np.ones(1, "float32"), np.array([bias], "float32"))
        for to in (None, UNIT):
            writer = net(lambda w, v: w.convolution(v, weight, Window(), to, block=block), 4)  # noqa: B023
            if refused:
                with pytest.raises(ValueError, match="leave 32 bits"):
                    run(writer, np.full((1, 4, 3, 5), 255, "float32"))
            else:
                require_equal(writer, np.full((1, 4, 3, 5), 255, "float32"))


@pytest.mark.parametrize("kind", ["low", "high"])
@pytest.mark.parametrize("block", [0, 1, 2, 4])
def test_the_largest_sums_do_not_saturate(kind, block):
    """255 * 127 in every product: pairs of them leave 16 bits."""
    values = pick_weights(np.random.default_rng(0), 6, 512, 1, 1, kind=kind)
    weight = Int8Weight(values, np.ones(6, "float32"), np.zeros(6, "float32"))
    writer = net(lambda w, v: w.convolution(v, weight, Window(), None, block=block), 512)
    got = require_equal(writer, np.full((1, 512, 3, 5), 255, "float32"))[0]
    assert (got == (-1 if kind == "low" else 1) * 512 * 255 * 127).all()


@pytest.mark.parametrize("block", [0, 1, 2, 4, 16])
@pytest.mark.parametrize("inputs, size", [(9, (1, 1)), (700, (1, 1)), (9, (5, 7)), (700, (3, 3))])
def test_threads_share_the_outputs_of_a_layer(block, inputs, size):
    """Slices of some 64 outputs each, the last one not whole; what is added has them, too."""
    random, writer = np.random.default_rng(0), one_image(inputs)
    write = Int8Writer(writer)
    first, other = (
        pick_weight8(random, pick_weights(random, 331, inputs, 1, 1, sparsity=0.6, block=max(block, 1)), UNIT, 1.0)
        for _ in range(2)
    )
    x = write.quantize(0, UNIT)
    added = write.convolution(x, other, Window(), Quantizer(1.0, 120), block=block)
    made = write.convolution(x, first, Window(), Quantizer(1.0, 100), block=block, added=added)
    writer.output(write.dequantize(made), rank=4)
    require_equal(writer, pick_bytes(random, 1, inputs, *size), 3)


def with_extremes(*shape):
    """Weights whose first output sums up the most that there is, and the second the least."""
    values = pick_weights(np.random.default_rng(0), *shape)
    values[0], values[1] = 127, -127
    return Int8Weight(values, np.full(shape[0], 1e-3, "float32"), np.zeros(shape[0], "float32"))


def depthwise_3x3(write, value, to, act):
    return write.depthwise(value, with_extremes(5, 1, 3, 3), Window((3, 3), pad=(1, 1, 1, 1)), to, act=act)


def convolution_1x1(block):
    return lambda write, value, to, act: write.convolution(
        value, with_extremes(9, 5, 1, 1), Window(), to, block=block, act=act
    )


@pytest.mark.parametrize("layer", [depthwise_3x3, *map(convolution_1x1, (0, 1, 2, 4, 16))])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 5e-8, 1e-7, 1e-5, 1e-3, 1.0, 1e12, 1e30])
def test_scales_of_any_size_saturate(scale, layer):
    """Numbers beyond 16 bits, and beyond 32."""
    x = pick_bytes(np.random.default_rng(1), 1, 5, 6, 7)
    x[:, :, :3, :3] = 255
    for zero, act in ((0, "none"), (130, "none"), (255, "none"), (10, "hard_swish")):
        to = Quantizer(float(np.float32(scale)), zero)
        writer = net(lambda w, v: layer(w, v, to, act), 5)  # noqa: B023
        try:
            require_equal(writer, x)
        except ValueError as error:
            assert scale == 1e-30 and "scales that do not fit together" in str(error)


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 5e-8, 1e-5, 1e-3, 1e12])
@pytest.mark.parametrize("zero", [0, 130, 255])
def test_sums_products_and_means_of_any_size_saturate(scale, zero):
    to, writer = Quantizer(float(np.float32(scale)), zero), one_image(5)
    write = Int8Writer(writer)
    one, other = write.quantize(0, Quantizer(1.0, 100)), write.quantize(0, Quantizer(2.0, 30))
    resize = {"mode": "linear", "align_corners": 0, "half_pixel": 1, "by": "2.0,2.0"}
    made = [
        write.pairwise("int8.add", [one, other], to),
        write.pairwise("int8.subtract", [one, other], to),
        write.pairwise("int8.multiply", [one, other], to),
        write.pairwise("int8.multiply", [one, write.global_pool(other, UNIT)], to),
        write.global_pool(one, to),
        write.pool(one, Window((2, 2)), {"type": "avg", "ceil": 0, "exclusive": 1}, to),
        writer.add("int8.reduce", [one], type="sum", over="channels", **to.words),
        writer.add("int8.adaptive_pool", [one], type="avg", size="2,3", **to.words),
        writer.add("int8.resize", [one], **resize, **to.words),
    ]
    for value in made:
        writer.output(write.dequantize(value), rank=4)
    require_equal(writer, pick_bytes(np.random.default_rng(0), 1, 5, 6, 7) - 100)


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
