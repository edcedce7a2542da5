# SPDX-License-Identifier: Apache-2.0
"""Which cells make the tables of accuracy.py, in the order in which they are run."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Iterator, Sequence

from .cells import Cell, Setting

METHODS = ("slim-ratio", "slim-gmp", "oneshot", "gmp", "recipe", "taught")
BLOCK_METHODS = ("blocks", "permuted", "balanced")
EXTRAS = ("longer", *METHODS, "low-rate", "int8", *BLOCK_METHODS)  # all but the dense nets themselves

FASHION = Setting("fashion_mnist", "LeNet")
MNIST = replace(FASHION, data="mnist", dense_epochs=4)
# Layers see 28x28 images as 14, 7, 4, 2, 1, and a quarter of the images, for time
MOBILE = Setting(
    "fashion_mnist",
    "MobileNet",
    width=0.25,
    strides=(2, 2, 2, 2, 2),
    images=15_000,
    batch=128,
    dense_peak=0.1,
    peak=0.1,
    l2=3e-5,
)
QUICK = Setting("digits", "LeNet", batch=128, l2=3e-5, dense_epochs=16, epochs=8)

Rows = Sequence[tuple]  # (pattern, sparsity, methods, seeds)
FEWER = {"slim-ratio": 2, "oneshot": 2, "taught": 1, "low-rate": 1}  # seeds of a method at most; for time

SHORT = ("slim-ratio", "slim-gmp", "gmp", "recipe")
BLOCKS = SHORT[1:]  # PaddleSlim's ratio mode searches blocks in Python loops at every step: half an hour for one LeNet
UNTAUGHT = METHODS[:-1]
ROWS: dict[Setting, Rows] = {
    FASHION: [
        ("1x1", 0.75, UNTAUGHT, 2),
        ("1x1", 0.9, UNTAUGHT, 3),
        ("1x1", 0.95, UNTAUGHT, 3),
        ("1x1", 0.98, (*METHODS, "low-rate"), 3),
        ("2x1", 0.75, BLOCKS, 1),
        ("2x1", 0.9, BLOCKS, 3),
        ("2:4", 0.5, ("oneshot", "gmp", "recipe"), 1),
    ],
    MOBILE: [("1x1", 0.95, METHODS, 3)],
    MNIST: [("1x1", 0.98, SHORT, 3)],
}
QUICK_ROWS: dict[Setting, Rows] = {
    QUICK: [("1x1", 0.9, METHODS, 1), ("2x1", 0.75, SHORT, 1), ("2:4", 0.5, ("oneshot",), 1)],
}
# After all others, from the same dense nets; pattern 1x4: four neighbouring inputs of one output
INT8 = replace(MOBILE, epochs=6)
INT8_ROWS: dict[Setting, Rows] = {INT8: [("1x4", 0.75, ("int8",), 3), ("1x4", 0.9, ("int8",), 3)]}
QUICK_INT8_ROWS: dict[Setting, Rows] = {QUICK: [("1x4", 0.75, ("int8",), 1)]}

# How wide a block may be: two nets, each for two epochs of 8,000 images after a dense training of six
BLOCK_MOBILE = replace(MOBILE, images=8_000, batch=64, dense_epochs=6, epochs=2)
BLOCK_RESNET = replace(BLOCK_MOBILE, model="ResNet18", strides=())
SPARSITIES, WIDTHS = (0.75, 0.9, 0.5), ("1x4", "2x4", "4x4", "16x4", "32x4")
MORE = {("4x4", 0.75): ("permuted",), ("32x4", 0.75): ("permuted",)}  # beside "blocks", as always
MORE |= {("16x4", sparsity): ("permuted", "balanced") for sparsity in (0.75, 0.9)}
BLOCK_ROWS: dict[Setting, Rows] = {
    setting: [
        (pattern, sparsity, ("blocks", *MORE.get((pattern, sparsity), ())), 3)
        for sparsity in SPARSITIES
        for pattern in WIDTHS
    ]
    for setting in (BLOCK_RESNET, BLOCK_MOBILE)
}


def cells(rows: dict[Setting, Rows], seeds: int) -> Iterator[Cell]:
    """One seed after the other, so that a run that ends early has whole columns; a dense net before what needs it."""
    for seed in range(seeds):
        for setting, own in rows.items():
            wanted = [row for row in own if seed < row[-1]]
            if wanted:
                yield Cell(setting, "dense", 0.0, "1x1", seed)
                yield Cell(setting, "longer", 0.0, "1x1", seed)
            for pattern, sparsity, methods, _ in wanted:
                yield from (
                    Cell(setting, method, sparsity, pattern, seed)
                    for method in methods
                    if seed < FEWER.get(method, seeds)
                )


def by_sparsity(planned: Iterable[Cell]) -> list[Cell]:
    """Cells of `BLOCK_ROWS`, a sparsity for all nets after the other: a run that ends early has whole columns."""
    return sorted(planned, key=lambda cell: (cell.seed, SPARSITIES.index(cell.sparsity) if cell.sparsity else -1))


def distinct(planned: Iterable[Cell]) -> list[Cell]:
    """Each cell once: settings that differ in later epochs only share their dense nets."""
    found: dict[str, Cell] = {}
    for cell in planned:
        found.setdefault(repr(cell.identity), cell)
    return list(found.values())


def cost(cell: Cell) -> float:
    """Seconds of a core, roughly: for the progress bar."""
    per_image = {"MobileNet": 1.3e-3, "ResNet18": 2.1e-3, "LeNet": 3.4e-4}[cell.setting.model]
    images = {"digits": 1_400}.get(cell.setting.data, cell.setting.images or 60_000)
    taught = 1.4 if cell.method == "taught" else 1.0
    return 8.0 + 6.0 * (cell.method == "int8") + taught * cell.epochs * images * per_image
