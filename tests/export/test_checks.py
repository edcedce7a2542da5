# SPDX-License-Identifier: Apache-2.0
"""Does a model hold what was asked? Counts of faults by hand, then against slow loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear, two_linears
from paddle import nn

from paddle_unstructured import NM, Block, Element, Filter, Int8Block, Param, UnstructuredPruner
from paddle_unstructured.export import check, parse_pattern
from paddle_unstructured.export.checks import pattern_fault

LINEAR = Param("w", (4, 4), "float32", "linear", "pd_op.matmul", 1, 0)  # stored [in, out]


def linear_param(*shape: int) -> Param:
    return Param("w", shape, "float32", "linear", "pd_op.matmul", 1, 0)


def conv_param(*shape: int) -> Param:
    return Param("w", shape, "float32", "conv2d", "pd_op.conv2d", 0, 1)  # stored [out, in, kh, kw]


def drawn(picture: str) -> np.ndarray:
    """x: kept, .: zero; a line per row."""
    return np.array([[cell == "x" for cell in row] for row in picture.split()])


# -- patterns by hand: rows are inputs, columns are outputs of a linear layer

HALF = drawn("""x.xx
                .xx.
                x.xx
                .x..""")  # each column keeps 2 of 4, but the third keeps 3
COLUMNS = drawn("""x.x.
                   x.x.
                   x.x.
                   x.x.""")
ROWS = drawn("""xxxx
                ....
                xxxx
                ....""")
SQUARES = drawn("""xx..
                   xx..
                   ..xx
                   ..xx""")
ONE_OFF = drawn("""xx..
                   xx..
                   ..xx
                   ..x.""")


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


# -- a Program

pytestmark = pytest.mark.usefixtures("static")


def holding(kept: np.ndarray, value: float = 2.0) -> Net:
    """A linear layer whose weight is `value` where kept."""
    net = Net(linear(*kept.shape), [3, kept.shape[0]])
    net.put("linear_0.w_0", kept * value)
    return net


def test_what_holds_is_told_with_its_counts():
    net = holding(ROWS)
    found = check(net.program, pattern="2:4", sparsity=0.5)
    assert found.holds and found.offenders == ()
    (finding,) = found.findings  # the bias is no weight
    assert (finding.name, finding.shape, finding.weights, finding.zeros, finding.fault, finding.sparsity) == (
        "linear_0.w_0",
        (4, 4),
        16,
        8,
        "",
        0.5,
    )
    assert str(found).splitlines()[-1].split() == ["total", "16", "8", "0.5000", "all", "hold"]
    assert found.to_dict() == {
        "holds": True,
        "params": [{"name": "linear_0.w_0", "shape": [4, 4], "weights": 16, "zeros": 8, "fault": "", "sparsity": 0.5}],
    }


def test_what_does_not_hold_is_named():
    net = Net(two_linears, [3, 4])
    net.put("linear_0.w_0", np.tile([[1], [0], [1], [0]], 6))
    found = check(net.program, pattern="2:4", params="linear_0.*|linear_1.w_0")
    assert not found.holds
    assert [(f.name, f.fault) for f in found.offenders] == [
        ("linear_1.w_0", "groups of 4 do not divide its input axis; check the others by `params`")
    ]
    assert "1 of 2 params do not hold" in str(found) and found.to_dict()["holds"] is False


def test_negative_zero_is_a_zero_and_the_smallest_number_is_none():
    net = holding(ROWS)
    weight = net.get("linear_0.w_0")
    weight[weight == 0] = -0.0
    net.put("linear_0.w_0", weight)
    assert check(net.program, pattern="2:4", sparsity=0.5).holds
    weight[1, 0] = np.finfo("float32").smallest_subnormal
    net.put("linear_0.w_0", weight)
    assert check(net.program, pattern="2:4").findings[0].fault == "1 of 4 groups of 4 keep more than 2"


def test_nan_is_no_zero():
    net = holding(ROWS)
    weight = net.get("linear_0.w_0")
    weight[1] = np.nan
    net.put("linear_0.w_0", weight)
    assert check(net.program, pattern="2:4").findings[0].fault == "4 of 4 groups of 4 keep more than 2"
    assert check(net.program, sparsity=0.25).findings[0].zeros == 4


def uneven(first: int, second: int) -> Net:
    """two_linears with that many zeros of 24 and of 12."""
    net = Net(two_linears, [3, 4])
    for name, shape, count in (("linear_0.w_0", (4, 6), first), ("linear_1.w_0", (6, 2), second)):
        weight = np.ones(shape)
        weight.reshape(-1)[:count] = 0
        net.put(name, weight)
    return net


def test_sparsity_is_asked_of_all_weights_together():
    net = uneven(6, 12)  # 18 of 36
    assert check(net.program, sparsity=0.5).holds


def test_sparsity_of_each_names_those_below():
    found = check(uneven(6, 12).program, sparsity=0.5, each=True)
    assert [(f.name, f.fault) for f in found.offenders] == [("linear_0.w_0", "sparsity 0.2500 is below 0.5")]


def test_where_all_together_are_short_the_params_below_are_at_fault():
    found = check(uneven(3, 7).program, sparsity=0.5)
    assert [f.name for f in found.offenders] == ["linear_0.w_0"]
    found = check(uneven(3, 3).program, sparsity=0.5)
    assert [f.name for f in found.offenders] == ["linear_0.w_0", "linear_1.w_0"]


def test_rounding_to_whole_weights_is_forgiven_and_no_more():
    # 0.7 of 24 is 16.8, of 12 is 8.4: 16 + 8 = 24 of 36 are what rounding down in each layer leaves.
    assert check(uneven(16, 8).program, sparsity=0.7, each=True).holds
    assert not check(uneven(15, 8).program, sparsity=0.7, each=True).holds
    assert check(uneven(24, 0).program, sparsity=0.7).holds  # 25.2 asked, short by 1.2: less than one in each of two
    assert not check(uneven(23, 0).program, sparsity=0.7).holds


def test_rounding_to_whole_blocks_is_forgiven_and_no_more():
    kept = np.ones((4, 4), bool)
    kept[:2, :2] = False
    assert check(holding(kept).program, pattern="2x2", sparsity=0.49).holds  # 7.84 asked, 4 there: less than a block
    with paddle.static.scope_guard(paddle.static.Scope()):
        assert not check(holding(kept).program, pattern="2x2", sparsity=0.5).holds
    with paddle.static.scope_guard(paddle.static.Scope()):
        assert not check(holding(kept).program, sparsity=0.49).holds


@pytest.mark.parametrize("sparsity, holds", [(0.0, True), (1.0, False)])
def test_the_ends_of_the_range(sparsity, holds):
    assert check(holding(ROWS).program, sparsity=sparsity).holds is holds
    if sparsity:
        with paddle.static.scope_guard(paddle.static.Scope()):
            assert check(holding(ROWS & False).program, sparsity=1.0, pattern="2:4").holds


def test_a_regular_expression_chooses_by_whole_names():
    net = uneven(24, 0)
    assert check(net.program, sparsity=1.0, params="linear_0.w_0").holds
    assert [f.name for f in check(net.program, sparsity=1.0, params=r"linear_\d\.w_0").findings] == [
        "linear_0.w_0",
        "linear_1.w_0",
    ]
    assert not check(net.program, sparsity=1.0, params=".*w_0").holds
    with pytest.raises(ValueError, match="`params` 'linear_0' matches no weight; there are linear_0.w_0, linear_1.w_0"):
        check(net.program, sparsity=1.0, params="linear_0")  # a part of the name is not enough


def test_norms_and_biases_are_never_checked():
    net = Net(convnet, [2, 2, 4, 4])
    found = check(net.program, sparsity=0.0)
    assert [f.name for f in found.findings] == ["conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"]
    with pytest.raises(ValueError, match="matches no weight"):
        check(net.program, sparsity=0.0, params="batch_norm2d_0.w_0|linear_0.b_0")


def test_nothing_to_check_is_refused():
    net = holding(ROWS)
    with pytest.raises(ValueError, match="give `pattern`, `sparsity` or both"):
        check(net.program)
    with pytest.raises(ValueError, match="regular expression"):
        check(net.program, sparsity=0.5, params="(")
    with paddle.static.scope_guard(paddle.static.Scope()):
        empty = Net(lambda x: nn.BatchNorm1D(4)(x), [3, 4])
        with pytest.raises(ValueError, match="has no weight to check"):
            check(empty.program, sparsity=0.5)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, 50, float("nan"), "half"])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises((ValueError, TypeError), match="`sparsity`"):
        check(holding(ROWS).program, sparsity=sparsity)


def test_something_that_is_no_pattern_is_refused():
    with pytest.raises((ValueError, TypeError), match="pattern"):
        check(holding(ROWS).program, pattern=24)
    with paddle.static.scope_guard(paddle.static.Scope()), pytest.raises((ValueError, TypeError), match="pattern"):
        check(holding(ROWS).program, pattern=NM)


def test_weights_without_a_value_are_refused():
    net = holding(ROWS)
    with pytest.raises(ValueError, match="have no value in the scope"):
        check(net.program, paddle.static.Scope(), sparsity=0.5)


@pytest.mark.parametrize(
    "pattern, ratio",
    [
        ("2:4", 0.5),
        ("1:4", 0.75),
        (Block(2, 1), 0.6),
        (Block(4, 1), 0.6),
        (Block(2, 2), 0.3),
        (Block(1, 4), 0.9),
        (Filter(), 0.5),
        (None, 0.77),
    ],
)
def test_what_the_pruner_has_pruned_holds(pattern, ratio):
    net = Net(lambda x: nn.Linear(8, 8)(nn.Conv2D(4, 8, 1)(x).flatten(1)), [3, 4, 1, 1])
    UnstructuredPruner(net.program, ratio=ratio, pattern=pattern).step()
    assert check(net.program, pattern=NM.parse(pattern) if isinstance(pattern, str) else pattern, sparsity=ratio).holds
    if pattern is not None:
        net.put("conv2d_0.w_0", np.eye(8, 4)[:, :, None, None] + (np.arange(8) == 1)[:, None, None, None])
        assert not check(net.program, pattern=pattern).holds
