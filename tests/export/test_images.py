# SPDX-License-Identifier: Apache-2.0
"""Images of a folder as a model takes them, and made ones."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest

from paddle_unstructured.export.images import ImageInput, made_images, read_images

RGB = ImageInput("x", 3, 7, 14, False, "float32")


@pytest.fixture
def folder(tmp_path):
    """Four images: a gray one, a red one, one with a left and a right half, one in a subfolder."""
    image = pytest.importorskip("PIL.Image")
    image.new("L", (20, 10), 51).save(tmp_path / "a.png")
    image.new("RGB", (32, 16), (255, 0, 0)).save(tmp_path / "b.png")
    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:, 16:] = 255
    image.fromarray(halves).save(tmp_path / "c.bmp")
    (tmp_path / "more").mkdir()
    image.new("RGB", (40, 40), (0, 0, 255)).save(tmp_path / "more" / "d.jpg")
    (tmp_path / "note.txt").write_text("no image")
    return tmp_path


def test_pixels_are_scaled_to_one_and_normalised_by_channel(folder):
    found = read_images(folder, RGB, mean=[0.0, 0.5, 0.5], std=[1.0, 0.5, 0.25])
    assert found.shape == (4, 3, 7, 14) and found.dtype == np.float32
    assert found[0, :, 3, 3].tolist() == pytest.approx([0.2, -0.6, -1.2])  # 51 / 255, gray in all channels
    assert found[1, :, 0, 0].tolist() == pytest.approx([1.0, -1.0, -2.0])


def test_imagenets_mean_is_the_default_of_three_channels_and_none_of_one(folder):
    assert read_images(folder, RGB)[1, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)
    assert read_images(folder, ImageInput("x", 1, 7, 14, False, "float32"))[0, 0, 0, 0] == pytest.approx(0.2)


def test_the_middle_is_cut_out_and_left_stays_left(folder):
    found = read_images(folder, RGB, mean=[0.0], std=[1.0])[2, 0]
    assert found[:, :6].max() < 0.05 and found[:, 8:].min() > 0.95


def test_channels_last_and_uint8_are_as_the_model_wants_them(folder):
    found = read_images(folder, ImageInput("x", 3, 7, 14, True, "uint8"))
    assert found.shape == (4, 7, 14, 3) and found.dtype == np.uint8 and found[1, 0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="must be left out for a model that takes uint8"):
        read_images(folder, ImageInput("x", 3, 7, 14, True, "uint8"), mean=[0.5])


def test_few_of_many_are_spread_over_the_folder(folder):
    found = read_images(folder, RGB, mean=[0.0], std=[1.0], count=2)
    assert found[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.0])  # a and c


def test_hidden_files_are_left_out(folder):
    (folder / "._a.png").write_bytes(b"\0\5\26\7")  # as archives from a Mac have it
    assert len(read_images(folder, RGB)) == 4


def test_images_of_other_kinds_are_said_to_be_left_out(folder, caplog):
    for name in ("b.GIF", "a.heic", "notes.txt"):
        (folder / name).write_text("")
    read_images(folder, RGB)
    assert "2 images of other kinds than .jpg" in caplog.text and caplog.text.rstrip().endswith("a.heic, b.GIF")


def test_levels_of_16_bits_are_scaled_and_not_cut_off(tmp_path):
    image = pytest.importorskip("PIL.Image")
    levels = np.full((8, 8), 257 * 100, np.uint16)
    image.fromarray(levels).save(tmp_path / "a.png")
    wanted = ImageInput("x", 1, 4, 4, False, "uint8")
    assert np.unique(read_images(tmp_path, wanted)).tolist() == [100]
    image.fromarray(levels.astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff .* its pixels are of mode F; save it with 8 bits"):
        read_images(tmp_path, wanted)


def test_an_image_that_unpacks_to_gigabytes_is_named(folder, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match=r"a\.png must be an image, .*exceeds limit of 100 pixels"):
        read_images(folder, RGB)


def test_what_is_no_image_is_named(folder):
    (folder / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.png must be an image, and Pillow cannot read it"):
        read_images(folder, RGB)
    with pytest.raises(
        FileNotFoundError,
        match="`folder` must be a folder of images, files that end in .jpg, .*none, where there is none",
    ):
        read_images(folder / "none", RGB)
    with pytest.raises(ValueError, match="`mean` must be one finite number, or 3"):
        read_images(folder, RGB, mean=[0.1, 0.2])
    with pytest.raises(ValueError, match="`std` must be above 0"):
        read_images(folder, RGB, std=[0.0])


def test_without_pillow_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs Pillow: pip install "paddle_unstructured\[images\]"'):
        read_images(folder, RGB)


def test_made_images_are_steeper_than_noise_and_alike_in_all_channels():
    found = made_images(ImageInput("x", 3, 32, 32, False, "float32"), 32)
    assert np.array_equal(found, made_images(ImageInput("x", 3, 32, 32, False, "float32"), 32))
    assert found.mean((0, 2, 3)) == pytest.approx([0, 0, 0], abs=1e-5)
    assert found.std((0, 2, 3)) == pytest.approx([1, 1, 1], abs=1e-5)
    neighbours = np.corrcoef(found[..., :-1].ravel(), found[..., 1:].ravel())[0, 1]
    assert neighbours > 0.8 and np.corrcoef(found[:, 0].ravel(), found[:, 1].ravel())[0, 1] > 0.6
    raw = made_images(ImageInput("x", 1, 16, 16, True, "uint8"), 4)
    assert raw.shape == (4, 16, 16, 1) and raw.dtype == np.uint8


def test_made_images_take_the_room_of_what_they_give():
    tracemalloc.start()
    try:
        found = made_images(ImageInput("x", 3, 32, 32, False, "float32"), 64)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * found.nbytes
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found.mean((0, 2, 3)), 0.0, atol=1e-6)
    np.testing.assert_allclose(found.std((0, 2, 3)), 1.0, rtol=1e-6)


def test_one_made_image_of_one_pixel_is_finite():
    assert np.isfinite(made_images(ImageInput("x", 3, 1, 1, False, "float32"), 1)).all()
