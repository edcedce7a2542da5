# SPDX-License-Identifier: Apache-2.0
"""An activation times a weight, however the axes of both are called: a linear layer, or several in one."""

from __future__ import annotations

from math import prod

import numpy as np

from ..net import Layer
from ..reader import Reader
from ..views import View, axis_of, known
from .common import require


def weighed(
    reader: Reader, view: View, letters: str, weight: np.ndarray, of_weight: str, target: str, name: str
) -> View:
    """An activation times a weight: a 1x1 convolution over all letters that are not summed over, in groups of those
    letters that both have and that stay."""
    gone = [i for i, letter in enumerate(of_weight) if letter not in letters and letter not in target]
    kept = [i for i, letter in enumerate(of_weight) if letter in letters and letter in target]
    gone += [i for i in kept if weight.shape[i] == 1]  # the same for each sample, say
    weight, of_weight = weight.sum(tuple(gone)), "".join(one for i, one in enumerate(of_weight) if i not in gone)
    groups = [letter for letter in letters if letter in of_weight and letter in target]
    depth = [letter for letter in letters if letter in of_weight and letter not in target]
    free = [letter for letter in of_weight if letter not in letters]
    require(all(one in target or one in depth for one in letters), "a letter of one value alone is summed over")
    sizes = dict(zip(of_weight, weight.shape))
    for i, letter in enumerate(letters):
        require(letter not in sizes or known(view.axes[i]) == sizes[letter], "a weight is repeated, or of an open size")
    count, inputs, outputs = (prod(sizes[letter] for letter in some) for some in (groups, depth, free))
    ordered = weight.transpose([of_weight.index(letter) for letter in (*groups, *free, *depth)])
    source = reader.tokens(view, [letters.index(letter) for letter in (*groups, *depth)])
    axes = {letter: source.axes[i] for i, letter in enumerate(letters)} | {one: axis_of(sizes[one]) for one in free}
    whole = ordered.reshape(count * outputs, inputs, 1, 1)
    kind = "conv" if source.pixels or count > 1 else "linear"
    layer = Layer(kind, (source.layer,), name, whole, np.zeros(len(whole)), groups=count)
    channels = tuple(atom for letter in (*groups, *free) for atom in axes[letter])
    return View(layer, tuple(axes[letter] for letter in target), channels, source.height, source.width)


def is_one_for_each(view: View, weight: np.ndarray) -> bool:
    """Whether a stack of weights has one for each place of the activation's axes, not more of them."""
    front = list(zip(reversed(view.axes[:-2]), reversed(weight.shape[:-2])))
    return len(front) == weight.ndim - 2 and all(size in (1, known(axis)) for axis, size in front)


def experts(reader: Reader, view: View, weight: np.ndarray, name: str) -> View:
    """A linear layer for each place of some axes: [..., places, rows, inputs] times [places, inputs, outputs]."""
    letters = "abcdefgh"[: view.rank]
    of_weight = letters[view.rank - weight.ndim : -2] + letters[-1] + "z"
    ones = [i for i, size in enumerate(weight.shape[:-2]) if size == 1]
    kept = "".join(letter for i, letter in enumerate(of_weight) if i not in ones)
    whole = np.asarray(weight, np.float64).reshape([size for i, size in enumerate(weight.shape) if i not in ones])
    return weighed(reader, view, letters, whole, kept, letters[:-1] + "z", name)
