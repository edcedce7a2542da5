# SPDX-License-Identifier: Apache-2.0
"""`Engine.profile`: what each step of a run takes."""

import numpy as np
import pytest

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window, one_image


def convolution(writer, value, inputs, outputs, kernel=1):
    weight = np.random.default_rng(0).normal(size=(outputs, inputs, kernel, kernel)).astype(np.float32)
    window = Window((kernel, kernel), pad=(kernel // 2,) * 4)
    return writer.convolution(value, weight, np.zeros(outputs), window)


def chain(threads=1):
    """A heavy 3x3 convolution, a light one, and the mean of the image."""
    writer = one_image(16)
    value = convolution(writer, convolution(writer, 0, 16, 64, 3), 64, 4)
    writer.output(writer.add("global_pool", [value]), rank=2)
    return Engine(writer.text, writer.arrays, threads=threads)


def image(batch=1, channels=16):
    return np.random.default_rng(1).normal(size=(batch, channels, 32, 32)).astype(np.float32)


def test_every_step_has_its_time_and_the_heavy_one_most_of_it():
    taken = np.min([chain().profile(image()) for _ in range(5)], axis=0)
    assert taken.shape == (3,) and (taken > 0).all()
    assert taken[0] > taken[1] and taken[0] > taken[2]


@pytest.mark.parametrize("threads, batch", [(1, 3), (2, 1), (2, 4), (3, 12)])
def test_samples_and_threads_are_counted_together(threads, batch):
    taken = chain(threads).profile(image(batch))
    assert taken.shape == (3,) and (taken > 0).all() and taken.sum() < 5.0


def test_a_run_after_it_returns_the_same():
    engine, x = chain(), image()
    (before,) = engine.run(x)
    engine.profile(x)
    np.testing.assert_array_equal(engine.run(x)[0], before)


def test_a_step_whose_work_the_next_one_does_takes_nothing():
    writer = one_image(16)
    filters = np.ones((16, 1, 3, 3), np.float32)
    value = writer.depthwise(0, filters, np.zeros(16), Window((3, 3), pad=(1, 1, 1, 1)))
    writer.output(convolution(writer, value, 16, 8))
    taken = Engine(writer.text, writer.arrays).profile(image())
    assert taken[0] == 0.0 and taken[1] > 0.0


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="channels|shape|must"):
        chain().profile(image(channels=3))
