# SPDX-License-Identifier: Apache-2.0
"""What a model is calibrated on: --calibrate FILE, a folder of images, a Python reader, or `random`."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
from contextlib import contextmanager
from typing import Any, Iterable, Iterator, Mapping, Union

import numpy as np

from .arguments import positive

KINDS = (
    "some hundred inputs without labels: a .npy, an .npz by input name, a folder of images, FILE.py:FUNCTION that "
    "gives arrays or dicts of them, or random"
)
_MOST = 4 << 30  # of what a reader gives
MOST_IMAGES, FEW_IMAGES = 256, 64  # to calibrate on; to try a model on, all in one batch
Samples = Union[dict[str, np.ndarray], list[dict[str, np.ndarray]]]  # of each input all; or batches, of several sizes
WORDS = ("image_size", "mean", "std", "images")


def add_image_words(parser: argparse.ArgumentParser, most: int = MOST_IMAGES) -> None:
    """How images of a folder become inputs, `most` of them by default."""
    group = parser.add_argument_group("images of a folder")
    group.add_argument(
        "--image-size", metavar="N", nargs="+", action="extend", type=positive, help="height and width, or one for both"
    )
    group.add_argument(
        "--mean", metavar="X", nargs="+", action="extend", type=float, help="of pixels in [0, 1]; default: ImageNet's"
    )
    group.add_argument(
        "--std", metavar="X", nargs="+", action="extend", type=float, help="deviation of the same; default: ImageNet's"
    )
    group.add_argument("--images", metavar="N", type=positive, help=f"at most so many, default {most}")


def calibration(args: argparse.Namespace, given: str, model: Any) -> Samples:
    """Samples for every input of the model, from what --calibrate names; many of them wait in a file."""
    from ..reconstruction.spill import trim, waiting

    found = _samples(args, given, model)
    kept = [{name: waiting(array) for name, array in one.items()} for one in _listed(found)]
    trim()
    return kept if isinstance(found, list) else kept[0]


def _listed(found: Samples) -> list[dict[str, np.ndarray]]:
    return found if isinstance(found, list) else [found]


def _samples(args: argparse.Namespace, given: str, model: Any) -> Samples:
    from ..export.images import made_images
    from ..reconstruction.familiarity import as_remembered
    from ..runtime.precision.samples import read_feeds

    if not model.fetches:
        raise ValueError(
            f"{args.model} must be an inference model to be run on data, not a checkpoint; leave out --calibrate."
        )
    if are_made(given):
        _refuse_image_words(args, "--calibrate random", ("mean", "std"))
        wanted, count = _image_input(args, model), args.images or MOST_IMAGES
        made = made_images(wanted, count)
        return {wanted.name: as_remembered(model, wanted.name, made, 3 if wanted.channels_last else 1)}
    if os.path.isdir(given):
        return images_of(args, given, model)
    file, _, name = given.rpartition(":")
    read = file if file.endswith(".py") else given
    if not os.path.exists(read):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}; give {KINDS}", read)
    _refuse_image_words(args, f"--calibrate {given}")
    if given.endswith(".py"):
        raise ValueError(f"--calibrate must name a function of {given}, {given}:batches say, which gives the inputs.")
    return read_feeds(_from_reader(file, name) if file.endswith(".py") else given, model)


def images_of(args: argparse.Namespace, folder: str, model: Any, most: int = MOST_IMAGES) -> dict[str, np.ndarray]:
    """The images of a folder, by the name of the model's input; --image-size and the others say how."""
    from ..export.images import read_images

    wanted = _image_input(args, model)
    return {wanted.name: read_images(folder, wanted, mean=args.mean, std=args.std, count=args.images or most)}


def file_or_images(args: argparse.Namespace, model: Any) -> Union[str, dict[str, np.ndarray], None]:
    """What --data names: the images of a folder, or the file, which others read; None where it was not given."""
    given: str | None = args.data
    if given is not None and os.path.isdir(given):
        return images_of(args, given, model, FEW_IMAGES)
    if given is None or os.path.exists(given):
        _refuse_image_words(args, "random inputs" if given is None else f"--data {given}")
    return given


