# SPDX-License-Identifier: Apache-2.0
"""`check`: what holds and what does not, of a Program."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from layer_pictures import ROWS
from nets import Net, convnet, linear, two_linears
from paddle import nn

from paddle_unstructured import NM, Block, Filter, UnstructuredPruner
from paddle_unstructured.export import check

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
