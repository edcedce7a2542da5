# SPDX-License-Identifier: Apache-2.0
"""Saved models as small files, and back; `packing` says how such a file looks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..arguments import StrPath, one_of, path, whole
from ..compression import archive, byte_planes
from ..formats import pair, pdiparams, pdparams
from ..formats.atomic import aside
from ..saved_model import drafts, prefix_of
from .precision import STORED
from .source import open_source
from .tensors import Packer, unpack, unpack_file


@dataclass(frozen=True)
class Sizes:
    """What compressing has done.

    Attributes:
        before: Bytes of the file with the parameters.
        after: Bytes of the compressed file, which holds the Program too.
        weights, zeros: counts over all tensors together, after the rounding.
        values: type of the values, as asked for.
    """

    before: int
    after: int
    weights: int
    zeros: int
    values: str

    @property
    def ratio(self) -> float:
        """before / after."""
        return self.before / self.after

    def __str__(self) -> str:
        sparsity = self.zeros / self.weights if self.weights else 0.0
        return f"{self.before} -> {self.after} bytes ({self.ratio:.2f}x), {self.values}, sparsity {sparsity:.4f}"


def compress(model: StrPath, out: StrPath, *, values: str = "fp32", level: int = 19) -> Sizes:
    """Write a saved model as one small file.

    "fp32" keeps every bit, also of -0.0, subnormal numbers and NaN. The other values round the float32 weights to
    nearest; norm params, biases, statistics, and what is not float32, stay as they are to the bit. What is zero stays
    zero, -0.0 becomes 0.0, and so does a value so small that it rounds to zero.

    A pruner's mask leaves -0.0 of every negative weight that it multiplies, and the signs of zeros take a bit each in
    fp32: write 0.0 over them before saving (`weight + 0.0`), and the file is a tenth smaller.

    Args:
        model: An inference model (its prefix, folder, `.json` or `.pdiparams`), or a training checkpoint (`.pdparams`).
        out: The file to write; of any ending but those of a model's files.
        values: "fp32", "bf16", "fp16", "int8" or "int4" (symmetric, one scale per output channel). What is a weight,
            and where its output channels are, says the Program. Of a checkpoint it is what has two or more dimensions,
            and the channels lie along the last of two, or the first of more.
        level: level of zstd, in [1, 22].

    Returns:
        The sizes before and after.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: A word or number out of range; a model that is not whole; a weight that `values` cannot hold (too
            large; NaN or infinity in fp16, int8 or int4). Nothing is written then.
        ImportError: zstandard is not installed.

    Example:
        >>> print(compress("runs/gmp90/inference", "model.safetensors", values="bf16"))  # doctest: +SKIP
        17019037 -> 907192 bytes (18.76x), bf16, sparsity 0.8930
    """
    one_of("values", values, STORED)
    whole("level", level, least=1, most=22)
    byte_planes.zstandard()
    model, out = path("model", model), path("out", out)
    if prefix_of(out) != out:
        raise ValueError(f"`out` must not end as the files of a model do, got {out!r}; end it in .safetensors, say.")
    source = open_source(model)
    before = os.path.getsize(source.files[0])
    axes = {} if values == "fp32" else source.axes()
    packer = Packer(level)
    for name, dtype, array in source.tensors():
        packer.add(name, dtype, array, values=values if name in axes else "fp32", axis=axes.get(name))
    if source.program:
        packer.add_file("program.json", source.program)
    with aside(out) as draft:
        archive.write(
            draft, packer.finish(), {"values": values, "kind": "inference" if source.program else "checkpoint"}
        )
    return Sizes(before, os.path.getsize(out), packer.weights, packer.zeros, values)


def decompress(model: StrPath, out: StrPath) -> None:
    """Write the model that a compressed file holds: `out`.json and `out`.pdiparams, or `out`.pdparams.

    Of "fp32" the `.json` and `.pdiparams` files are those that were compressed, byte for byte, and the arrays of a
    `.pdparams` file are. Others come as float32 with the rounded values. The checksum is tested before anything is
    written, and the files are complete before they get their names.

    Args:
        model: file that `compress` wrote.
        out: A prefix; the ending of one of these files is left off.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another format or a newer version, cut off or damaged.
        ImportError: zstandard is not installed.
    """
    byte_planes.zstandard()
    file, out = path("model", model), path("out", out)
    about = archive.check(file)
    with drafts(out, stamped=False) as draft:  # the .json comes back as it was
        if about["kind"] == "checkpoint":
            with open(draft + ".pdparams", "wb") as stream:
                pdparams.dump(stream, {name: array for name, _, array in unpack(file)})
            return
        with open(draft + ".json", "wb") as stream:
            stream.write(unpack_file(file, "program.json"))
        with open(draft + ".pdiparams", "wb") as stream:
            for _, dtype, array in unpack(file):
                pdiparams.write(stream, dtype, array)
                del array  # the next one is not made beside it
        if pair.is_stamped(draft + ".json"):  # rounded weights have a digest of their own
            pair.stamp(draft + ".json", draft + ".pdiparams")
