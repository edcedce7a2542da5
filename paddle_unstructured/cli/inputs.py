# SPDX-License-Identifier: Apache-2.0
"""What a model is run on: --data DATA or --shape NAME=N,N,…; one rule for every command that runs a model.

DATA is an .npz with an array per input under the input's name, a .npy for a model of one input, or a folder of images.
A shape stands for random numbers of it; the name may be left out for a model of one input.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import Any, Iterator

from ..arguments import WrongKind
from ..formats.scratch import scratch
from .calibration import FEW_IMAGES, add_image_words, file_or_images
from .names import stands_for


def add_inputs(parser: argparse.ArgumentParser, purpose: str) -> None:
    """--data and --shape; `purpose` says what they are for."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--data",
        metavar="DATA",
        help=f"{purpose}: an .npz of arrays [n, ...] by input name, a .npy for one input, or a folder of images; "
        "default: random numbers",
    )
    which.add_argument(
        "--shape",
        metavar="NAME=N,N,...",
        nargs="+",
        action="extend",
        help="shape of random inputs, x=1,3,48,320 say: needed where a model leaves sizes open",
    )
    add_image_words(parser, FEW_IMAGES)


def shapes_of(args: argparse.Namespace, model: Any) -> dict[str, list[int]] | None:
    """The shapes that were given, by input; None if there are none, and none are needed."""
    if args.shape is not None:
        return parsed_shapes(args.shape, model)
    for name, value in model.inputs.items():
        shape = list(value.shape)
        if args.data is None and any(extent < 0 for extent in shape[1:]):
            example = ",".join(str(extent) if extent > 0 else "N" for extent in [1, *shape[1:]])
            raise ValueError(
                f"the model leaves sizes of its input {name!r} open, {shape}; give --shape {name}={example} with a "
                "number for every N, or --data DATA."
            )
    return None


def parsed_shapes(given: list[str] | None, model: Any) -> dict[str, list[int]] | None:
    """NAME=N,N,... of some inputs, as shapes by name; None of none."""
    return None if given is None else dict(_parsed(text, model.feeds) for text in given)


def inputs_of(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """`inputs` or `shapes` for what a model is tried on."""
    from ..runtime.precision.samples import read_named

    shapes, data = shapes_of(args, model), file_or_images(args, model)
    return {"shapes": shapes, "inputs": None if data is None else read_named(data, model)}


@contextmanager
def translated(path: str) -> Iterator[str]:
    """The prefix of a model of Paddle 3: the model itself, or a legacy one translated into a folder for the while."""
    from ..saved_model import find_model, open_model, save_model

    files = find_model(path)
    if files.kind != "legacy":
        yield path
        return
    with scratch() as folder:
        made = stands_for(f"{folder}/model", path)
        save_model(open_model(path), made)
        yield made


def _parsed(text: str, feeds: tuple[str, ...]) -> tuple[str, list[int]]:
    name, _, numbers = text.rpartition("=")
    if not name and len(feeds) == 1:
        name = feeds[0]
    parts = numbers.replace("x", ",").split(",")
    if name not in feeds or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise WrongKind(
            f"--shape must be NAME=N,N,... with an input of the model ({', '.join(feeds)}) and whole numbers above 0, "
            f"got {text!r}."
        )
    return name, [int(part) for part in parts]
