# SPDX-License-Identifier: Apache-2.0
"""Made images that get the mean and the deviation which the first batch norm remembers."""

import tracemalloc

import numpy as np
import pytest
from paddle import nn
from saved_nets import saved, structured

from paddle_unstructured.export import recalibrate
from paddle_unstructured.reconstruction.familiarity import as_remembered, warn_if_unfamiliar

pytestmark = pytest.mark.usefixtures("static")

MEAN, DEVIATION = np.array([100.0, 140.0, -30.0], np.float32), 50.0


def normed(x):
    return nn.BatchNorm2D(24)(nn.Conv2D(3, 24, 3, stride=2, padding=1)(nn.functional.pad(x, [0, 1, 0, 1])))


def normed_last(x):
    return nn.BatchNorm2D(24, data_format="NHWC")(nn.Conv2D(3, 24, 3, data_format="NHWC")(x))


def bent(x):
    return nn.BatchNorm2D(24)(nn.functional.relu(nn.Conv2D(3, 24, 3)(x)))


def without(x):
    return nn.functional.relu(nn.Conv2D(3, 24, 3)(x))


def images(seed, axis=1):
    made = structured(np.random.default_rng(seed), 64, size=16)
    made = (made - made.mean((0, 2, 3), keepdims=True)) / made.std((0, 2, 3), keepdims=True)
    return np.ascontiguousarray(np.moveaxis(made, 1, axis))


def trained(folder, build, axis=1):
    """A net that remembers images of this mean and deviation."""
    model = saved(folder, build, (3, 16, 16) if axis == 1 else (16, 16, 3))
    seen = DEVIATION * np.moveaxis(images(0, axis), axis, 3) + MEAN
    recalibrate(model, [{"x": np.ascontiguousarray(np.moveaxis(seen, 3, axis))}])
    return model


@pytest.mark.parametrize(("build", "axis"), [(normed, 1), (normed_last, 3)])
def test_images_get_the_mean_and_deviation_that_the_net_remembers(tmp_path, caplog, build, axis):
    model, made = trained(tmp_path, build, axis), images(1, axis)
    found = as_remembered(model, "x", made, axis)
    assert found.dtype == np.float32 and found.shape == made.shape
    others = tuple(i for i in range(4) if i != axis)
    np.testing.assert_allclose(found.std(others), DEVIATION, rtol=0.15)
    np.testing.assert_allclose(found.mean(others), MEAN, atol=0.3 * DEVIATION)
    warn_if_unfamiliar(model.graph, [{"x": found}])
    assert not caplog.text
    warn_if_unfamiliar(model.graph, [{"x": made}])
    assert "does not look like" in caplog.text


def test_many_images_are_changed_a_few_at_a_time(tmp_path):
    model, made = trained(tmp_path, normed), np.concatenate([images(1)] * 32)
    tracemalloc.start()
    try:
        as_remembered(model, "x", made, 1)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * made.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("build", [without, bent])
def test_images_stay_where_nothing_can_be_said(tmp_path, build):
    model = saved(tmp_path, build, (3, 16, 16)) if build is without else trained(tmp_path, build)
    made = images(1)
    assert as_remembered(model, "x", made, 1) is made


def test_whole_numbers_stay(tmp_path):
    made = np.full((4, 3, 16, 16), 7, np.uint8)
    assert as_remembered(trained(tmp_path, normed), "x", made, 1) is made


def test_a_norm_that_remembers_nothing_yet_leaves_the_deviation_of_its_own(tmp_path):
    model, made = saved(tmp_path, normed, (3, 16, 16)), images(1)  # running mean 0 and variance 1
    found = as_remembered(model, "x", made, 1)
    assert np.isfinite(found).all() and found.std() > 0


def with_statistics(model, channels, mean, variance):
    """A norm that remembers such of its first channels."""
    for param in model.graph.params():
        for role, number in (("norm mean", mean), ("norm variance", variance)):
            if param.role == role:
                array = model.graph.stored(param.name).copy()
                array[:channels] = number
                model.graph.store(param.name, array)
    return model


@pytest.mark.parametrize("number", [np.nan, np.inf, -1.0])
def test_channels_whose_statistics_are_no_numbers_say_nothing(tmp_path, caplog, number):
    model = with_statistics(trained(tmp_path, normed), 4, 0.0, number)
    found = as_remembered(model, "x", images(1), 1)
    np.testing.assert_allclose(found.std((0, 2, 3)), DEVIATION, rtol=0.15)
    warn_if_unfamiliar(model.graph, [{"x": found}])
    assert not caplog.text


def test_a_norm_without_any_number_leaves_images_as_they_are(tmp_path, caplog):
    model, made = with_statistics(trained(tmp_path, normed), 24, np.nan, np.nan), images(1)
    assert as_remembered(model, "x", made, 1) is made
    warn_if_unfamiliar(model.graph, [{"x": made}])
    assert not caplog.text
