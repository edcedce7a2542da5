# SPDX-License-Identifier: Apache-2.0
"""What `export` refuses, before anything is written."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from exported import WEIGHTS, momentum, refused, trained, written, zeros
from nets import Net, two_linears

from paddle_unstructured import (
    Block,
    Filter,
    Polynomial,
    UnstructuredPruner,
)
from paddle_unstructured.export import export

pytestmark = pytest.mark.usefixtures("static")


# -- what is refused


def test_a_target_that_is_not_reached_is_refused_with_the_layer_that_lacks_most(tmp_path):
    net, pruner = unfinished()
    message = r"the sparsity is 0\.\d+ and not yet 0.8 \(least in linear_\d.w_0: 0\.\d+\).*unfinished=True"
    refused(tmp_path / "out" / "model", message, net.program, "x", net.output, pruner)
    export(net.program, "x", net.output, str(tmp_path / "out" / "model"), pruner, unfinished=True)
    assert zeros(written(tmp_path / "out" / "model"), *WEIGHTS) == net.zeros(*WEIGHTS) < 28


def unfinished() -> tuple[Net, UnstructuredPruner]:
    net = Net(two_linears, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, schedule=Polynomial(final=0.8, begin_step=0, end_step=10, initial=0.2))
    net.train(pruner, 2)
    return net, pruner


def test_masks_that_were_replaced_behind_the_pruners_back_are_noticed(tmp_path):
    net, pruner = trained()
    for name in WEIGHTS:  # as loading a checkpoint of step 0 does
        net.put(name + "_mask", np.ones_like(net.get(name)))
        net.put(name, np.ones_like(net.get(name)))
    refused(tmp_path / "out" / "model", "the sparsity is 0.0000 and not yet 0.5", net.program, "x", net.output, pruner)
    pruner.update_params()
    refused(tmp_path / "out" / "model", "the sparsity is 0.0000 and not yet 0.5", net.program, "x", net.output, pruner)


def test_a_threshold_that_was_never_applied_is_refused(tmp_path):
    net = Net(two_linears, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, mode="threshold", threshold=0.3)
    refused(tmp_path / "out" / "model", "no update was made yet", net.program, "x", net.output, pruner)
    net.train(pruner)
    export(net.program, "x", net.output, str(tmp_path / "out" / "model"), pruner)
    assert zeros(written(tmp_path / "out" / "model"), *WEIGHTS) == net.zeros(*WEIGHTS) > 0


def only_first(param):
    return param.name == WEIGHTS[0]


def test_an_incomplete_n_m_pattern_is_refused_with_the_layer(tmp_path):
    net, pruner = trained(ratio=0.25, pattern="2:4", select=only_first)
    refused(
        tmp_path / "out" / "model",
        r"linear_0.w_0 is not NM\(n=2, m=4.*\): \d of 6 groups of 4 keep more than 2",
        net.program,
        "x",
        net.output,
        pruner,
    )
    export(net.program, "x", net.output, str(tmp_path / "out" / "model"), pruner, unfinished=True)
    assert zeros(written(tmp_path / "out" / "model"), WEIGHTS[0]) == 6


def test_a_complete_n_m_pattern_is_exported(tmp_path):
    net, pruner = trained(ratio=0.5, pattern="2:4", select=only_first)
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    kept = written(tmp_path / "model").graph.stored(WEIGHTS[0]) != 0
    np.testing.assert_array_equal(kept.sum(0), [2] * 6)  # [in, out]: one group of four inputs per output


@pytest.mark.parametrize("pattern, fault", [(Block(2, 1), "1 of 12 blocks"), (Filter(), "1 of 6 blocks")])
def test_a_broken_block_is_refused_with_the_layer(tmp_path, pattern, fault):
    net, pruner = trained(ratio=0.5, pattern=pattern, select=only_first)
    export(net.program, "x", net.output, str(tmp_path / "whole" / "model"), pruner)
    mask = net.get(WEIGHTS[0] + "_mask")
    row, column = np.argwhere(mask == 1)[0]
    mask[row, column] = 0
    net.put(WEIGHTS[0] + "_mask", mask)
    refused(
        tmp_path / "out" / "model",
        rf"linear_0.w_0 is not .*: {fault} are zero in part",
        net.program,
        "x",
        net.output,
        pruner,
    )


def foreign(net: Net) -> Net:
    net.other = Net(two_linears, [3, 4], own_scope=True)  # a value whose Program is gone takes the process down
    return net.other


@pytest.mark.parametrize(
    "feed, fetch, message",
    [
        ("y", "output", r"`feed` must name or be inputs of the Program \(z, x\), got 'y'"),
        ("linear_0.w_0_mask", "output", r"`feed` must name or be inputs of the Program \(z, x\)"),
        (lambda net: foreign(net).input, "output", "got the value 'x' of another Program; give this one's"),
        ([], "output", "`feed` must hold every input that `fetch` needs, and lacks x"),
        (["x", "z"], "output", "`feed` must hold inputs that `fetch` depends on, and no others"),
        ("x", lambda net: foreign(net).output, "`fetch` must be values of the Program"),
        ("x", lambda net: "output", "`fetch` must be values of the Program.*got 'output'"),
        ("x", lambda net: [], "`fetch` must be at least one value"),
        ("x", lambda net: net.input, "`fetch` must be what the params compute"),
    ],
)
def test_inputs_and_outputs_that_do_not_fit_are_refused(tmp_path, feed, fetch, message):
    net = Net(two_linears, [3, 4])
    UnstructuredPruner(net.program)
    with paddle.static.program_guard(net.program):
        paddle.static.data("z", [3, 4])
    feed = feed(net) if callable(feed) else feed
    fetch = net.output if fetch == "output" else fetch(net)
    refused(tmp_path / "out" / "model", message, net.program, feed, fetch)


def test_an_executor_in_the_pruners_place_is_refused_with_the_way_out(tmp_path):
    net = Net(two_linears, [3, 4])
    refused(
        tmp_path / "out" / "model",
        "`pruner` must be a pruner or None, got Executor",
        net.program,
        "x",
        net.output,
        net.exe,
        error=TypeError,
    )


def test_weights_or_masks_without_a_value_are_refused(tmp_path):
    net, pruner = trained()
    empty, other = paddle.static.Scope(), Net(two_linears, [3, 4], own_scope=True)
    refused(tmp_path / "out" / "model", "have no value in the scope", net.program, "x", net.output, scope=empty)
    refused(
        tmp_path / "out" / "model",
        "masks that have no value in the scope, linear_0.w_0_mask",
        net.program,
        "x",
        net.output,
        scope=other.scope,
    )
