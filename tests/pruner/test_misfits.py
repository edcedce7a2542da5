# SPDX-License-Identifier: Apache-2.0
"""Params without the axes that a pattern needs: they stay dense with a reason, or are refused where they are named."""

import logging

import paddle
import pytest
from nets import Net

from paddle_unstructured import Block, Filter, UnstructuredPruner, sparsity_report
from paddle_unstructured.export import check
from paddle_unstructured.selection import named

pytestmark = pytest.mark.usefixtures("static")


def parameter(name, *shape):
    return paddle.create_parameter(list(shape), "float32", name=name)


def odd(x):
    """An embedding [9, 4], stacked weights [3, 4, 4], a linear layer [4, 4], and a vector [4], which has no outputs."""
    words = paddle.nn.Embedding(9, 4)(paddle.clip(x.abs(), max=8.0).cast("int64")).mean(1)
    stacked = paddle.einsum("bi,eio->beo", words, parameter("stacked", 3, 4, 4)).mean(1)
    return paddle.nn.Linear(4, 4)(paddle.tanh(stacked)) @ parameter(VECTOR, 4)


def grouped(x):
    """Two convolutions of two groups, 72 weights each: their one input axis stands for both groups; and a plain one."""
    x = x.mean(1).reshape([2, 1, 1, 1]).expand([2, 4, 4, 4])
    for groups in (2, 2, 1):
        x = paddle.nn.Conv2D(4, 4, 3, padding=1, groups=groups)(x)
    return x.mean([2, 3])


VECTOR = "vector"
CASES = {
    "Block": (Block(2, 1), odd, {VECTOR}),
    "Filter": (Filter(), odd, {VECTOR}),
    "Filter of inputs": (Filter("input"), grouped, {"conv2d_0.w_0", "conv2d_1.w_0"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_pattern_does_not_fit_stays_dense_with_a_reason_and_a_log_line(case, caplog):
    pattern, layers, misfits = CASES[case]
    net = Net(layers, [2, 5], lambda: paddle.optimizer.Adam(0.01))
    with caplog.at_level(logging.INFO):
        pruner = UnstructuredPruner(net.program, ratio=0.5, pattern=pattern)
    left = {v.param.name: v.reason for v in pruner.explain() if v.param.is_weight and not v.pruned}
    assert set(left) == misfits
    assert all(type(pattern).__name__ + " needs an" in reason for reason in left.values())
    [said] = [r.getMessage() for r in caplog.records if "do not fit the pattern" in r.getMessage()]
    assert all(f"{name} (" in said for name in left)
    net.train(pruner, 2)
    weights = sum(param.size for param in pruner.params)
    assert net.zeros(*(param.name for param in pruner.params)) == round(pruner.sparsity() * weights) > 0
    assert net.zeros(*left) == 0
    assert sparsity_report(net.program, pruner=pruner).share == weights / (weights + sum(net.get(n).size for n in left))
    assert check(net.program, pattern=pattern, sparsity=0.5).holds


NAMED = {"a function": lambda param: param.name in (VECTOR, "linear_0.w_0"), "a name": named("(linear|vec).*")}


@pytest.mark.parametrize("select", NAMED)
@pytest.mark.parametrize("pattern", [Block(2, 1), Filter()], ids=repr)
def test_what_is_named_and_does_not_fit_is_refused(pattern, select):
    net = Net(odd, [2, 5], lambda: paddle.optimizer.Adam(0.01))
    with pytest.raises(ValueError, match=f"must fit what `select` names, got '{VECTOR}' .*leave it out with"):
        UnstructuredPruner(net.program, pattern=pattern, select=NAMED[select])
    pruner = UnstructuredPruner(net.program, pattern=Block(2, 1, narrow="skip"), select=NAMED[select])
    assert [param.name for param in pruner.params] == ["linear_0.w_0"]


OTHERS = {"a function": lambda param: param.name != "stacked", "roles": lambda param: param.role == "linear"}


@pytest.mark.parametrize("select", OTHERS)
def test_what_a_selection_only_does_not_leave_out_stays_dense(select, caplog):
    net = Net(odd, [2, 5], lambda: paddle.optimizer.Adam(0.01))
    pruner = UnstructuredPruner(net.program, pattern=Block(2, 1), select=OTHERS[select])
    assert "linear_0.w_0" in [param.name for param in pruner.params]
    assert VECTOR not in [param.name for param in pruner.params]
    assert VECTOR in next(r.getMessage() for r in caplog.records if "do not fit the pattern" in r.getMessage())


def test_a_pattern_that_fits_nothing_is_refused_with_every_reason():
    net = Net(lambda x: x @ parameter(VECTOR, 4), [2, 4])
    with pytest.raises(ValueError, match="(?s)nothing to prune.*Block needs an output and an input axis"):
        UnstructuredPruner(net.program, pattern=Block(2, 1))
