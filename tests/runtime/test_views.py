# SPDX-License-Identifier: Apache-2.0
"""Views: what reshape and transpose do to axes, and which of them move numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from paddle_unstructured.runtime.net import Layer
from paddle_unstructured.runtime.refusals import Refusal
from paddle_unstructured.runtime.views import Atom, Extent, View, size_of, spread_over

N, H, W = Atom(-1), Atom(-1), Atom(-1)


def planes(channels=6, height=H, width=W):
    c = Atom(channels)
    return View(Layer("conv"), ((N,), (c,), (height,), (width,)), (c,), (height,), (width,))


def open_size(*atoms, ratio=1):
    return Extent(Fraction(ratio), frozenset(atoms))


def test_tokens_of_planes_are_free():
    view = planes()
    tokens = view.reshaped([open_size(N), 6, -1]).transposed([0, 2, 1])
    assert tokens.axes == ((N,), (H, W), view.channels)
    assert (tokens.channels, tokens.pixels) == (view.channels, (H, W))


def test_channels_are_split_in_the_order_in_which_they_lie():
    view = planes(12).reshaped([-1, 3, 2, 2, open_size(H), open_size(W)])
    assert [size_of(axis) for axis in view.axes[1:4]] == [3, 2, 2]
    assert [atom.extent for atom in view.channels] == [3, 2, 2]
    assert view.channels == view.flat([1, 2, 3])


def test_a_channel_shuffle_and_its_inverse_leave_the_same_order():
    view = planes(6)
    shuffled = view.reshaped([-1, 2, 3, open_size(H), open_size(W)]).transposed([0, 2, 1, 3, 4])
    back = shuffled.transposed([0, 2, 1, 3, 4]).reshaped([-1, 6, open_size(H), open_size(W)])
    assert back.channels == back.axes[1]
    assert shuffled.flat([1, 2]) != shuffled.channels


def test_windows_of_an_open_plane_join_the_batch():
    view = planes(8).transposed([0, 2, 3, 1])
    h, w = (open_size(atom, ratio=Fraction(1, 7)) for atom in (H, W))
    windows = view.reshaped([open_size(N), h, 7, w, 7, 8]).transposed([0, 1, 3, 2, 4, 5]).reshaped([-1, 49, 8])
    assert windows.shape[1:] == [49, 8]
    assert windows.shape[0] == open_size(N, H, W, ratio=Fraction(1, 49))
    assert windows.batch is N


def test_sizes_of_other_names_are_taken_to_be_equal():
    other = Atom(-1)
    assert planes().reshaped([open_size(N), 6, open_size(other), open_size(W)]).axes[2] == (H,)


@pytest.mark.parametrize("target", [[-1, 4, 1], [-1, -1, 6], [5, 6, 1, 1]])
def test_a_reshape_that_does_not_fit_is_refused(target):
    one = Atom(6)
    with pytest.raises(Refusal):
        View(Layer("conv"), ((N,), (one,)), (one,)).reshaped(target)


@pytest.mark.parametrize(
    "made, expected",
    [
        (open_size(H) * 2, open_size(H, ratio=2)),
        (2.0 * open_size(H) // 2, open_size(H)),
        (open_size(H) * open_size(W) // open_size(H), open_size(W)),
        (open_size(H, W) // open_size(H, W), 1),
        (open_size(H) - open_size(H), 0),
        (np.int64(3) * open_size(H), open_size(H, ratio=3)),
        (open_size(H, ratio=8) % np.int64(4), 0),
    ],
)
def test_open_sizes_are_multiplied_and_divided(made, expected):
    assert made == expected


def test_what_is_no_product_of_open_sizes_is_refused():
    with pytest.raises(Refusal, match="sum"):
        open_size(H) + 1
    with pytest.raises(Refusal, match="remainder"):
        open_size(H, ratio=6) % 4


def test_a_constant_is_spread_over_the_channels_as_they_lie():
    view = planes(6).reshaped([-1, 2, 3, open_size(H), open_size(W)])
    swapped = View(view.layer, view.axes, view.channels[::-1], view.height, view.width)
    constant = np.arange(6).reshape(1, 2, 3, 1, 1)
    assert spread_over(constant, view, view.channels).tolist() == [0, 1, 2, 3, 4, 5]
    assert spread_over(constant, swapped, swapped.channels).tolist() == [0, 3, 1, 4, 2, 5]
    assert spread_over(np.ones((5, 1)), view, view.channels) is None
