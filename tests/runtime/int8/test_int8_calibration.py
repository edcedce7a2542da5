# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations: calibrators against brute force, what layers return, data files, learned ranges."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddle_unstructured.runtime.border import VECTORS
from paddle_unstructured.runtime.border import image as image_of
from paddle_unstructured.runtime.int8.assign_scales import assign
from paddle_unstructured.runtime.int8.calibrators import BINS, Histogram, minmax, mse, percentile
from paddle_unstructured.runtime.int8.observe import observe
from paddle_unstructured.runtime.int8.options import Int8, from_files
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.ranges import complete, learned, read_ranges
from paddle_unstructured.runtime.net import Layer, Net, Output, input_layer, layers_of
from paddle_unstructured.runtime.plan import Window
from paddle_unstructured.runtime.precision.samples import read_inputs

RANDOM = np.random.default_rng(0)
SAMPLES = {
    "normal": RANDOM.normal(size=60000),
    "relu": np.maximum(RANDOM.normal(size=60000), 0),
    "laplace": RANDOM.laplace(size=60000),
    "outlier": np.append(RANDOM.uniform(-1, 1, 60000), [40.0, -3]),
    "uniform": RANDOM.uniform(-2, 1, 60000),
    "positive": RANDOM.gamma(2, size=60000) + 0.5,
    "negative": -RANDOM.gamma(2, size=60000),
}


def counted(x):
    return Histogram(x.min(), x.max(), np.histogram(x, bins=BINS)[0], int((x == 0).sum()))


def true_error(x, low, high):
    """Of rounding to 256 numbers, without moving the zero point."""
    step = (high - low) / 255
    return ((np.clip(low + np.rint((x - low) / step) * step, low, high) - x)[x != 0] ** 2).sum()


@pytest.mark.parametrize("name", SAMPLES)
def test_minmax_clips_nothing(name):
    x = SAMPLES[name]
    assert minmax(counted(x)) == (x.min(), x.max())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_percentile_equals_that_of_the_numbers(name):
    x = np.sort(SAMPLES[name])
    width = (x[-1] - x[0]) / BINS
    for percent in (99, 99.9):
        for got, place in zip(percentile(counted(x), percent), (len(x) * (1 - percent / 100), len(x) * percent / 100)):
            assert x[round(place) - 2] - width <= got <= x[round(place) + 1] + width


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_is_the_best_of_many_ranges(name):
    x = SAMPLES[name][::3] if name != "outlier" else SAMPLES[name]
    ends = np.linspace(0.04, 1, 25)
    lows, highs = (
        [end * fraction for fraction in ends] if end else [0.0] for end in (min(x.min(), 0.0), max(x.max(), 0.0))
    )
    best = min(true_error(x, low, high) for low in lows for high in highs)
    assert true_error(x, *mse(counted(x))) <= 1.02 * best


def test_mse_cuts_an_outlier_off_where_minmax_does_not():
    x = counted(SAMPLES["outlier"])
    many = Histogram(x.low, x.high, np.where(x.counts > 1, 200 * x.counts, x.counts))
    assert mse(many)[1] < 2 and minmax(many)[1] == 40


def test_zeros_do_not_count_for_mse():
    """A byte holds them exactly, however many there are."""
    x = counted(SAMPLES["relu"])
    more = x.counts.copy()
    more[0] += 10**9
    assert mse(Histogram(x.low, x.high, more, x.zeros + 10**9)) == mse(x)


@pytest.mark.parametrize("calibrator", [minmax, percentile, mse])
def test_a_constant_is_its_own_range(calibrator):
    assert calibrator(Histogram(3.0, 3.0, np.zeros(BINS, np.int64))) == (3, 3)


def small_net():
    """conv -> hard_swish -> 3x3 filter per channel -> pool, flatten -> linear"""
    image = input_layer(image_of(3))
    first = Layer("conv", (image,), "first", RANDOM.normal(size=(6, 3, 1, 1)), RANDOM.normal(size=6))
    swish = Layer("activation", (first,), act="hard_swish")
    deep = Layer(
        "conv",
        (swish,),
        "deep",
        RANDOM.normal(size=(6, 1, 3, 3)),
        np.zeros(6),
        Window((3, 3), pad=(1, 1, 1, 1)),
        6,
        act="relu",
    )
    pooled = Layer("pool", (deep,), window=Window((2, 2), (2, 2)), words={"type": "max", "ceil": 0, "exclusive": 1})
    flat = Layer("flatten", (pooled,))
    last = Layer("linear", (flat,), "last", RANDOM.normal(size=(5, 24, 1, 1)), np.zeros(5))
    return Net([image], [Output(last, VECTORS)]), (image, first, swish, deep, pooled, flat, last)


