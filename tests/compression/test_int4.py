# SPDX-License-Identifier: Apache-2.0
"""Weights of 15 numbers: the right ones, zeros kept, and about four bits each on disk."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.compression import precision
from paddle_unstructured.export import compress, decompress


def slow(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """One channel."""
    best, found = np.inf, (np.zeros(0), 1.0)
    for cut in np.linspace(1.0, 0.5, 26, dtype=np.float32):
        scale = np.abs(weight).max() * cut / 7
        steps = np.clip(np.rint(weight / scale), -7, 7)
        error = np.square((steps * scale - weight).astype(np.float64)).sum()
        if error < best:
            best, found = error, (steps, scale)
    return found


@pytest.mark.parametrize("shape, axis", [((5, 40), 0), ((40, 5), 1), ((5, 3, 3, 3), 0)])
def test_every_channel_has_the_scale_with_the_least_error(shape, axis):
    weight = np.random.default_rng(0).normal(size=shape).astype("float32")
    steps, scale = precision.rounded(weight, "int4", "w", axis)
    for channel, factor, of_channel in zip(np.moveaxis(weight, axis, 0), scale, np.moveaxis(steps, axis, 0)):
        expected, wanted = slow(channel)
        assert factor == pytest.approx(wanted) and (of_channel == expected).all()
    assert steps.dtype == np.int8 and np.abs(steps).max() == 7


def test_an_outlier_is_cut_where_that_costs_less_than_it_saves():
    weight = np.float32([[3.0] + [1.0, -1.0] * 2000])
    _, scale = precision.rounded(weight, "int4", "w", 0)
    whole, _ = np.float32(3 / 7), None
    assert scale[0] < whole
    steps, _ = precision.rounded(np.float32([[7, 1, -1, 0]]), "int4", "w", 0)
    assert steps.tolist() == [[7, 1, -1, 0]]


def test_zeros_and_channels_of_zeros_stay_and_extremes_stay_finite():
    weight = np.random.default_rng(1).normal(size=(6, 50)).astype("float32")
    weight[np.abs(weight) < 0.5], weight[2] = 0.0, 0.0
    steps, scale = precision.rounded(weight, "int4", "w", 0)
    back = precision.restored(steps, "int8", scale, 0)
    assert (back[weight == 0] == 0).all() and (scale > 0).all() and np.isfinite(back).all()
    for extreme in (3.4028235e38, 1e-45, 1e-38):
        stored, scale = precision.rounded(np.float32([extreme, -extreme, 0]), "int4", "w", None)
        assert np.isfinite(precision.restored(stored, "int8", scale, None)).all()
    with pytest.raises(ValueError, match='got "int4" and 1 such values in w'):
        precision.rounded(np.float32([1, np.nan]), "int4", "w", None)


def test_a_file_takes_about_four_bits_a_weight_and_is_read_like_any_other(tmp_path):
    import paddle

    weight = np.random.default_rng(2).normal(size=(256, 400)).astype("float32")
    weight[np.random.default_rng(3).random(weight.shape) < 0.75] = 0.0
    paddle.save({"w": paddle.to_tensor(weight)}, str(tmp_path / "m.pdparams"))
    sizes = compress(str(tmp_path / "m.pdparams"), tmp_path / "m.small", values="int4")
    bits = 8 * (tmp_path / "m.small").stat().st_size / (weight != 0).sum()
    assert bits < 4 + 4 * 0.82, bits  # and the bitmask of four positions for each that is kept
    decompress(tmp_path / "m.small", tmp_path / "back.pdparams")
    back = paddle.load(str(tmp_path / "back.pdparams"))["w"].numpy()
    steps, scale = precision.rounded(weight, "int4", "w", 1)
    assert (back == precision.restored(steps, "int8", scale, 1)).all() and (back[weight == 0] == 0).all()
    assert sizes.zeros == (back == 0).sum()
