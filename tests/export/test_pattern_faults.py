# SPDX-License-Identifier: Apache-2.0
"""Faults in patterns, by hand and against slow loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from layer_pictures import COLUMNS, HALF, LINEAR, ONE_OFF, ROWS, SQUARES, conv_param, drawn, linear_param

from paddle_unstructured import NM, Block, Element, Filter, Int8Block, Param
from paddle_unstructured.export import parse_pattern
from paddle_unstructured.export.checks import pattern_fault


@pytest.mark.parametrize(
    "kept, pattern, fault",
    [
        (HALF, "2:4", "1 of 4 groups of 4 keep more than 2"),
        (HALF, "1:4", "4 of 4 groups of 4 keep more than 1"),
        (HALF, "3:4", ""),
        (COLUMNS, "2:4", "2 of 4 groups of 4 keep more than 2"),  # groups run along the inputs, which are the rows
        (ROWS, "2:4", ""),
        (ROWS, "1:4", "4 of 4 groups of 4 keep more than 1"),
        (ROWS, "1:2", ""),
        (SQUARES, "1:2", "4 of 8 groups of 2 keep more than 1"),
        (ROWS, "2x1", ""),
        (ROWS, "4x1", ""),  # m outputs x n inputs
        (ROWS, "1x2", "8 of 8 blocks are zero in part"),
        (ROWS, "2x2", "4 of 4 blocks are zero in part"),
        (ROWS, "1x4", "4 of 4 blocks are zero in part"),
        (COLUMNS, "1x4", ""),
        (COLUMNS, "1x2", ""),
        (COLUMNS, "2x1", "8 of 8 blocks are zero in part"),
        (COLUMNS, "4x1", "4 of 4 blocks are zero in part"),
        (SQUARES, "2x2", ""),
        (SQUARES, "2x1", ""),
        (SQUARES, "1x2", ""),
        (SQUARES, "4x1", "4 of 4 blocks are zero in part"),
        (ONE_OFF, "2x2", "1 of 4 blocks are zero in part"),
        (ONE_OFF, "2x1", "1 of 8 blocks are zero in part"),
        (ONE_OFF, "1x2", "1 of 8 blocks are zero in part"),
        (ONE_OFF, "1x1", ""),
        (np.ones((4, 4), bool), "2x2", ""),  # a dense layer breaks no block
        (np.ones((4, 4), bool), "2:4", "4 of 4 groups of 4 keep more than 2"),
        (np.zeros((4, 4), bool), "2:4", ""),
        (np.zeros((4, 4), bool), "2x2", ""),
    ],
)
def test_faults_of_a_linear_layer_are_counted(kept, pattern, fault):
    assert pattern_fault(kept, parse_pattern(pattern), LINEAR) == fault


@pytest.mark.parametrize(
    "picture, pattern, fault",
    [
        ("x.x. .x.x xx.. ...x", "2:4", ""),  # each row is an output with its four inputs
        ("xxx. .x.x xx.. .xxx", "2:4", "2 of 4 groups of 4 keep more than 2"),
        ("x... .x.. ..x. ...x", "1:4", ""),
        ("x.x. x.x. ..xx ..xx", "2x1", ""),
        ("x.x. x... ..xx ...x", "2x1", "2 of 8 blocks are zero in part"),
        ("xxxx .... xxxx ....", "1x4", ""),
        ("xxxx .... xxxx ...x", "1x4", "1 of 4 blocks are zero in part"),
        ("x.xx x.xx x.xx x.xx", "4x1", ""),
        ("xx.. xx.. .... ....", "2x2", ""),
        ("xx.. x... .... ....", "2x2", "1 of 4 blocks are zero in part"),
    ],
)
def test_faults_of_a_1x1_convolution_are_counted(picture, pattern, fault):
    kept = drawn(picture)[:, :, None, None]
    assert pattern_fault(kept, parse_pattern(pattern), conv_param(4, 4, 1, 1)) == fault


def test_groups_of_a_convolution_run_over_inputs_at_each_kernel_position():
    kept = np.zeros((1, 4, 1, 2), bool)
    kept[0, :2, 0, 0] = True
    kept[0, :3, 0, 1] = True
    assert pattern_fault(kept, NM(2, 4), conv_param(1, 4, 1, 2)) == "1 of 2 groups of 4 keep more than 2"


def test_blocks_of_a_convolution_span_the_kernel_window_or_one_position():
    kept = np.zeros((2, 1, 1, 2), bool)
    kept[:, 0, 0, 0] = True
    param = conv_param(2, 1, 1, 2)
    assert pattern_fault(kept, Block(2, 1), param) == "1 of 1 blocks are zero in part"
    assert pattern_fault(kept, Block(2, 1, kernel="position"), param) == ""


def test_the_last_block_of_an_axis_may_be_short():
    kept = drawn("xx. xx. ..x")  # 3 inputs x 3 outputs in blocks of 2 x 2: 2x2, 2x1, 1x2, 1x1
    assert pattern_fault(kept, Block(2, 2), linear_param(3, 3)) == ""
    kept[1, 2] = True
    assert pattern_fault(kept, Block(2, 2), linear_param(3, 3)) == "1 of 4 blocks are zero in part"
    assert pattern_fault(kept, Block(8, 8), linear_param(3, 3)) == "1 of 1 blocks are zero in part"


def test_filters_are_whole_outputs_or_inputs():
    assert pattern_fault(COLUMNS, Filter(), LINEAR) == ""
    assert pattern_fault(COLUMNS, Filter(axis="input"), LINEAR) == "4 of 4 blocks are zero in part"
    assert pattern_fault(ROWS, Filter(axis="input"), LINEAR) == ""
    outputs_alone = Param("w", (2, 2, 4), "float32", "linear", "pd_op.einsum", 2, None)  # whose inputs are two axes
    assert pattern_fault(COLUMNS.reshape(2, 2, 4), Filter(), outputs_alone) == ""
    assert pattern_fault(ROWS.reshape(2, 2, 4), Filter(), outputs_alone) == "4 of 4 blocks are zero in part"
    assert pattern_fault(ROWS.reshape(2, 2, 4), Block(2, 2), outputs_alone) == "it has no output and input axis"


def test_a_layer_that_groups_do_not_divide_is_at_fault():
    six = np.zeros((6, 4), bool)
    assert pattern_fault(six, NM(2, 4), linear_param(6, 4)).startswith("groups of 4 do not divide its input axis")
    one_axis = Param("w", (8,), "float32", "linear", "pd_op.matmul", None, 0)
    assert pattern_fault(np.zeros(8, bool), Block(2, 2), one_axis) == "it has no output and input axis"


def test_single_weights_have_no_pattern_to_break():
    assert pattern_fault(HALF, Element(), LINEAR) == ""


@pytest.mark.parametrize("seed", range(6))
def test_counts_agree_with_slow_loops(seed):
    rng = np.random.default_rng(seed)
    for shape, param in (((8, 5), linear_param(8, 5)), ((5, 8, 2, 3), conv_param(5, 8, 2, 3))):
        kept = rng.random(shape) < rng.choice([0.2, 0.6])
        kept[:2, :4] = rng.random() < 0.5
        for n, m in ((1, 2), (2, 4), (1, 4), (4, 8)):
            groups = broken_groups(kept, param, n, m)
            assert counted(pattern_fault(kept, NM(n, m), param)) == groups, (n, m, shape)
        for m, n in ((2, 1), (1, 4), (2, 2), (3, 2), (4, 4)):
            blocks = broken_blocks(kept, param, m, n)
            assert counted(pattern_fault(kept, Block(m, n), param)) == blocks, (m, n, shape)


def counted(fault: str) -> int:
    return int(fault.split()[0]) if fault else 0


def broken_groups(kept: np.ndarray, param: Param, n: int, m: int) -> int:
    """One weight after the other."""
    groups: dict = {}
    for place in product(*map(range, kept.shape)):
        group = tuple(i // m if axis == param.input_axis else i for axis, i in enumerate(place))
        groups[group] = groups.get(group, 0) + int(kept[place])
    return sum(count > n for count in groups.values())


def broken_blocks(kept: np.ndarray, param: Param, m: int, n: int) -> int:
    blocks: dict = {}
    for place in product(*map(range, kept.shape)):
        block = (place[param.output_axis] // m, place[param.input_axis] // n)
        blocks.setdefault(block, set()).add(bool(kept[place]))
    return sum(len(found) == 2 for found in blocks.values())


def test_blocks_for_int8_lie_at_one_kernel_position_and_leave_narrow_layers_alone():
    kept = np.ones((2, 4, 1, 2), bool)
    kept[:, :, 0, 0] = False  # one position of two
    assert pattern_fault(kept, Int8Block(), conv_param(2, 4, 1, 2)) == ""
    assert pattern_fault(kept, Block(1, 4), conv_param(2, 4, 1, 2)) == "2 of 2 blocks are zero in part"
    kept[0, 0, 0, 0] = True
    assert pattern_fault(kept, Int8Block(), conv_param(2, 4, 1, 2)) == "1 of 4 blocks are zero in part"
    assert pattern_fault(kept[:, :3], Int8Block(), conv_param(2, 3, 1, 2)) == ""


@pytest.mark.parametrize("text", ["2:4", "1:2"])
def test_a_pattern_is_kept_of_group(text):
    assert parse_pattern(text) == NM(*map(int, text.split(":")))


def test_a_pattern_is_outputs_x_inputs():
    assert parse_pattern("16x1") == Block(16, 1)


@pytest.mark.parametrize(
    "text", ["", "2", "2:", "a:b", "x", "2x", "2X1", "2x1x1", "4:2", "0x1", "2:4 ", "-2:4", "filter"]
)
def test_other_patterns_are_refused(text):
    with pytest.raises(ValueError, match="pattern|must be|NM must keep"):
        parse_pattern(text)


pytestmark = pytest.mark.usefixtures("static")