@pytest.mark.parametrize("batches", [[7], [1, 2, 4], [4, 3]])
def test_observations_equal_those_of_all_samples_at_once(batches):
    net, layers = small_net()
    x = np.random.default_rng(1).normal(size=(7, 3, 4, 4)).astype("float32")
    seen = observe(net, [[part] for part in np.split(x, np.cumsum(batches)[:-1])], histograms=True)
    middle = np.einsum("oc,nchw->nohw", layers[1].weight[:, :, 0, 0], x) + layers[1].bias[:, None, None]
    for layer, values in ((layers[0], x), (layers[1], middle), (layers[2], middle * np.clip(middle + 3, 0, 6) / 6)):
        one = seen[layer]
        assert (one.low, one.high) == pytest.approx((values.min(), values.max()), rel=1e-5)
        assert np.allclose(one.mean, values.mean((0, 2, 3)), atol=1e-5) and one.counts.sum() == values.size
        assert np.abs(one.counts - np.histogram(values, bins=BINS)[0]).sum() <= 0.1 * values.size  # at edges of bins
    relu = seen[layers[3]]
    assert relu.low == 0 and relu.zeros > 0 and relu.counts[0] >= relu.zeros


def test_data_that_are_not_finite_are_refused_by_name():
    net, _ = small_net()
    x = np.zeros((2, 3, 4, 4), "float32")
    x[1, 2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="the input has NaN"):
        observe(net, [[x]], histograms=False)


def test_nearly_equal_numbers_have_a_histogram():
    net, layers = small_net()
    x = np.full((2, 3, 4, 4), 1e4, "float32")
    x[0, 0, 0, 0] = np.nextafter(np.float32(1e4), np.float32(2e4))
    one = observe(net, [[x]], histograms=True)[net.inputs[0]]
    assert one.counts.sum() == x.size and one.counts[-1] == 1 and layers


@pytest.mark.parametrize("shape, batches", [((5, 3, 4, 4), [5]), ((2, 5, 3, 4, 4), [5, 5])])
def test_arrays_and_files_hold_samples_or_batches(tmp_path, shape, batches):
    x = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", image=x, label=np.arange(5))
    for data in (x, str(tmp_path / "x.npy"), tmp_path / "x.npz", {"image": x}, [x], [{"image": x}]):
        found = read_inputs(data, "image", [-1, 3, -1, -1])
        assert [len(batch) for batch in found] == batches and found[0].dtype == np.float32
        assert (np.concatenate(found) == x.reshape(-1, 3, 4, 4).astype("float32")).all()


def test_data_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "other.npz", y=np.zeros((2, 3, 4, 4)))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "claims.npy", np.zeros((1, 3, 4, 4)))
    claims = (tmp_path / "claims.npy").read_bytes()
    (tmp_path / "claims.npy").write_bytes(claims.replace(b"(1, 3, 4, 4)", b"(999999999,)"))  # 8 GB, of which 384 bytes
    for data, message in (
        (np.zeros((2, 4, 4, 4)), "must fit the input 'x'"),
        (np.zeros(3), "must fit"),
        (np.zeros((0, 3, 4, 4)), "at least one sample"),
        ([], "at least one sample"),
        (str(tmp_path / "broken.npz"), "must be a .npy or .npz"),
        ({"y": 1}, "for the input 'x'"),
        (str(tmp_path / "other.npz"), "got arrays for y"),
        (np.array(["a"]), "must be samples, arrays of numbers"),
        (str(tmp_path / "objects.npy"), "must be a .npy or .npz"),
        (str(tmp_path / "claims.npy"), "claims.npy must be a .npy or .npz .*it is cut short"),
    ):
        with pytest.raises(ValueError, match=message):
            read_inputs(data, "x", [-1, 3, -1, -1])
    with pytest.raises(FileNotFoundError):
        read_inputs(str(tmp_path / "none.npy"), "x", [-1, 3, -1, -1])


