# SPDX-License-Identifier: Apache-2.0
"""What a run takes as numbers, and what becomes of a NaN."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pytest
from runtime_nets import ISAS

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import Int8Weight
from paddle_unstructured.runtime.plan import Window, one_image

SAME = Window((3, 3), pad=(1, 1, 1, 1))
ACTS = ("none", "relu", "relu6", "clamp:-1:1", "hard_sigmoid:0.2:0.5", "hard_swish", "sigmoid", "swish")
ACTS += ("leaky_relu:0.1", "tanh", "gelu")


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", request.param)
    try:
        engine(lambda write, value: value)
    except ValueError as error:
        if "this processor has" in str(error):
            pytest.skip(f"this processor lacks {request.param}")
        raise
    return request.param


def engine(layer, channels=1, rank=4, threads=1):
    writer = one_image(channels, rank)
    writer.output(layer(writer, 0), rank=rank)
    return Engine(writer.text, writer.arrays, threads=threads)


def same(writer, value):
    return writer.add("activation", [value])


# ---- what is a number ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "x, match",
    [
        (np.ones((1, 1, 1, 1), complex), "real numbers, got an array of complex128"),
        (np.array([[[["1"]]]]), "real numbers, got an array of <U1"),
        (np.array([[[[b"1"]]]]), "real numbers, got an array of .S1"),
        (np.zeros((1, 1, 1, 1), "datetime64[s]"), "real numbers, got an array of datetime64"),
        (np.zeros((1, 1, 1, 1), "timedelta64[s]"), "real numbers, got an array of timedelta64"),
        (np.array([[[[decimal.Decimal(1)]]]]), "real numbers, got an array of object"),
        (np.array([[[[None]]]]), "real numbers, got an array of object"),
        (np.zeros((1, 1, 1, 1), [("a", "f4")]), "real numbers, got an array of"),
        (np.ma.masked_array(np.ones((1, 1, 1, 1)), mask=True), "got a masked array; give x.filled"),
        ([[[[1.0], [1.0, 2.0]]]], "must be an array of numbers, got"),
        ("cat.jpg", "real numbers, got an array of <U7"),
        (datetime.datetime(2020, 1, 1), "real numbers, got an array of object"),
        (None, "real numbers, got an array of object"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(x, match):
    with pytest.raises(TypeError, match=match):
        engine(same).run(x)


@pytest.mark.parametrize("x", [1e300, -1e39, np.longdouble("1e400")])
def test_a_number_that_float32_does_not_hold_is_refused(x):
    with pytest.raises(ValueError, match="must fit float32"):
        engine(same).run(np.full((1, 1, 1, 1), x))


@pytest.mark.parametrize("dtype", ["float64", "float16", "longdouble", "int64", "uint8", "bool"])
def test_other_real_numbers_become_float32(dtype):
    made = engine(same).run(np.ones((1, 1, 1, 2), dtype))[0]
    assert made.dtype == np.float32 and made.tolist() == [[[[1, 1]]]]


def test_an_infinity_that_was_given_stays_one():
    assert engine(same).run(np.array([[[[np.inf, -np.inf, 1e38]]]]))[0].tolist() == [
        [[[np.inf, -np.inf, float(np.float32(1e38))]]]
    ]


# ---- NaN in float32 --------------------------------------------------------------------------------------------------
def middle(channels):
    weight = np.zeros((channels, 1, 3, 3), "float32")
    weight[:, :, 1, 1] = 1
    return weight


LAYERS = {
    "conv": lambda w, v: w.convolution(v, np.ones((3, 3, 1, 1)), np.zeros(3), Window()),
    "sparse conv": lambda w, v: w.convolution(v, np.ones((3, 3, 1, 1)), np.zeros(3), Window(), block=1, act="relu"),
    "conv 3x3": lambda w, v: w.convolution(v, np.ones((3, 3, 3, 3)), np.zeros(3), SAME, act="relu6"),
    "depthwise": lambda w, v: w.depthwise(v, middle(3), np.zeros(3), SAME, act="relu"),
    "affine": lambda w, v: w.affine(v, np.ones(3), np.zeros(3), act="relu"),
    "add": lambda w, v: w.add("add", [v, v]),
    "multiply": lambda w, v: w.add("multiply", [v, v]),
    "concat": lambda w, v: w.add("concat", [v, v]),
    "global_pool": lambda w, v: w.add("global_pool", [v]),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_an_input_of_nans_makes_nans(isa, layer):
    assert np.isnan(engine(LAYERS[layer], 3).run(np.full((1, 3, 9, 21), np.nan))[0]).all()


@pytest.mark.parametrize("act", ACTS)
def test_every_activation_keeps_a_nan_where_it_is(isa, act):
    x = np.ones((1, 1, 5, 7), "float32")
    x[0, 0, 2, 3] = np.nan
    made = engine(lambda w, v: w.add("activation", [v], act=act)).run(x)[0]
    assert (np.isnan(made) == np.isnan(x)).all()


@pytest.mark.parametrize("at", range(5))
def test_one_nan_makes_a_softmax_nan(isa, at):
    x = np.arange(5, dtype="float32")[None]
    x[0, at] = np.nan
    assert np.isnan(engine(lambda w, v: w.add("softmax", [v]), 5, rank=2).run(x)[0]).all()


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("row, column", [(0, 0), (4, 17), (10, 38), (3, 8)])
def test_a_nan_reaches_every_window_that_holds_it(isa, kind, stride, row, column):
    """In the vectors of a row and in what is left at its end, as the first, a middle and the last tap of a window."""
    window = Window((3, 3), (stride, stride), (1, 1, 1, 1))
    x = np.random.default_rng(0).normal(size=(1, 1, 11, 39)).astype("float32")
    x[0, 0, row, column] = np.nan
    words = {**window.words, "type": kind, "ceil": 0, "exclusive": 1}
    made = engine(lambda w, v: w.add("pool", [v], **words)).run(x)[0][0, 0]
    for i, j in np.ndindex(made.shape):
        y, z = i * stride - 1, j * stride - 1
        assert np.isnan(made[i, j]) == (y <= row < y + 3 and z <= column < z + 3), (i, j)


# ---- NaN in int8 -----------------------------------------------------------------------------------------------------
def int8_net(channels, rank=4, threads=1):
    """int8 and float32 side by side: a convolution in int8, and the input itself."""
    writer, quantizer = one_image(channels, rank), Quantizer.of_range(-3.0, 3.0)
    write = Int8Writer(writer)
    weight = Int8Weight(np.ones((5, channels, 1, 1), "int8"), np.full(5, 0.1, "float32"), np.zeros(5, "float32"))
    value = write.convolution(write.quantize(0, quantizer), weight, Window(), quantizer, act="relu")
    writer.output(write.dequantize(value), rank=rank)
    writer.output(same(writer, 0), rank=rank)
    return Engine(writer.text, writer.arrays, threads=threads)


@pytest.fixture(params=["avx512_vbmi", "avx512_vnni", "avx_vnni", "avx2", "portable"])
def isa_int8(request, monkeypatch):
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", request.param)
    try:
        int8_net(1)
    except ValueError as error:
        if "this processor has" in str(error):
            pytest.skip(f"this processor lacks {request.param}")
        raise
    return request.param


@pytest.mark.parametrize("threads, batch", [(1, 3), (2, 3), (3, 3)])
@pytest.mark.parametrize("channels, size", [(1, (1, 1)), (3, (7, 9)), (4, (4, 4)), (6, (5, 30)), (33, (1, 1))])
def test_one_nan_makes_all_outputs_of_its_sample_nan_and_no_others(isa_int8, channels, size, threads, batch):
    net, x = int8_net(channels, threads=threads), np.ones((batch, channels, *size), "float32")
    clean = net.run(x)
    for channel in {0, channels - 1}:
        for pixel in {(0, 0), (size[0] - 1, size[1] - 1)}:
            dirty = x.copy()
            dirty[(1, channel, *pixel)] = np.nan
            for made, was in zip(net.run(dirty), clean):
                assert np.isnan(made[1]).all() and (made[[0, 2]] == was[[0, 2]]).all()
    assert all((a == b).all() for a, b in zip(net.run(x), clean)), "what lies in padding and guards must not count"


def test_vectors_of_int8_keep_a_nan_too(isa_int8):
    x = np.ones((2, 37), "float32")
    x[0, 36] = np.nan
    made = int8_net(37, rank=2).run(x)[0]
    assert np.isnan(made[0]).all() and not np.isnan(made[1]).any()


def test_infinities_saturate_in_int8(isa_int8):
    made = int8_net(1).run(np.array([np.inf, -np.inf, 3.0], "float32").reshape(3, 1, 1, 1))[0]
    assert made[0, 0] == made[2, 0] > 0 and made[1, 0] == 0
