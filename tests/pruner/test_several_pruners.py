# SPDX-License-Identifier: Apache-2.0
"""Several pruners over one Program: what one has pruned stays pruned for all, and each reports its own selection."""

import gc

import numpy as np
import paddle
import pytest
from nets import Net, masks_in, two_linears

from paddle_unstructured import NM, Saliency, UnstructuredPruner

pytestmark = pytest.mark.usefixtures("static")
TWO = ("linear_0.w_0", "linear_1.w_0")
OVERLAP = "another pruner works on them too; what it has pruned, {} weights, stays pruned"


def adam():
    return paddle.optimizer.Adam(0.1)


def net_of_two() -> Net:
    return Net(two_linears, [3, 4], adam)


def only(name):
    return lambda param: param.name == name


def test_three_pruners_one_per_mode_work_as_in_paddleslims_tests(caplog):
    net = net_of_two()
    by_ratio = UnstructuredPruner(net.program, mode="ratio", ratio=0.5)
    assert not caplog.records
    by_threshold = UnstructuredPruner(net.program, mode="threshold", threshold=0.0)
    local = UnstructuredPruner(net.program, mode="ratio", ratio=0.75, local_sparsity=True)
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == [OVERLAP.format(0)] * 2
    assert masks_in(net.program).count("linear_0.w_0_mask") == 1
    net.run()
    by_ratio.step()
    assert [p.sparsity() for p in (by_ratio, by_threshold, local)] == [0.5] * 3
    local.step()
    assert [p.sparsity() for p in (by_ratio, by_threshold, local)] == [0.75] * 3
    by_threshold.step()
    assert net.zeros(*TWO) == 27
    net.run()
    assert net.zeros(*TWO) == 27


def test_what_one_has_pruned_stays_pruned_for_all():
    net = net_of_two()
    first = UnstructuredPruner(net.program, ratio=0.5)
    net.train(first)
    gone = {name: net.get(name) == 0 for name in TWO}
    second = UnstructuredPruner(net.program, ratio=0.75)
    for _ in range(3):
        net.train(second)
        assert all((net.get(name)[zeros] == 0).all() for name, zeros in gone.items())
    assert (net.zeros(*TWO), first.sparsity(), second.sparsity()) == (27, 0.75, 0.75)
    net.train(first)  # asks for less, and brings nothing back
    assert net.zeros(*TWO) == 27


def test_each_reports_its_own_selection():
    net = net_of_two()
    one = UnstructuredPruner(net.program, ratio=0.5, select=only(TWO[0]))
    both = UnstructuredPruner(net.program, ratio=0.25)
    net.run()
    one.step()
    assert (one.sparsity(), both.sparsity()) == (12 / 24, 12 / 36)
    assert (one.pruned_by_layer(), both.pruned_by_layer()) == ({TWO[0]: 12}, {TWO[0]: 12, TWO[1]: 0})
    both.step()  # a quarter of all is 9, and 12 have fallen
    assert both.sparsity() == 12 / 36 and both.target_reached()


def test_the_warning_names_the_overlap_only(caplog):
    net = net_of_two()
    one = UnstructuredPruner(net.program, ratio=0.5, select=only(TWO[0]))
    other = UnstructuredPruner(net.program, ratio=0.5, select=only(TWO[1]))
    assert not caplog.records
    net.train(one)
    both = UnstructuredPruner(net.program, ratio=0.5)
    assert len(caplog.records) == 1
    assert f"linear_0.w_0, linear_1.w_0: {OVERLAP.format(12)}" in caplog.text
    assert (one.sparsity(), other.sparsity(), both.sparsity()) == (0.5, 0.0, 12 / 36)


def test_a_pattern_over_what_another_has_pruned_is_met_where_it_can_be():
    net = Net(lambda x: paddle.nn.Linear(8, 8)(x), [2, 8], adam)
    first = UnstructuredPruner(net.program, ratio=0.25)
    net.train(first)
    net.train(UnstructuredPruner(net.program, pattern=NM(2, 4)))
    groups = (net.get("linear_0.w_0").reshape(2, 4, 8) != 0).sum(1)
    assert (groups <= 2).all()


def test_a_pruner_made_anew_goes_on_with_the_masks_of_the_program(caplog):
    net = net_of_two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    kept = {name: net.get(name) != 0 for name in TWO}
    del pruner
    gc.collect()
    again = UnstructuredPruner(net.program, ratio=0.5)
    assert "another pruner has worked on these weights; what it has pruned, 18 weights, stays pruned" in caplog.text
    assert again.sparsity() == 0.5
    net.train(again, 2)
    for name in TWO:
        np.testing.assert_array_equal(net.get(name) != 0, kept[name])


def test_gathering_criteria_of_two_pruners_do_not_disturb_each_other():
    net = net_of_two()
    first = UnstructuredPruner(net.program, ratio=0.25, criterion=Saliency(batches=2))
    second = UnstructuredPruner(net.program, ratio=0.5, criterion=Saliency(batches=3))
    for _ in range(4):
        net.run()
        first.step()
        second.step()
    assert net.zeros(*TWO) == 18 and first.target_reached() and second.target_reached()
    assert not [name for name in net.everything() if "_gathered" in name]


def test_each_is_saved_and_resumed(tmp_path):
    net = net_of_two()
    one = UnstructuredPruner(net.program, ratio=0.5, select=only(TWO[0]))
    both = UnstructuredPruner(net.program, ratio=0.75)
    net.train(one)
    one.save(tmp_path / "one")  # before the other has pruned
    net.train(both)
    both.save(tmp_path / "both")
    paddle.static.save(net.program, str(tmp_path / "model"))
    weights = {name: net.get(name) for name in TWO}
    with paddle.static.scope_guard(paddle.static.Scope()):
        net = net_of_two()
        one = UnstructuredPruner(net.program, ratio=0.5, select=only(TWO[0]))
        both = UnstructuredPruner(net.program, ratio=0.75)
        paddle.static.load(net.program, str(tmp_path / "model"))
        both.load(tmp_path / "both")
        one.load(tmp_path / "one")  # older, and brings nothing back
        for name in TWO:
            np.testing.assert_array_equal(net.get(name), weights[name])
        assert (both.sparsity(), one.steps, both.steps) == (27 / 36, 1, 1)
        net.train(both)
        net.train(one)
        assert net.zeros(*TWO) == 27
