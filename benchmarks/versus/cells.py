# SPDX-License-Identifier: Apache-2.0
"""What is trained: one cell of the table of accuracies is one training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Setting:
    """A net and its data, the same for every column of a table.

    Attributes:
        data, model, width: As demo/train.py has them.
        strides: MobileNet's; () = the model's own for the image size.
        images: Training images, the first so many; 0 = all.
        dense_epochs: Of the dense net that every run starts from.
        epochs: The budget of each run after that.
        dense_peak, peak: Learning rate of the dense net and of each run after it, annealed by a cosine to 0.
    """

    data: str
    model: str
    width: float = 1.0
    strides: tuple[int, ...] = ()
    images: int = 0
    dense_epochs: int = 8
    epochs: int = 4
    batch: int = 64
    dense_peak: float = 0.05
    peak: float = 0.05
    l2: float = 5e-4

    @property
    def name(self) -> str:
        return f"{self.model} on {self.data}"


@dataclass(frozen=True)
class Cell:
    """One run: setting x method x sparsity x pattern x seed.

    Method "dense" is what the others start from, "longer" is dense for the epochs of the others, "low-rate" is the
    recipe with a tenth of the learning rate, "int8" is the recipe and then the conversion to bytes: its accuracy is
    that of the converted model, and its line has the one before as "float_accuracy". "blocks" is the recipe in blocks
    of outputs x 4 inputs, "permuted" the same after `permute_channels`, "balanced" with a multiple of 16
    in each row of blocks.
    """

    setting: Setting
    method: str
    sparsity: float
    pattern: str
    seed: int

    @property
    def epochs(self) -> int:
        return self.setting.dense_epochs if self.method == "dense" else self.setting.epochs

    @property
    def peak(self) -> float:
        if self.method == "dense":
            return self.setting.dense_peak
        return self.setting.peak / 10 if self.method == "low-rate" else self.setting.peak

    @property
    def side(self) -> str:
        """Whose environment runs it."""
        return "slim" if self.method.startswith("slim") else "ours"

    @property
    def start(self) -> Cell | None:
        """The cell whose weights this one starts from."""
        return None if self.method == "dense" else Cell(self.setting, "dense", 0.0, "1x1", self.seed)

    @property
    def key(self) -> dict:
        """All that makes two cells the same, as JSON has it."""
        return {
            **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.setting).items()},
            "method": self.method,
            "sparsity": self.sparsity,
            "pattern": self.pattern,
            "seed": self.seed,
        }

    @property
    def identity(self) -> dict:
        """The key without what makes no difference: a dense net knows nothing of the epochs after it."""
        later = ("epochs", "peak") if self.method == "dense" else ()
        return {name: value for name, value in self.key.items() if name not in later}


def cell_of(key: dict) -> Cell:
    """The cell that a key (or a line of results) is of."""
    own = {name: key[name] for name in ("method", "sparsity", "pattern", "seed")}
    names = Setting.__dataclass_fields__
    fields = {name: tuple(key[name]) if name == "strides" else key[name] for name in names}
    return Cell(Setting(**fields), **own)