def _image_input(args: argparse.Namespace, model: Any) -> Any:
    from ..export.images import ImageInput

    size = args.image_size and (args.image_size * 2 if len(args.image_size) == 1 else args.image_size)
    if size and len(size) != 2:
        raise ValueError(f"--image-size must be one number or two, height and width, got {size}.")
    return ImageInput.of(model, size)


def _refuse_image_words(args: argparse.Namespace, given: str, words: tuple[str, ...] = WORDS) -> None:
    unused = [f"--{word.replace('_', '-')}" for word in words if getattr(args, word) is not None]
    if unused:
        raise ValueError(f"{', '.join(unused)} has no meaning for {given}; it is for a folder of images.")


def are_made(given: str) -> bool:
    """Whether --calibrate asks for made images."""
    return given == "random" and not os.path.exists(given)


def note(given: str) -> str:
    """What is to be said of a result that rests on this data."""
    if not are_made(given):
        return ""
    return "\nall of this is measured on made images: real ones lose more; calibrate on these where there are any"


def _from_reader(file: str, name: str) -> Any:
    """The batches that a function of the user's gives."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"no such file: {file}")
    spec = importlib.util.spec_from_file_location("calibration_reader", file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    batches: list[Any] = []
    with _static_mode_again():  # a reader of Paddle's may leave it
        with _said_of(f"{file} cannot be imported"):
            spec.loader.exec_module(module)
        function = getattr(module, name, None)
        what = f"{file} must have a function {name}() that gives arrays, or dicts of them by input name"
        if not callable(function):
            raise ValueError(f"{what}.")
        with _said_of(f"{name}() of {file} fails"):
            found = function()
        if isinstance(found, (np.ndarray, Mapping)):
            return found
        if isinstance(found, str) or not isinstance(found, Iterable):
            raise ValueError(f"{what}, got {type(found).__name__}.")
        with _said_of(f"{name}() of {file} fails"):
            batches.extend(_ended(iter(found)))
    if not batches or not isinstance(batches[0], Mapping):
        return batches
    keys = sorted(batches[0])
    for count, batch in enumerate(batches, 1):
        if not isinstance(batch, Mapping) or sorted(batch) != keys:
            got = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise ValueError(
                f"{name}() of {file} must give the inputs {keys} in every batch, got {got} as batch {count}."
            )
    return batches


def _ended(batches: Iterator[Any]) -> Iterator[Any]:
    """Batches of arrays, of which there must not be more than fit into memory: many readers of training never end."""
    size = 0
    for given in batches:
        batch = {key: np.asarray(part) for key, part in given.items()} if isinstance(given, Mapping) else _array(given)
        size += sum(part.nbytes for part in (batch.values() if isinstance(batch, dict) else [batch]))
        if size > _MOST:
            raise ValueError(f"it must end, and gave more than {_MOST >> 30} GB; some hundred samples are enough")
        yield batch


def _array(given: Any) -> np.ndarray:
    """A batch of the one input; readers of training give its labels, too."""
    parts = [np.shape(part) for part in given] if isinstance(given, (tuple, list)) else []
    if len(parts) > 1 and (isinstance(given, tuple) or len(set(parts)) > 1):
        shapes = " and ".join(str(list(shape)) for shape in parts[:4])
        raise ValueError(
            f"a batch must be an array, or a dict of arrays by input name, got a {type(given).__name__} of "
            f"{len(parts)}, {shapes}; leave labels out"
        )
    return np.asarray(given)


@contextmanager
def _static_mode_again() -> Iterator[None]:
    import paddle

    try:
        yield
    finally:
        paddle.enable_static()


@contextmanager
def _said_of(what: str) -> Iterator[None]:
    """What the user's own code raises, in a line that says whose it is."""
    try:
        yield
    except SystemExit as error:  # a script that parses its own words, say
        raise ValueError(f"{what}: it ends the process, with code {error.code}") from error
    except Exception as error:
        raise ValueError(f"{what}: {type(error).__name__}: {error}") from error
