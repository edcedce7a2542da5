# SPDX-License-Identifier: Apache-2.0
"""Tensors of any rank and dtype at the border of a plan, and back."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.runtime.border import DTYPES, Input
from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.plan import PlanWriter, image


def engine(inputs, outputs, nodes=(), threads=1):
    """A plan that returns values of its inputs: `outputs` are (value, dims, dtype)."""
    writer = PlanWriter(inputs)
    for kind, values, words in nodes:
        writer.add(kind, values, **words)
    for value, dims, dtype in outputs:
        writer.output(value, dims=dims.split(","), dtype=dtype)
    return Engine(writer.text, writer.arrays, threads=threads)


def tensor(name, dtype, axes, dims):
    return Input(name, dtype, tuple(axes.split(",")), dims)


def counted(*shape, dtype="float32"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "axes, dims, shape, back",
    [
        ("n", (-1,), (3,), "n"),
        ("n,c", (-1, 4), (3, 4), "n,c"),
        ("n,w", (-1, -1), (2, 5), "n,w"),
        ("n,w,c", (-1, -1, 4), (2, 5, 4), "n,w,c"),
        ("n,c,w", (-1, 4, -1), (2, 4, 5), "n,c,w"),
        ("n,h,w,c", (-1, -1, -1, 3), (2, 5, 4, 3), "n,h,w,c"),
        ("w,n,c", (-1, -1, 3), (5, 2, 3), "w,n,c"),
        ("n,c,h,h,w", (-1, 2, 3, -1, 4), (2, 2, 3, 5, 4), "n,c,3,-1,w"),
        ("n,c,c,h,w", (-1, 2, 3, -1, -1), (2, 2, 3, 5, 4), "n,2,3,h,w"),
        ("n,h,c,w,c", (-1, 2, 3, 4, 2), (2, 2, 3, 4, 2), None),
    ],
)
def test_what_goes_in_comes_out(axes, dims, shape, back, dtype):
    x = counted(*shape, dtype=dtype)
    found = engine([tensor("x", dtype, axes, dims)], [(0, back or "n,c,h,w", dtype)]).run(x)[0]
    want = x if back else x.transpose(0, 2, 4, 1, 3).reshape(2, 6, 2, 4)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("axes", ["n,h,w,c", "n,w,h,c", "n,w,c,h"])
@pytest.mark.parametrize("sizes", [(16, 4, 4), (15, 3, 11), (17, 16, 1), (40, 1, 33), (3, 20, 20), (1, 16, 17)])
def test_planes_are_turned_block_by_block_and_to_the_last_number(sizes, axes, threads):
    planes = counted(2, *sizes)
    turned = np.ascontiguousarray(planes.transpose(["nchw".index(letter) for letter in axes.split(",")]))
    dims = tuple(sizes[0] if letter == "c" else -1 for letter in axes.split(","))
    for dtype in ("float32", "int32"):
        given = tensor("x", dtype, axes, dims)
        outputs = [(0, axes, "float32"), (0, "n,c,h,w", "float32"), (0, axes, "int16")]
        found = engine([given], outputs, threads=threads).run(turned.astype(dtype))
        for one, want in zip(found, (turned, planes, turned)):
            np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize(
    "dims, shape", [("n,c*h*w", (2, 60)), ("n*c,h,w", (6, 5, 4)), ("n*3,-1", (6, 20)), ("n,1,c,h*w", (2, 1, 3, 20))]
)
def test_axes_of_an_output_are_products(dims, shape):
    x = counted(2, 3, 5, 4)
    found = engine([image(3)], [(0, dims, "float32")]).run(x)[0]
    np.testing.assert_array_equal(found, x.reshape(shape))


def test_samples_behind_another_axis_are_spread_out():
    x = counted(4, 6, 5)
    found = engine([tensor("x", "float32", "n,c,w", (-1, 6, -1))], [(0, "2,n,3,w", "float32")]).run(x)[0]
    np.testing.assert_array_equal(found, x.reshape(4, 2, 3, 5).transpose(1, 0, 2, 3))


@pytest.mark.parametrize("threads", [1, 2])
def test_several_inputs_one_of_which_all_samples_share(threads):
    inputs = [image(3, name="a"), tensor("b", "int64", "n,c,h,w", (-1, 3, -1, -1)), tensor("c", "int32", "1,c", (1, 3))]
    nodes = [("add", [0, 1], {}), ("multiply", [3, 2], {})]
    net = engine(inputs, [(4, "n,c,h,w", "float32"), (3, "n,c,h,w", "int64"), (1, "n,c,h,w", "bool")], nodes, threads)
    random = np.random.default_rng(0)
    a, b = random.integers(-5, 5, (4, 3, 8, 16)).astype("float32"), random.integers(-5, 5, (4, 3, 8, 16))
    c = np.array([[1, 2, 3]], "int32")
    want = [(a + b) * c[:, :, None, None], (a + b).astype("int64"), b != 0]
    for found in (net.run(a, b, c), net.run({"c": c, "a": a, "b": b})):
        for one, expected in zip(found, want):
            np.testing.assert_array_equal(one, expected)


def test_whole_numbers_are_exact_up_to_2_to_the_24_and_refused_beyond():
    net = engine([tensor("ids", "int64", "n,w", (-1, -1))], [(0, "n,w", "int64")])
    x = np.array([[1 << 24, -(1 << 24), 16777215]])
    np.testing.assert_array_equal(net.run(x)[0], x)
    with pytest.raises(ValueError, match="ids has 16777217, where the runtime holds whole numbers up to 16777216"):
        net.run(x + 1)


def test_a_nan_is_zero_in_an_output_of_whole_numbers():
    net = engine([image(1)], [(0, "n,c,h,w", dtype) for dtype in ("int64", "int32", "float32")])
    x = np.array([np.nan, np.inf, -np.inf, 2.0], "float32").reshape(1, 1, 2, 2)
    long, short, real = net.run(x)
    assert long.ravel().tolist() == [0, 2**63 - 1, -(2**63), 2]
    assert short.ravel().tolist() == [0, 2**31 - 1, -(2**31), 2]
    np.testing.assert_array_equal(real, x)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint8"])
def test_an_output_of_few_bits_is_saturated(dtype):
    x = np.array([[1e6, -1e6, 3.0, np.nan]], "float32")
    ends = np.iinfo(dtype)
    found = engine([tensor("x", "float32", "n,c", (-1, 4))], [(0, "n,c", dtype)]).run(x)[0]
    assert found.tolist() == [[ends.max, ends.min, 3, 0]]


def test_half_precision_is_rounded_as_numpy_rounds_it():
    every = np.arange(1 << 16).astype("uint16").view("float16").reshape(1, -1)
    plan = engine([tensor("x", "float16", "n,c", (-1, 1 << 16))], [(0, "n,c", "float32"), (0, "n,c", "float16")])
    wide, same = plan.run(every)
    np.testing.assert_array_equal(wide, every.astype("float32"))
    np.testing.assert_array_equal(same, every)
    steps = 2.0 ** np.random.default_rng(0).uniform(-27, 17, 5000)
    x = np.array([[*steps, 65519.996, 65520.0, 2.0**-25, 3 * 2.0**-25, np.inf, -1e30, 0.0, -0.0]], "float32")
    found = engine([tensor("x", "float32", "n,c", (-1, x.size))], [(0, "n,c", "float16")]).run(x)[0]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.view("uint16"), x.astype("float16").view("uint16"))


def test_a_number_that_float32_does_not_hold_is_refused():
    net = engine([tensor("x", "float64", "n,c", (-1, 2))], [(0, "n,c", "float64")])
    assert net.run(np.array([[1e30, np.inf]]))[0].tolist() == [[float(np.float32(1e30)), np.inf]]
    with pytest.raises(ValueError, match="must fit float32, at most 3.4e"):
        net.run(np.array([[1e300, 0]]))


@pytest.mark.parametrize("threads", [1, 2])
def test_no_samples_give_outputs_of_no_samples(threads):
    outputs = [(1, "n,c,h,w", "float32"), (0, "n*c,-1", "int64")]
    net = engine([image(3)], outputs, [("activation", [0], {"act": "relu"})], threads)
    first, second = net.run(np.zeros((0, 3, 4, 5)))
    assert first.shape == (0, 3, 4, 5) and second.shape == (0, 20) and second.dtype == "int64"
    assert net.profile(np.zeros((0, 3, 4, 5))).tolist() == [0.0]


IDS = [tensor("ids", "int64", "n,w", (-1, 8)), tensor("mask", "bool", "n,w", (-1, -1))]


@pytest.mark.parametrize(
    "given, match",
    [
        ((), r"takes 2 input\(s\), ids, mask, got 0"),
        ((np.zeros((1, 8), int),), "got 1"),
        ((np.zeros((1, 8), int),) * 3, "got 3"),
        (({"ids": np.zeros((1, 8), int)},), "for each of ids, mask, got ids"),
        (({"ids": 0, "mask": 0, "more": 0},), "got ids, mask, more"),
        ((np.zeros((1, 8)), np.zeros((1, 8), bool)), "ids must be whole numbers of int64"),
        ((np.zeros((1, 7), int), np.zeros((1, 8), bool)), r"ids must be int64 of shape \[n, 8\], got \[1, 7\]"),
        ((np.zeros((1, 8, 1), int), np.zeros((1, 8), bool)), r"got \[1, 8, 1\]"),
        ((np.zeros((2, 8), int), np.zeros((3, 8), bool)), "equally many samples, got 2 of ids, 3 of mask"),
        ((np.zeros((1, 8), int), np.zeros((1, 0), bool)), r"mask must be bool of shape \[n, width\], got \[1, 0\]"),
        ((np.zeros((1, 8), int), np.full((1, 8), 2)), "mask must fit bool, got 2"),
        ((np.full((1, 8), "x"), np.zeros((1, 8), bool)), "ids must be real numbers"),
    ],
)
def test_what_does_not_fit_is_refused(given, match):
    net = engine(IDS, [(0, "n,w", "int64"), (1, "n,w", "bool")])
    with pytest.raises((ValueError, TypeError), match=match):
        net.run(*given)


INPUT, OUTPUT = "input name=x dtype=int64 axes=n,c,w dims=-1,4,-1", "output from=0 dims=n,c,w dtype=int64"


def load(*lines):
    text = "\n".join(["paddle_unstructured plan 3", "contents digest=0", *lines])
    return Engine(signed(text, []), [])


def test_the_plan_that_is_damaged_below_is_read():
    x = counted(2, 4, 3, dtype="int64")
    np.testing.assert_array_equal(load(INPUT, OUTPUT).run(x)[0], x)


@pytest.mark.parametrize(
    "old, new",
    [
        (INPUT, ""),
        (OUTPUT, ""),
        (INPUT, "input channels=4 rank=4"),
        ("name=x ", ""),
        ("dtype=int64 axes", "dtype=int4 axes"),
        ("dtype=int64 axes", "axes"),
        ("axes=n,c,w", "axes=n,c"),
        ("axes=n,c,w", "axes=n,n,w"),
        ("axes=n,c,w", "axes=n,c,x"),
        ("axes=n,c,w", "axes=n,c,"),
        ("axes=n,c,w", "axes=n,c,ww"),
        ("axes=n,c,w", "axes=n,1,w"),
        ("dims=-1,4,-1", "dims=2,4,-1"),
        ("dims=-1,4,-1", "dims=-1,0,-1"),
        ("dims=-1,4,-1", "dims=-1,4,-2"),
        ("dims=-1,4,-1", "dims=-1,99999999,-1"),
        ("dims=-1,4,-1", "dims=-1,99999999999999999999,-1"),
        ("dims=-1,4,-1", "dims=-1,x,-1"),
        ("dims=-1,4,-1", "dims=-1,4,-1,-1,-1,-1,-1,-1,-1"),
        ("from=0", "from=1"),
        ("from=0", "from=-1"),
        ("dims=n,c,w", "dims=c,w"),
        ("dims=n,c,w", "dims=n,n,w"),
        ("dims=n,c,w", "dims=n,c*c,w"),
        ("dims=n,c,w", "dims=n,-1,-1"),
        ("dims=n,c,w", "dims=n,w,2*c"),
        ("dims=n,c,w", "dims=n,w,-1,c"),
        ("dims=n,c,w", "dims=n,c*,*w"),
        ("dims=n,c,w", "dims=n,0,w"),
        ("dims=n,c,w", "dims=n,-3,w"),
        ("dims=n,c,w", "dims=n,4x,w"),
        ("dims=n,c,w", "dims=n,1,1,1,1,1,1,1,c,w"),
        ("dims=n,c,w", "dims="),
        ("dtype=int64", "dtype=complex64"),
        (OUTPUT, OUTPUT + "\n" + INPUT),
        (OUTPUT, "activation from=0 act=relu\n" + INPUT + "\n" + OUTPUT),
    ],
)
def test_a_damaged_line_is_refused(old, new):
    lines = f"{INPUT}\n{OUTPUT}"
    assert old in lines
    with pytest.raises(ValueError):
        load(*lines.replace(old, new).split("\n"))


@pytest.mark.parametrize("dims", ["n,c", "n,c,4", "n,3,-1", "n,c,w,2"])
def test_an_output_of_another_size_is_refused_before_it_runs(dims):
    with pytest.raises(ValueError, match="another size than its plan says"):
        load(INPUT, OUTPUT.replace("n,c,w", dims)).run(counted(2, 4, 5, dtype="int64"))


def test_a_name_may_hold_anything():
    name = "x = 1\n2 %,é"
    net = engine([tensor(name, "float32", "n", (-1,))], [(0, "n", "float32")])
    assert net.inputs[0].name == name and net.run({name: [1.5]})[0].tolist() == [1.5]
