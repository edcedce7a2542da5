# SPDX-License-Identifier: Apache-2.0
"""Calibration data as a model takes it, and what each sample is for."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..export.inputs import as_feed, batches_of
from ..graph.splice import is_input, is_variable
from ..inference import is_paddles, reason
from ..saved_model import Model
from .spill import let_go

_log = logging.getLogger(__name__)

Feed = Mapping[str, np.ndarray]
PARTS = ("fit", "choose", "judge")  # for weights; for damping, and then weights too; only to judge on
_MANY = ("fit", "fit", "choose", "fit", "fit", "fit", "choose", "judge")  # in turn
_FEW = ("fit", "choose", "fit", "judge")
_ENOUGH = 32
_NODES = (
    "Where a first axis counts something else, the nodes of a graph, save the net with all sizes fixed, and give each "
    "graph as a batch."
)
_SMALL_IMAGE, _SHIFT, _COPIES = 64, 2, 3  # pixels, pixels, of each image


def split(model: Model, data: Any) -> list[tuple[Feed, str]]:
    """Batches with the part that each is for; of a model that takes any number of samples, batches are made anew.

    Raises:
        ValueError: Too few samples; data that does not fit the model or is not finite.
        TypeError: No batches.
    """
    takes_any = is_open(model)
    batches = [_checked(model, given, count) for count, given in enumerate(batches_of("data", data), 1)]
    sizes = [min(len(array) for array in batch.values()) if takes_any else 1 for batch in batches]
    order = _MANY if sum(sizes) >= _ENOUGH else _FEW
    if sum(sizes) < len(order):
        raise ValueError(
            f"`data` must have at least {len(order)} {'samples' if takes_any else 'batches'}, got {sum(sizes)}; 128 to "
            "512 samples are usual."
        )
    found: list[tuple[Feed, str]] = []
    pools, seen = {part: _Pool(max(sizes)) for part in PARTS}, 0
    for batch, size in zip(batches, sizes):
        parts = np.array([order[i % len(order)] for i in range(seen, seen + size)])
        seen += size
        if not takes_any:
            found.append((batch, str(parts[0])))
            continue
        for part in PARTS:
            rows = np.flatnonzero(parts == part)
            if len(rows):
                found += [(feed, part) for feed in pools[part].take({name: x[rows] for name, x in batch.items()})]
        for array in batch.values():
            let_go(array)
    return found + [(feed, part) for part, pool in pools.items() for feed in pool.rest()]


@dataclass
class _Pool:
    """Samples of one part that are to go through the model together: few large batches cost less than many small ones.

    Args:
        size: samples of a batch.
    """

    size: int
    _waiting: list[Feed] = field(default_factory=list)

    def take(self, feed: Feed) -> list[Feed]:
        """Batches that are full now; samples of another shape begin a new one."""
        done = []
        if self._waiting and any(x.shape[1:] != self._waiting[0][name].shape[1:] for name, x in feed.items()):
            done = self.rest()
        self._waiting.append(feed)
        return done + (self.rest() if sum(count_of(f) for f in self._waiting) >= self.size else [])

    def rest(self) -> list[Feed]:
        """What waits, as one batch."""
        waiting, self._waiting = self._waiting, []
        return [{name: np.concatenate([f[name] for f in waiting]) for name in waiting[0]}] if waiting else []


def count_of(feed: Feed) -> int:
    """Samples of a feed."""
    return len(next(iter(feed.values())))


def shifted(model: Model, batches: Sequence[tuple[Feed, str]], seed: int) -> list[tuple[Feed, str]]:
    """Further samples for the weights: small images, each moved by up to two pixels, three times, edges repeated.

    A layer behind the last convolution sees one row of each image; rows of moved images are nearly as good as new ones
    (LeNet on 256 images: divergence from the dense net 0.055 instead of 0.061 at 75 % in blocks of 1x4). Where images
    are larger, layers see many rows of each.
    """
    if len(model.inputs) != 1:
        return []
    random = np.random.default_rng(seed)
    found: list[tuple[Feed, str]] = []
    for feed, part in batches:
        for name, x in feed.items():
            axis = _channels(x)
            if part == "judge" or axis is None:
                continue
            first = 2 if axis == 1 else 1
            height, width = x.shape[first : first + 2]
            if max(height, width) > _SMALL_IMAGE:
                continue
            pads = [(_SHIFT, _SHIFT) if first <= i < first + 2 else (0, 0) for i in range(4)]
            padded = np.pad(x, pads, mode="edge")
            for _ in range(_COPIES):
                down, across = random.integers(0, 2 * _SHIFT + 1, 2)
                rows, columns = slice(down, down + height), slice(across, across + width)
                moved = padded[:, :, rows, columns] if axis == 1 else padded[:, rows, columns]
                found.append(({name: np.ascontiguousarray(moved)}, part))
    return found


def moved(model: Model, feed: Feed, random: np.random.Generator) -> Feed:
    """The same samples, each image moved by some pixels, two of up to 64, edges repeated; others as they are."""
    if len(model.inputs) != 1:
        return feed
    found = dict(feed)
    for name, x in feed.items():
        axis = _channels(x)
        if axis is None:
            continue
        planes = x if axis == 1 else np.moveaxis(x, 3, 1)
        height, width = planes.shape[2:]
        reach = max(_SHIFT, max(height, width) * _SHIFT // _SMALL_IMAGE)
        padded = np.pad(planes, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
        offsets = random.integers(0, 2 * reach + 1, (len(x), 2))
        shifted = np.stack([plane[:, i : i + height, j : j + width] for plane, (i, j) in zip(padded, offsets.tolist())])
        found[name] = shifted if axis == 1 else np.ascontiguousarray(np.moveaxis(shifted, 1, 3))
    return found


def _channels(x: np.ndarray) -> int | None:
    """Axis of the channels of images; None if it holds none."""
    if x.dtype.kind != "f" or x.ndim != 4:
        return None
    return next((i for i in (1, 3) if x.shape[i] in (1, 3)), None)


def taken(program: Any, feed: Feed) -> Feed:
    """What a Program has inputs for: of a net cut off before its end some of them may not be read."""
    names = {op.attrs()["name"] for op in program.global_block().ops if is_input(op)}
    return {name: array for name, array in feed.items() if name in names}


def portions(model: Model, feeds: Iterable[Feed], rows: int) -> Iterator[Feed]:
    """The same samples, at most `rows` at a time, where the model takes any number of them."""
    for feed in feeds:
        count = min(len(array) for array in feed.values())
        if not is_open(model) or count <= rows:
            yield feed
            continue
        for start in range(0, count, rows):
            yield {name: array[start : start + rows] for name, array in feed.items()}
            for array in feed.values():
                let_go(array)


def rows_within(model: Model, feeds: Sequence[Feed], room: float, of: Callable[[list[int]], int]) -> int:
    """How many samples may go through the model at once if `of`, sum or max, of its values are to take `room` bytes.

    An extent that the model leaves open counts as the largest that is given.
    """
    largest = max(max(array.shape[1:], default=1) for array in feeds[0].values())
    sizes = [4]
    for op in model.program.global_block().ops:
        for value in op.results() if not is_variable(op) else ():
            if value.is_dense_tensor_type():
                sizes.append(4 * prod(largest if extent < 0 else max(extent, 1) for extent in value.shape[1:]))
    return max(1, int(room / of(sizes)))


@contextmanager
def said_of(feed: Feed) -> Iterator[None]:
    """What Paddle says of data that the net cannot run on, in a line that says whose they are.

    Raises:
        ValueError: The net fails on the feed.
    """
    try:
        yield
    except Exception as error:  # of any kind that Paddle's C++ comes to Python with
        if not is_paddles(error):
            raise
        raise ValueError(
            f"`data` must be inputs that the net can run on, but it fails on {_shapes(feed)}: {reason(error)}"
        ) from error


def _shapes(feed: Feed) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())


def check_rows(model: Model, feed: Feed) -> None:
    """See that the rows of several inputs are samples, by running two of them with and without a third.

    They are not where a first axis counts the nodes of a graph: what rows of several batches would give then, put
    together anew, is an error of Paddle's, or nonsense.

    Raises:
        ValueError: The net fails on some rows of its inputs.
    """
    if len(feed) < 2 or not is_open(model):
        return
    three = {name: np.resize(array, (3, *array.shape[1:])) for name, array in feed.items()}
    two = {name: array[:2] for name, array in three.items()}
    try:
        answers = [model.run(**rows) for rows in (two, three)]
    except Exception as error:  # of any kind that Paddle's C++ comes to Python with
        if not is_paddles(error):
            raise
        raise ValueError(
            "`data` must be inputs that the net can run on, with samples along the first axis of each, but it fails on "
            f"two of them, {_shapes(two)}: {reason(error)} {_NODES}"
        ) from error
    apart = [
        not np.allclose(a, b[:2], rtol=1e-2, atol=1e-3 * float(np.abs(a).max(initial=0.0)), equal_nan=True)
        for a, b in zip(*answers)
        if (a.ndim, b.ndim) != (0, 0) and (len(a), len(b)) == (2, 3) and a.shape[1:] == b.shape[1:]
    ]
    if any(apart):
        _log.warning("answers to a sample depend on the others of its batch, which are not kept together. %s", _NODES)


def is_open(model: Model) -> bool:
    """Whether a model takes any number of samples."""
    return all(value.shape[0] < 0 for value in model.inputs.values())


def of(batches: Sequence[tuple[Feed, str]], *parts: str) -> list[Feed]:
    """The feeds that are for these parts."""
    return [feed for feed, part in batches if part in parts]


def _checked(model: Model, given: Any, count: int) -> Feed:
    batch = as_feed("data", model, given, count)
    wrong = [name for name, array in batch.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if wrong:
        raise ValueError(f"`data` must be finite, but {wrong[0]} has NaN or infinity in batch {count}.")
    for array in batch.values():
        let_go(array)
    return batch
