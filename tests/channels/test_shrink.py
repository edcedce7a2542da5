# SPDX-License-Identifier: Apache-2.0
"""Channels that are really gone: smaller params, the same outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn
from shrunk_nets import Saved, conv_bn_relu, conv_chain, counts, reasons

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.channels.shrink import Shrunk, remove_channels

pytestmark = pytest.mark.usefixtures("static")


def test_filters_of_zeros_without_a_bias_are_gone(tmp_path):
    saved = Saved(conv_chain, tmp_path, {"conv2d_0.w_0": [0, 3, 7]})
    removal = saved.remove()
    assert removal.rows == (Shrunk("conv2d_0.w_0", 8, 5, ""), Shrunk("conv2d_1.w_0", 4, 4, ""))
    assert saved.shapes() == {"conv2d_0.w_0": [5, 3, 3, 3], "conv2d_1.w_0": [4, 5, 3, 3]}


def test_inputs_of_zeros_take_the_filters_before_them_along(tmp_path):
    removal = Saved(conv_chain, tmp_path, {"conv2d_1.w_0": np.s_[:, [1, 2]]}).remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (4, 4)}


def test_what_norm_and_activation_make_of_a_filter_of_zeros_goes_into_the_next_bias(tmp_path):
    saved = Saved(conv_bn_relu, tmp_path, {"conv2d_0.w_0": [1, 2]})
    c = np.maximum(
        0,
        (saved.get("conv2d_0.b_0") - saved.get("batch_norm2d_0.w_1"))
        / np.sqrt(saved.get("batch_norm2d_0.w_2") + 1e-5)
        * saved.get("batch_norm2d_0.w_0")
        + saved.get("batch_norm2d_0.b_0"),
    )
    bias, weight = saved.get("conv2d_1.b_0"), saved.get("conv2d_1.w_0")
    assert (c[[1, 2]] > 0).all()
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (4, 4)}
    np.testing.assert_allclose(saved.get("conv2d_1.b_0"), bias + weight.sum((2, 3))[:, [1, 2]] @ c[[1, 2]], rtol=1e-5)
    assert saved.shapes()["batch_norm2d_0.w_0"] == [6]
    assert (saved.get("conv2d_1.w_0") == weight[:, [0, *range(3, 8)]]).all()


def padded(x: Any) -> Any:
    x = F.relu(nn.Conv2D(3, 8, 3)(x))
    return nn.Conv2D(8, 4, 3, padding=1)(x)


def test_one_channel_stands_in_for_all_constants_under_padding(tmp_path):
    saved = Saved(padded, tmp_path, {"conv2d_0.w_0": [0, 1, 2, 3], "conv2d_0.b_0": [1]})
    c, weight = np.maximum(0, saved.get("conv2d_0.b_0")), saved.get("conv2d_1.w_0").astype("float64")
    stands = int(np.argmax(c[:4]))
    removal = saved.remove()
    assert counts(removal)["conv2d_0.w_0"] == (8, 5)
    assert reasons(removal) == {"conv2d_0.w_0": "1 stays: its constant stands in for all that conv2d_1.w_0 reads"}
    merged = (weight[:, :4] * (c / c[stands])[:4, None, None]).sum(1)
    np.testing.assert_allclose(saved.get("conv2d_1.w_0")[:, 0], merged, rtol=1e-5, atol=1e-6)


def test_a_shared_weight_cannot_be_changed_so_that_constants_stay(tmp_path):
    def layers(x: Any) -> Any:
        one, other = F.sigmoid(nn.Conv2D(3, 8, 1)(x)), F.sigmoid(nn.Conv2D(3, 8, 1)(x))
        shared = nn.Conv2D(8, 6, 3, padding=1)
        x = paddle.concat([shared(one), shared(other)], 1)
        return nn.Conv2D(12, 4, 1)(x)

    removal = Saved(
        layers,
        tmp_path,
        {"conv2d_0.w_0": [0, 1, 4], "conv2d_1.w_0": [0, 1, 2], "conv2d_2.w_0": [5], "conv2d_2.b_0": [5]},
    ).remove()
    assert counts(removal)["conv2d_2.w_0"] == (6, 5)
    why = "not 0 but a constant, and conv2d_2.w_0 is shared or not float32, so that it cannot take it up"
    assert reasons(removal)["conv2d_1.w_0"] == f"2 stay: {why}; 1 stays: not constant where conv2d_2.w_0 reads them"


def test_a_negative_bias_ends_in_relu_and_can_go_even_under_padding(tmp_path):
    def prune(net: Net) -> None:
        net.put("conv2d_0.b_0", -np.ones(8))

    saved = Saved(padded, tmp_path, {"conv2d_0.w_0": [0, 1, 2]}, prune=prune)
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 5)


def test_without_a_bias_the_norm_behind_takes_the_constant_up(tmp_path):
    def layers(x: Any) -> Any:
        x = F.sigmoid(nn.Conv2D(3, 8, 3)(x))
        return F.relu(nn.BatchNorm2D(4)(nn.Conv2D(8, 4, 1, bias_attr=False)(x)))

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [5]})
    mean = saved.get("batch_norm2d_0.w_1")
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 7)
    assert (saved.get("batch_norm2d_0.w_1") != mean).all()


def test_without_bias_and_norm_a_constant_stays_or_another_stands_in(tmp_path):
    def layers(x: Any) -> Any:
        x = F.sigmoid(nn.Conv2D(3, 8, 3)(x))
        return F.relu(nn.Conv2D(8, 4, 1, bias_attr=False)(x))

    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": [2, 5, 6]}).remove()
    assert removal.rows[0] == Shrunk(
        "conv2d_0.w_0", 8, 6, "1 stays: its constant stands in for all that conv2d_1.w_0 reads"
    )


def test_a_bias_that_two_layers_add_takes_nothing_up(tmp_path):
    def layers(x: Any) -> Any:
        x = F.sigmoid(nn.Conv2D(3, 8, 3)(x))
        one, other = nn.Conv2D(8, 4, 1, bias_attr=False)(x), nn.Conv2D(8, 4, 1, bias_attr=False)(x)
        norm = nn.BatchNorm2D(4)
        return norm(one) * 2 + norm(other) + nn.Conv2D(3, 4, 3)(paddle.ones([2, 3, 8, 8]))

    assert counts(Saved(layers, tmp_path, {"conv2d_0.w_0": [2, 5, 6]}).remove())["conv2d_0.w_0"] == (8, 6)


def test_outputs_of_the_program_are_never_removed(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1)(x))
        return nn.Conv2D(8, 4, 1, bias_attr=False)(x)

    removal = Saved(layers, tmp_path, {"conv2d_1.w_0": [0, 1]}).remove()
    assert removal.rows[-1] == Shrunk("conv2d_1.w_0", 4, 4, "2 stay: its outputs are fetched")


@pytest.mark.parametrize("align, left", [(1, 1), (4, 4), (8, 8), (16, 10)])
def test_a_layer_that_is_all_zeros_keeps_as_many_channels_as_asked(tmp_path, align, left):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 10, 1)(x))
        return nn.Conv2D(10, 4, 1)(x)

    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": np.s_[:]}).remove(align_channels=align)
    assert counts(removal)["conv2d_0.w_0"] == (10, left)
    why = "one channel has to" if align == 1 else f"aligned to {align}"
    assert why in reasons(removal)["conv2d_0.w_0"]


@pytest.mark.parametrize("align, left", [(1, 9), (2, 10), (4, 12), (8, 16), (5, 10), (32, 20)])
def test_counts_are_rounded_up_and_never_below_what_counts(tmp_path, align, left):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 20, 1)(x))
        return nn.Conv2D(20, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": np.s_[9:]})
    assert counts(saved.remove(align_channels=align))["conv2d_0.w_0"] == (20, left)


def test_what_only_a_removed_channel_read_goes_too(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1)(x))
        x = F.relu(nn.Conv2D(8, 6, 1)(x))
        return nn.Conv2D(6, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_1.w_0": np.s_[1:, 3], "conv2d_2.w_0": np.s_[:, 0]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 7), "conv2d_1.w_0": (6, 5), "conv2d_2.w_0": (4, 4)}


def test_a_constant_that_only_a_removed_channel_read_needs_no_stand_in(tmp_path):
    def layers(x: Any) -> Any:
        x = F.sigmoid(nn.Conv2D(3, 8, 1)(x))
        x = F.relu(nn.Conv2D(8, 6, 3, padding=1)(x))
        return nn.Conv2D(6, 4, 1)(x)

    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [3], "conv2d_1.w_0": np.s_[1:, 3], "conv2d_2.w_0": np.s_[:, 0]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 7), "conv2d_1.w_0": (6, 5), "conv2d_2.w_0": (4, 4)}


def test_a_model_that_nothing_can_leave_stays_as_it_is_to_the_bit(tmp_path):
    saved = Saved(conv_bn_relu, tmp_path)
    before = {name: saved.get(name) for name in saved.shapes()}
    removal = saved.remove(align_channels=8)
    assert removal.numbers_after == removal.numbers_before and not reasons(removal)
    assert all((saved.get(name) == value).all() for name, value in before.items())


def test_rows_print_as_a_table_with_totals(tmp_path):
    lines = str(Saved(conv_chain, tmp_path, {"conv2d_0.w_0": [0, 3, 7]}).remove()).splitlines()
    assert [line.split() for line in lines if "--" not in line] == [
        ["layer", "before", "after", "why", "zero", "channels", "stay"],
        ["conv2d_0.w_0", "8", "5"],
        ["conv2d_1.w_0", "4", "4"],
        ["channels", "12", "9"],
        ["stored", "numbers", "504", "315"],
    ]


@pytest.mark.parametrize("align", [0, -1, 1.0, True, "4"])
def test_alignment_must_be_a_positive_count(tmp_path, align):
    saved = Saved(conv_chain, tmp_path)
    with pytest.raises(ValueError, match="`align_channels` must be an int >= 1, got "):
        remove_channels(saved.program, saved.scope, align_channels=align)


def test_programs_in_training_and_weights_without_values_are_refused(tmp_path):
    saved = Saved(conv_chain, tmp_path, {"conv2d_0.w_0": [0]})
    with pytest.raises(ValueError, match="conv2d_0.w_0"):
        remove_channels(saved.program, paddle.static.Scope())
    net = Net(conv_chain, [2, 3, 8, 8], lambda: paddle.optimizer.SGD(0.1))
    with pytest.raises(ValueError, match="must be an inference Program"):
        remove_channels(net.program, net.scope)
    pruned = Net(conv_chain, [2, 3, 8, 8])
    UnstructuredPruner(pruned.program, ratio=0.5)
    with pytest.raises(ValueError, match="must be an inference Program"):
        remove_channels(pruned.program, pruned.scope)
