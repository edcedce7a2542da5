# SPDX-License-Identifier: Apache-2.0
"""Fewer bits: what rounding keeps, and what it refuses."""

from __future__ import annotations

import os

import numpy as np
import paddle
import pytest
from compressed import a_stranger_reads, bits, checkpoint_of, saved_convnet, there_and_back
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from paddle_unstructured.compression import precision
from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed
from paddle_unstructured.formats import pdiparams

# -- fewer bits


def test_bfloat16_rounds_to_nearest_and_ties_to_even():
    words = {
        0x3F800000: 0x3F80,
        0x3F807FFF: 0x3F80,
        0x3F808000: 0x3F80,
        0x3F808001: 0x3F81,
        0x3F818000: 0x3F82,
        0xBF818000: 0xBF82,
        0x00000001: 0,
        0x80000001: 0,
        0x00008000: 0,
        0x00008001: 1,
        0x80000000: 0,
        0x7F800000: 0x7F80,
        0x7F800001: 0x7FC0,
        0xFFFFFFFF: 0xFFFF,
        0x7F7F7FFF: 0x7F7F,
    }
    weight = np.array(list(words), np.uint32).view(np.float32)
    found, scale = precision.rounded(weight, "bf16", "w", None)
    assert [hex(word) for word in found] == [hex(word) for word in words.values()] and scale is None


def test_int8_is_symmetric_per_channel_and_keeps_zeros():
    weight = np.float32([[0.0, 1.0, -2.0], [0.0, 0.0, -0.0], [127.0, -63.4, 0.4]])
    found, scale = precision.rounded(weight, "int8", "w", 0)
    np.testing.assert_array_equal(scale, np.float32([2 / 127, 1, 1]))
    np.testing.assert_array_equal(found, [[0, 64, -127], [0, 0, 0], [127, -63, 0]])
    _, scale = precision.rounded(weight, "int8", "w", 1)
    np.testing.assert_array_equal(scale, np.float32([127, 63.4, 2]) / np.float32(127))
    _, scale = precision.rounded(weight, "int8", "w", None)
    np.testing.assert_array_equal(scale, np.float32([1]))


def test_int8_of_the_largest_and_the_smallest_numbers_stays_finite():
    for extreme in (np.finfo(np.float32).max, 2e-43, 1e-45):
        stored, scale = precision.rounded(np.float32([extreme, -extreme, 0]), "int8", "w", None)
        assert stored[0] == -stored[1] and stored[2] == 0
        assert np.isfinite(precision.restored(stored, "int8", scale, None)).all()


@settings(max_examples=200, deadline=None)
@given(
    arrays_of.arrays(
        np.float32,
        arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
        elements=st.one_of(st.just(0.0), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    ),
    st.sampled_from(["bf16", "fp16", "int8"]),
    st.data(),
)
def test_rounding_keeps_zeros_and_is_near_or_says_that_it_cannot(weight, values, data):
    axis = data.draw(st.sampled_from([None, *range(weight.ndim)]))
    largest = {"bf16": 3.3895e38, "fp16": 65519, "int8": np.inf}[values]
    if (np.abs(weight) > largest).any():
        with pytest.raises(ValueError, match="of some weight become infinite"):
            precision.rounded(weight, values, "some weight", axis)
        return
    stored, scale = precision.rounded(weight, values, "some weight", axis)
    found = precision.restored(stored, precision.STORED[values], scale, axis)
    assert found.shape == weight.shape and found.dtype == np.float32 and np.isfinite(found).all()
    assert bits(found[weight == 0]) == bits(np.zeros_like(found[weight == 0]))
    others = tuple(i for i in range(weight.ndim) if i != axis)
    step = {
        "bf16": np.abs(weight) * 2.0**-8 + 2.0**-134,
        "fp16": np.abs(weight) * 2.0**-11 + 2.0**-25,
        "int8": np.max(np.abs(weight), axis=others, keepdims=True, initial=0) * np.float64(0.504 / 127) + 1e-43,
    }[values]
    assert (np.abs(found.astype("float64") - weight) <= step + 1e-45).all()


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("values, error", [("bf16", 2.0**-8), ("fp16", 2.0**-11), ("int8", 0.5 / 127)])
def test_weights_are_rounded_and_norms_and_biases_are_not(tmp_path, values, error):
    prefix, net, _ = saved_convnet(tmp_path)
    exact, found = there_and_back(prefix), there_and_back(prefix, values=values)
    weights = {"conv2d_0.w_0": (1, 2, 3), "conv2d_1.w_0": (1, 2, 3), "linear_0.w_0": (0,)}
    for name, array in found.items():
        if name in weights:
            largest = np.abs(exact[name]).max(axis=weights[name], keepdims=True)  # of each output channel
            assert (np.abs(array - exact[name]) <= 1.001 * error * largest).all() and (array != exact[name]).any()
            assert (array[exact[name] == 0] == 0).all() and (array != 0).any()
        else:
            assert bits(array) == bits(exact[name]), name
    assert {n: bits(a) for n, a in a_stranger_reads(prefix + ".small")} == {n: bits(a) for n, a in found.items()}
    decompress(prefix + ".small", prefix + "_again")
    again = pdiparams.scan(prefix + "_again.pdiparams", prefix + "_again.json")
    assert {t.name: bits(pdiparams.read(prefix + "_again.pdiparams", t)) for t in again} == {
        n: bits(a) for n, a in found.items()
    }


@pytest.mark.usefixtures("static")
def test_compressing_works_in_dynamic_mode_and_leaves_it_on(tmp_path):
    prefix, *_ = saved_convnet(tmp_path)
    paddle.disable_static()
    compress(prefix, str(tmp_path / "small"), values="int8")
    decompress(str(tmp_path / "small"), str(tmp_path / "again"))
    assert paddle.in_dynamic_mode()
    paddle.enable_static()


@pytest.mark.parametrize(
    "values, weight, message",
    [
        ("fp16", 65520.0, r'got "fp16", in which 1 of w become infinite, 65520 for one; choose "bf16" or "fp32"'),
        ("bf16", 3.4e38, r'got "bf16", in which 1 of w become infinite, 3.4e\+38 for one; choose "fp32"'),
        ("fp16", np.nan, 'got "fp16" and 1 such values in w'),
        ("int8", np.nan, 'got "int8" and 1 such values in w'),
        ("int8", -np.inf, 'got "int8" and 1 such values in w'),
    ],
)
def test_a_weight_that_does_not_fit_is_refused_by_name_and_nothing_written(tmp_path, values, weight, message):
    file = checkpoint_of(tmp_path, v=np.ones((2, 2), "float32"), w=np.float32([[1, 2], [weight, 0]]))
    with pytest.raises(ValueError, match=message):
        compress(file, str(tmp_path / "out" / "small"), values=values)
    assert os.listdir(tmp_path) == ["net.pdparams"]


def test_a_value_that_rounds_to_zero_becomes_one(tmp_path):
    file = checkpoint_of(tmp_path, w=np.float32([[1e-9, 1.0, 0, 0]]))
    assert [compress(file, file + ".small", values=values).zeros for values in ("fp32", "bf16", "fp16", "int8")] == [
        2,
        2,
        3,
        2,
    ]  # int8 has the last axis as its channels here
    np.testing.assert_array_equal(dict(read_compressed(file + ".small"))["w"], np.float32([[1e-9, 1.0, 0, 0]]))
