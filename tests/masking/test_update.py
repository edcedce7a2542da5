# SPDX-License-Identifier: Apache-2.0
"""The mask update: eager, on the memory of the scope, with a cost that grows linearly with the number of layers."""

import time

import numpy as np
import paddle
import pytest
from nets import Net, linear, two_linears

from paddle_unstructured import LAMP, NM, Global, UnstructuredPruner

pytestmark = pytest.mark.usefixtures("static")
TWO = ("linear_0.w_0", "linear_1.w_0")


def sgd():
    return paddle.optimizer.SGD(0.1)


def test_an_update_builds_and_runs_no_program(monkeypatch):
    net = Net(two_linears, [3, 4], sgd)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.run()
    for owner, name in ((paddle.static.Executor, "run"), (paddle.static, "Program")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("a Program is built or run"))
    pruner.step()
    pruner.update_params()
    pruner.set_static_masks()
    pruner.update_threshold()
    assert net.zeros(*TWO) == 18


def test_an_update_leaves_static_mode_and_gradients_as_they_were():
    net = Net(two_linears, [3, 4], sgd)
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    assert not paddle.in_dynamic_mode()
    before = net.get(TWO[0])
    net.run()
    after = net.get(TWO[0])
    assert ((before != after) == (before != 0)).all()  # what is kept still trains


def test_a_refused_update_leaves_static_mode_as_it_was():
    net = Net(two_linears, [3, 4])
    net.put(TWO[0], np.full([4, 6], np.nan))
    with pytest.raises(ValueError, match="NaN or infinity"):
        UnstructuredPruner(net.program, ratio=0.5).step()
    assert not paddle.in_dynamic_mode()


def test_a_criterion_of_the_user_runs_eagerly():
    seen = []

    def steep(weight):
        seen.append((paddle.in_dynamic_mode(), float(weight.max())))  # a value can be looked at
        return weight.abs() * 2

    net = Net(linear(), [2, 4])
    highest = net.get(TWO[0]).max()
    UnstructuredPruner(net.program, ratio=0.5, criterion=steep).step()
    assert set(seen) == {(True, float(highest))}
    assert net.zeros(TWO[0]) == 8


def test_a_criterion_that_returns_the_weight_itself_does_not_change_what_is_kept():
    net = Net(linear(), [2, 4])
    before = net.get(TWO[0])
    UnstructuredPruner(net.program, ratio=0.5, criterion=lambda weight: weight).step()
    after = net.get(TWO[0])
    lowest = np.sort(before.reshape(-1))[:8]
    np.testing.assert_array_equal(after, np.where(np.isin(before, lowest), 0, before))


def test_infinite_scores_of_a_criterion_protect_weights():
    net = Net(linear(), [2, 4])
    net.put(TWO[0], np.arange(1, 17).reshape(4, 4))

    def score(weight):
        first = paddle.arange(16).reshape([4, 4]) < 8
        return paddle.where(first, paddle.full_like(weight, float("inf")), weight)

    UnstructuredPruner(net.program, ratio=0.5, criterion=score).step()
    np.testing.assert_array_equal(net.get(TWO[0]).reshape(-1), [*range(1, 9), *[0] * 8])


def test_sums_that_overflow_do_not_make_sound_weights_suspect():
    net = Net(linear(), [2, 4])
    net.put(TWO[0], np.full([4, 4], 3e38))
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert net.zeros(TWO[0]) == 8


def test_masks_and_weights_keep_their_memory():
    net = Net(two_linears, [3, 4], sgd)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.run()

    def memory():
        return [net.scope.find_var(name).get_tensor()._ptr() for name in (*TWO, *pruner.masks.values())]

    before = memory()
    pruner.step()
    assert memory() == before


def chain(layers: int) -> Net:
    return Net(lambda x: paddle.nn.Sequential(*[paddle.nn.Linear(64, 64) for _ in range(layers)])(x), [2, 64])


@pytest.mark.slow
@pytest.mark.parametrize("parts", [{"allocation": Global()}, {"allocation": LAMP()}, {"pattern": NM(2, 4)}], ids=str)
def test_the_first_update_is_linear_in_the_number_of_layers(parts):
    took = {}
    for layers in (50, 400):
        pruner = UnstructuredPruner(chain(layers).program, ratio=0.5, **parts)
        start = time.process_time()  # others may be busy
        pruner.step()
        took[layers] = time.process_time() - start
        assert pruner.sparsity() == 0.5
    assert took[400] <= 8.0
    assert took[400] <= 16 * took[50] + 0.5  # 8 times the layers
