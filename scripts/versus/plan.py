"""Which cells make the tables of accuracy.py, in the order in which they are run."""
from __future__ import annotations

from dataclasses import replace
from typing import Iterator, Sequence

from .cells import Cell, Setting

METHODS = ("slim-ratio", "slim-gmp", "oneshot", "gmp", "recipe", "taught")
EXTRAS = ("longer", *METHODS, "low-rate")  # all but the dense nets themselves

FASHION = Setting("fashion_mnist", "LeNet")
MNIST = replace(FASHION, data="mnist", dense_epochs=4)
# Layers see 28x28 images as 14, 7, 4, 2, 1, and a quarter of the images: depthwise convolutions are slow on a CPU
MOBILE = Setting("fashion_mnist", "MobileNet", width=0.25, strides=(2, 2, 2, 2, 2), images=15_000, batch=128,
                 dense_peak=0.1, peak=0.1, l2=3e-5)
QUICK = Setting("digits", "LeNet", batch=128, l2=3e-5, dense_epochs=16, epochs=8)

Rows = Sequence[tuple]  # (pattern, sparsity, methods)

SHORT = ("slim-ratio", "slim-gmp", "gmp", "recipe")
ROWS: dict[Setting, Rows] = {
    FASHION: [("1x1", 0.75, METHODS), ("1x1", 0.9, METHODS), ("1x1", 0.95, METHODS),
              ("1x1", 0.98, (*METHODS, "low-rate")), ("2x1", 0.75, SHORT), ("2x1", 0.9, SHORT),
              ("2:4", 0.5, ("oneshot", "gmp", "recipe"))],
    MOBILE: [("1x1", 0.95, METHODS)],
    MNIST: [("1x1", 0.9, SHORT), ("1x1", 0.98, SHORT)],
}
QUICK_ROWS: dict[Setting, Rows] = {
    QUICK: [("1x1", 0.9, METHODS), ("2x1", 0.75, SHORT), ("2:4", 0.5, ("oneshot",))],
}
SEEDS = {MNIST: 2}  # fewer than asked for, where time is short


def cells(rows: dict[Setting, Rows], seeds: int) -> Iterator[Cell]:
    """Dense nets first, then one seed after the other, so that a run that ends early has whole columns."""
    for seed in range(seeds):
        of_seed = [setting for setting in rows if seed < SEEDS.get(setting, seeds)]
        yield from (Cell(setting, "dense", 0.0, "1x1", seed) for setting in of_seed)
        for setting in of_seed:
            yield Cell(setting, "longer", 0.0, "1x1", seed)
            for pattern, sparsity, methods in rows[setting]:
                yield from (Cell(setting, method, sparsity, pattern, seed) for method in methods)


def cost(cell: Cell) -> float:
    """Seconds of a core, roughly: for the progress bar."""
    per_image = {"MobileNet": 4.3e-3, "LeNet": 3.7e-4}[cell.setting.model]
    images = {"digits": 1_400}.get(cell.setting.data, cell.setting.images or 60_000)
    taught = 1.4 if cell.method == "taught" else 1.0
    return 8.0 + taught * cell.epochs * images * per_image