def test_what_moves_bytes_shares_the_scale_of_what_it_reads():
    net, (image, first, swish, deep, pooled, flat, last) = small_net()
    ranges = {layer: (-1.0 - i, 2.0 + i) for i, layer in enumerate((image, first, swish, deep, pooled, flat, last))}
    made = assign(net, ranges, set())
    assert made[flat] == made[pooled] == made[deep] == Quantizer.of_range(-6, 7)
    assert made[first] == Quantizer.of_range(-2, 3) and made[swish] == Quantizer.of_range(-3, 4)
    wide = assign(net, {**ranges, first: (-8.0, 3.0)}, set())
    assert wide[first] == Quantizer.of_range(-3, 3)  # hard-swish is 0 below


def test_a_maximum_of_what_others_read_too_takes_their_scale():
    net, (*_, deep, pooled, _, last) = small_net()
    net = Net(net.inputs, [*net.outputs, Output(Layer("global_pool", (deep,)), VECTORS)])
    made = assign(
        net, {net.inputs[0]: (-1, 1), **{layer: (0, 2.0 + i) for i, layer in enumerate(layers_of(net))}}, set()
    )
    assert made[pooled] == made[deep] == Quantizer.of_range(0, 4)


def test_a_concatenation_rescales_only_what_others_read_too():
    net, (_, first, swish, deep, *_) = small_net()
    both = Layer("concat", (swish, deep))
    net = Net(net.inputs, [Output(Layer("global_pool", (both,)), VECTORS)])
    ranges = {
        layer: (0.0, 1.0 + i) for i, layer in enumerate((*net.inputs, first, swish, deep, both, net.outputs[0].layer))
    }
    made = assign(net, ranges, set())
    assert made[deep] == made[both] == Quantizer.of_range(0, 5) and made[swish] == Quantizer.of_range(0, 3)


LEARNED = {"first": {"input": [-2, 2]}, "deep": {"input": [-0.375, 4]}, "last": {"input": [0, 9], "output": [-1, 1]}}


def test_learned_ranges_are_those_of_the_layers_that_read(tmp_path):
    (tmp_path / "net.ranges.json").write_text(json.dumps(LEARNED))
    net, (image, first, swish, deep, pooled, flat, last) = small_net()
    found = learned(net, read_ranges(tmp_path / "net.ranges.json"))
    assert found == {image: (-2, 2), swish: (-0.375, 4), flat: (0, 9), last: (-1, 1)}
    with pytest.raises(ValueError, match="`data` must be given, too"):
        complete(net, found, {})  # nothing says what the filter per channel returns
    found[deep] = (0, 9)
    whole = complete(net, found, {})
    assert whole[first] == (-3, 4.5) and whole[pooled] == (0, 9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"first": 3}',
        '{"first": {"input": [1]}}',
        '{"first": {"middle": [0, 1]}}',
        '{"first": {"input": [2, 1]}}',
        '{"first": {"input": [0, NaN]}}',
    ],
)
def test_damaged_ranges_are_refused(tmp_path, text):
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(ValueError, match="ranges.json must"):
        read_ranges(str(tmp_path / "ranges.json"))


def test_ranges_of_another_net_are_refused():
    with pytest.raises(ValueError, match="must name weights of the model, got conv9.*first, deep, last"):
        learned(small_net()[0], {"conv9": {}})


@pytest.mark.parametrize(
    "words, message",
    [
        ({}, "must be given"),
        ({"data": "x.npy", "calibration": "entropy"}, "must be one of best, minmax, percentile, mse"),
        ({"ranges": {}, "equalize": True}, "`equalize` must be left out"),
        ({"data": "x.npy", "skip": "a"}, "a list"),
        ({"data": 3}, "`data` must be samples"),
        ({"data": b"x.npy"}, "`data` must be samples"),
        ({"data": ["x.npy"]}, "`data` must be samples, arrays of numbers"),
        ({"data": {"x": "y"}}, "`data` must be samples, arrays of numbers"),
        ({"data": np.zeros([0, 3])}, "at least one sample"),
        ({"data": []}, "at least one sample"),
        ({"ranges": 3}, "`ranges` must be ranges by weight"),
    ],
)
def test_senseless_options_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Int8(**words)


def test_options_of_the_command_line():
    both = from_files(["x.npy", "net.ranges.json"], calibration="mse")
    assert (both.data, both.ranges, both.calibration) == ("x.npy", "net.ranges.json", "mse")
    for files in ([], ["a.npy", "b.npy"], ["a.json", "b.json"]):
        with pytest.raises(ValueError, match="--calibrate"):
            from_files(files)
