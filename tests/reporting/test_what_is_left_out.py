# SPDX-License-Identifier: Apache-2.0
"""Reports and checks say of how many of all weights they speak, and count no buffer that nothing reads."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import UnstructuredPruner, sparsity_report
from paddle_unstructured.export.checks import check

pytestmark = pytest.mark.usefixtures("static")


def half_known(x):
    """linear_0.w_0 [4, 6], pruned; sine [4, 6], which reaches its product through a sine."""
    return nn.Linear(4, 6, bias_attr=False)(x) + x @ paddle.sin(paddle.create_parameter([4, 6], "float32", name="sine"))


@pytest.fixture
def half(static) -> Net:
    net = Net(half_known, [2, 4])
    UnstructuredPruner(net.program, ratio=0.5).step()
    return net


def recurrent(layer, **kwargs):
    return lambda x: layer(4, 8, **kwargs)(x)[0]


@pytest.mark.parametrize(
    "layers",
    [
        recurrent(nn.LSTM),
        recurrent(nn.GRU, num_layers=2),
        recurrent(nn.SimpleRNN, direction="bidirect"),
        recurrent(nn.LSTM, num_layers=2, direction="bidirect"),
    ],
)
def test_the_flat_buffer_of_a_recurrent_layer_is_no_part_of_a_total(layers):
    net = Net(layers, [2, 3, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    report = sparsity_report(net.program, pruner=pruner)
    read = [row.name for row in report.rows if row.role in ("rnn", "bias")]
    assert report.counts["all"] == (net.zeros(*read), sum(net.get(name).size for name in read))
    assert {row.role for row in report.rows if row.name not in read and row.weights} == {"unused"}
    assert report.share == 1.0


def test_a_report_says_of_how_many_weights_it_speaks(half):
    report = sparsity_report(half.program)
    assert report.totals["selected"] == 0.5 and report.share == 0.5
    assert [row.name for row in report.unfollowed] == ["sine"]
    lines = str(report).splitlines()
    assert lines[-4].split() == "selected weights 24 12 0.5000 50.0% of the weights of layers".split()
    assert lines[-1].split() == "not followed 24 0 0.0000 not selected".split()
    assert report.to_dict()["share"] == 0.5 and report.to_dict()["unfollowed"] == ["sine"]


def test_a_sparsity_does_not_hold_where_weights_that_cannot_be_followed_lack_it(half):
    found = check(half.program, sparsity=0.5)
    assert not found.holds
    (fault,) = found.offenders
    assert fault.name == "sine"
    assert fault.fault.startswith("sparsity 0.0000 is below 0.5; read by pd_op.sin")


def test_a_sparsity_of_named_weights_is_theirs_alone(half):
    assert check(half.program, sparsity=0.5, params="linear.*").holds


def test_a_pattern_is_not_asked_of_what_cannot_be_followed_but_it_is_listed(half):
    half.put("linear_0.w_0", np.tile([[1], [0], [0], [1]], 6))
    found = check(half.program, pattern="2:4")
    assert found.holds and found.share == 0.5
    assert "not asked: read by pd_op.sin" in str(found) and str(found).endswith("all hold, 50.0% of all weights")


def test_a_pattern_that_fits_no_weight_is_an_error():
    net = Net(lambda x: nn.Linear(3, 2)(x), [2, 3])
    with pytest.raises(ValueError, match="fits none of linear_0.w_0 .3 weights along its input axis"):
        check(net.program, pattern="2:4")
