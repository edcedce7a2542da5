# SPDX-License-Identifier: Apache-2.0
"""The kernels and their executor against float64 numpy, for every instruction set."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from any_layer import CONVOLUTION, DEPTHWISE, at_least
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_nets import ISAS, blocks_of_zeros, convolve, relative_error

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window, one_image

RANDOM = np.random.default_rng(0)
ERF = np.vectorize(math.erf)


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", request.param)
    try:
        load(identity())
    except ValueError as error:
        if "this processor has" in str(error):
            pytest.skip(f"this processor lacks {request.param}")
        raise
    return request.param


def identity(channels=1):
    writer = one_image(channels)
    writer.output(writer.add("activation", [0]), rank=4)
    return writer


def load(writer, threads=1):
    return Engine(writer.text, writer.arrays, threads=threads)


def run_one(layer, x, threads=1, rank=4):
    """One layer: `layer(writer, 0)` appends it."""
    writer = one_image(x.shape[1], x.ndim)
    writer.output(layer(writer, 0), rank=rank)
    return load(writer, threads).run(x)[0]


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def test_a_1x1_convolution_written_out():
    weight = np.array([[1, 0], [0, 2], [0, 0]], "float32")[:, :, None, None]
    x = np.array([[[[1, -2]], [[3, 4]]]], "float32")
    bias = np.array([0, 0, 7], "float32")
    got = run_one(lambda w, v: w.convolution(v, weight, bias, Window(), block=1, act="relu"), x)
    assert got.tolist() == [[[[1, 0]], [[6, 8]], [[7, 7]]]]


@pytest.mark.parametrize("outputs", [1, 2, 33, 127, 320])
@pytest.mark.parametrize("inputs, size", [(96, 5), (300, 11), (300, 1)])
def test_pairs_of_rows_give_the_same_bits_for_any_number_of_threads(isa, outputs, inputs, size):
    random = np.random.default_rng(outputs)
    weight = random.normal(size=(outputs, inputs, 1, 1)).astype("float32")
    weight *= random.random(weight.shape) < random.choice([0, 0.05, 0.3, 1], outputs)[:, None, None, None]
    weight[outputs // 2 :: 7] = weight[outputs // 2]  # rows that share all
    x, bias = random.normal(size=(2, inputs, size, size)).astype("float32"), normal(outputs)
    one, *others = (
        run_one(lambda w, v: w.convolution(v, weight, bias, Window(), block=1), x, threads) for threads in (1, 2, 3, 5)
    )
    assert relative_error(one, convolve(x, weight, bias, Window())) < 1e-5
    assert all((one == other).all() for other in others)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(isa=st.sampled_from(ISAS), **CONVOLUTION)
def test_convolutions_of_any_shape_equal_the_slow_one(
    window, inputs, outputs, height, width, batch, threads, block, sparsity, isa, seed
):
    height, width = at_least(window, height, width)
    random = np.random.default_rng(seed)
    weight = blocks_of_zeros(
        random, random.normal(size=(outputs, inputs, *window.kernel)).astype("float32"), sparsity, max(block, 1)
    )
    x, bias = (random.normal(size=s).astype("float32") for s in ((batch, inputs, height, width), outputs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA", isa)
        got = run_one(lambda w, v: w.convolution(v, weight, bias, window, block=block), x, threads)
    assert relative_error(got, convolve(x, weight, bias, window)) < 1e-5


@settings(max_examples=40, deadline=None, derandomize=True)
@given(isa=st.sampled_from(ISAS), **DEPTHWISE)
def test_depthwise_convolutions_of_any_shape_equal_the_slow_one(window, channels, height, width, threads, isa, seed):
    height, width = at_least(window, height, width)
    random = np.random.default_rng(seed)
    weight, bias = (random.normal(size=s).astype("float32") for s in ((channels, 1, *window.kernel), channels))
    x = random.normal(size=(2, channels, height, width)).astype("float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA", isa)
        got = run_one(lambda w, v: w.depthwise(v, weight, bias, window), x, threads)
    assert relative_error(got, convolve(x, weight, bias, window, groups=channels)) < 1e-5


@pytest.mark.parametrize("block", [0, 1, 2, 4])
@pytest.mark.parametrize("inputs", [1, 7, 300, 1500])
def test_vectors_have_a_path_of_their_own(isa, block, inputs):
    weight = blocks_of_zeros(RANDOM, normal(37, inputs, 1, 1), 0.7, max(block, 1))
    x, bias = normal(3, inputs), normal(37)
    got = run_one(lambda w, v: w.convolution(v, weight, bias, Window(), block=block, linear=True), x, 2, rank=2)
    assert relative_error(got, x.astype("float64") @ weight[:, :, 0, 0].T + bias) < 1e-5


def exact(name, x):
    sigmoid = 1 / (1 + np.exp(-x))
    return {
        "none": x,
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "clamp:-1.5:2.5": np.clip(x, -1.5, 2.5),
        "hard_sigmoid:0.2:0.5": np.clip(0.2 * x + 0.5, 0, 1),
        "hard_swish": x * np.clip(x + 3, 0, 6) / 6,
        "sigmoid": sigmoid,
        "swish": x * sigmoid,
        "leaky_relu:0.1": np.where(x < 0, 0.1 * x, x),
        "tanh": np.tanh(x),
        "linear:3:-2": 3 * x - 2,
        "gelu": x / 2 * (1 + ERF(x / 2**0.5)),
        "gelu_tanh": x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    }[name]


@pytest.mark.parametrize(
    "act",
    [
        "none",
        "relu",
        "relu6",
        "clamp:-1.5:2.5",
        "hard_sigmoid:0.2:0.5",
        "hard_swish",
        "sigmoid",
        "swish",
        "leaky_relu:0.1",
        "tanh",
        "gelu",
        "gelu_tanh",
        "linear:3:-2",
    ],
)
def test_activations_equal_their_formulas_alone_and_behind_layers(isa, act):
    x = np.concatenate([np.linspace(-100, 100, 331), np.linspace(-8, 8, 500)]).astype("float32").reshape(1, 3, 1, 277)
    expected = exact(act, x.astype("float64"))
    eye = np.eye(3, dtype="float32")[:, :, None, None]
    middle = np.zeros((3, 1, 3, 3), "float32")
    middle[:, :, 1, 1] = 1
    zeros, same = np.zeros(3, "float32"), Window((3, 3), pad=(1, 1, 1, 1))
    for layer in (
        lambda w, v: w.add("activation", [v], act=act),
        lambda w, v: w.convolution(v, eye, zeros, Window(), block=1, act=act),
        lambda w, v: w.convolution(v, eye, zeros, Window(), act=act),
        lambda w, v: w.depthwise(v, middle, zeros, same, act=act),
        lambda w, v: w.affine(v, np.ones(3), zeros, act=act),
    ):
        assert np.abs(run_one(layer, x) - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize(
    "size, window",
    [
        ((9, 21), Window((3, 3), (2, 2), (1, 1, 1, 1))),
        ((4, 70), Window((2, 2), (2, 2))),
        ((7, 35), Window((3, 2), (1, 1), (1, 0, 1, 0))),
        ((5, 5), Window((5, 5))),
    ],
)
def test_pooling_equals_a_loop(isa, kind, exclusive, size, window):
    x = normal(2, 5, *size)
    words = {**window.words, "type": kind, "ceil": 0, "exclusive": exclusive}
    got = run_one(lambda w, v: w.add("pool", [v], **words), x, 3)
    (top, bottom, left, right), filler = window.pad, -np.inf if kind == "max" else np.nan if exclusive else 0
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=filler)
    reduce = np.max if kind == "max" else np.nanmean
    expected = np.stack(
        [
            np.stack(
                [
                    reduce(
                        padded[
                            :,
                            :,
                            i * window.stride[0] : i * window.stride[0] + window.kernel[0],
                            j * window.stride[1] : j * window.stride[1] + window.kernel[1],
                        ],
                        axis=(2, 3),
                    )
                    for j in range(got.shape[3])
                ],
                -1,
            )
            for i in range(got.shape[2])
        ],
        -2,
    )
    assert relative_error(got, expected) < 1e-6


def squeeze_and_excite(writer, value):
    squeezed = writer.add("global_pool", [value])
    gate = writer.convolution(squeezed, GATE, np.zeros(6, "float32"), Window(), act="hard_sigmoid:0.2:0.5")
    scaled = writer.add("multiply", [gate, value])
    return writer.add("concat", [writer.add("add", [scaled, value], act="relu"), value])


GATE = normal(6, 6, 1, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_branches_meet_again(isa, threads):
    x = normal(3, 6, 5, 9)
    gate = np.clip(0.2 * (x.mean((2, 3), dtype="float64") @ GATE[:, :, 0, 0].T) + 0.5, 0, 1)[:, :, None, None]
    expected = np.concatenate([np.maximum(x * gate + x, 0), x], 1)
    assert relative_error(run_one(squeeze_and_excite, x, threads), expected) < 1e-5


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "stride, size, block", [(1, (100, 97), 1), (2, (203, 160), 2), (1, (9, 13), 0), (1, (112, 112), 4)]
)
def test_a_depthwise_and_the_1x1_behind_it_run_band_by_band(isa, threads, stride, size, block):
    """The larger planes are cut into bands, the smallest is not; both must equal the two layers one after the other."""
    window, x = Window((3, 3), (stride, stride), (1, 1, 1, 1)), normal(2, 24, *size)
    deep, flat = normal(24, 1, 3, 3), blocks_of_zeros(RANDOM, normal(20, 24, 1, 1), 0.5, max(block, 1))
    bias = normal(24)

    def layers(writer, value):
        value = writer.depthwise(value, deep, bias, window, act="hard_swish")
        return writer.convolution(value, flat, bias[:20], Window(), block=block, act="swish")

    middle = exact("hard_swish", convolve(x, deep, bias, window, groups=24))
    expected = exact("swish", convolve(middle, flat, bias[:20], Window()))
    assert relative_error(run_one(layers, x, threads), expected) < 1e-5


def test_a_depthwise_that_others_read_too_is_not_fused_away(isa):
    same, x = Window((3, 3), pad=(1, 1, 1, 1)), normal(1, 5, 8, 9)
    deep, flat, bias = normal(5, 1, 3, 3), normal(5, 5, 1, 1), normal(5)

    def layers(writer, value):
        middle = writer.depthwise(value, deep, bias, same)
        return writer.add("add", [middle, writer.convolution(middle, flat, bias, Window())])

    middle = convolve(x, deep, bias, same, groups=5)
    assert relative_error(run_one(layers, x), middle + convolve(middle, flat, bias, Window())) < 1e-5


def test_flatten_and_softmax(isa):
    x = normal(2, 3, 2, 5)
    got = run_one(lambda w, v: w.add("softmax", [w.add("flatten", [v])]), x, rank=2)
    powers = np.exp(x.reshape(2, -1).astype("float64"))
    assert relative_error(got, powers / powers.sum(1, keepdims=True)) < 1e-6


def test_height_width_and_batch_may_change_between_runs():
    weight, bias, window = normal(5, 3, 3, 3), normal(5), Window((3, 3), (2, 2), (1, 1, 1, 1))
    writer = one_image(3)
    writer.output(writer.convolution(0, weight, bias, window, block=1), rank=4)
    engine = load(writer, 2)
    for shape in ((1, 3, 9, 9), (4, 3, 30, 17), (1, 3, 9, 9), (3, 3, 1, 50), (2, 3, 64, 64), (1, 3, 1, 1)):
        x = normal(*shape)
        assert relative_error(engine.run(x)[0], convolve(x, weight, bias, window)) < 1e-5


def test_results_do_not_depend_on_the_number_of_threads():
    x = normal(5, 33, 13, 29)
    weight = blocks_of_zeros(RANDOM, normal(200, 33, 3, 3), 0.8, 1)
    one, *others = [
        run_one(lambda w, v: w.convolution(v, weight, normal(200) * 0, Window((3, 3)), block=1), x, threads)
        for threads in (1, 2, 3, 4)
    ]
    assert all((one == other).all() for other in others)


def test_one_engine_may_run_in_several_python_threads_at_once():
    writer = one_image(6)
    writer.output(squeeze_and_excite(writer, 0), rank=4)
    engine, inputs = load(writer, 2), [normal(2, 6, 8 + i, 11) for i in range(6)]
    expected = [engine.run(x)[0] for x in inputs]
    wrong = []

    def work(i):
        for _ in range(30):
            if not (engine.run(inputs[i])[0] == expected[i]).all():
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", "mmx")
    with pytest.raises(ValueError, match="must be avx512, avx2 or portable"):
        load(identity())


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 3, 4), (0, 2, 4, 4), (1, 3, 0, 4)])
def test_an_input_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"must be float32 of shape \[n, 3, height, width\]"):
        load(identity(3)).run(np.zeros(shape, "float32"))


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="too small"):
        run_one(lambda w, v: w.convolution(v, normal(1, 1, 5, 5), normal(1), Window((5, 5))), normal(1, 1, 4, 9))


@pytest.mark.parametrize("threads", [0, -1, 257, 1000, 2**32 + 1, 2**63, 1.5, "2", True, None])
def test_a_senseless_number_of_threads_is_refused(threads):
    """2**32 + 1 was 1 once it had passed through 32 bits."""
    with pytest.raises(ValueError, match=r"`threads` must be an int in \[1, 256\]"):
        load(identity(), threads)


def test_the_number_of_threads_may_be_numpys():
    assert load(identity(), np.int64(2)).run(np.ones((1, 1, 1, 1)))[0] == 1


def test_a_padded_1x1_convolution_of_a_single_pixel_reads_zeros(isa):
    window = Window((1, 1), (3, 3), (1, 1, 1, 1))
    got = run_one(lambda w, v: w.convolution(v, np.ones((1, 1, 1, 1)), np.array([5.0]), window), np.ones((1, 1, 1, 1)))
    assert got.tolist() == [[[[5.0]]]]
