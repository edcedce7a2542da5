# SPDX-License-Identifier: Apache-2.0
"""Shapes, sizes and the two Programs of the demo's nets."""

import numpy as np
import paddle
import pytest
from programs import build_net, parameters

STATISTICS = ("w_1", "w_2")  # BatchNorm's running mean and variance


def weights(net) -> int:
    return sum(int(np.prod(s)) for name, s in parameters(net.test).items() if not name.endswith(STATISTICS))


def test_nets_have_the_sizes_of_their_papers(static):
    lenet = build_net("LeNet", image_shape=(1, 28, 28), classes=10)
    mobilenet = build_net("MobileNet", image_shape=(3, 224, 224), classes=1000)
    names = ("MobileNetV2", "ResNet34", "ResNet50")
    others = [build_net(name, image_shape=(3, 224, 224), classes=1000) for name in names]
    assert [weights(net) for net in (lenet, mobilenet)] == [61_706, 4_231_976]
    assert [weights(net) for net in others] == [3_504_872, 21_797_672, 25_557_032]


SMALL = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
NETS = [(name, width, shape) for name, width in (("LeNet", 1.0), ("MobileNet", 0.25)) for shape in SMALL]
OTHERS = [("MobileNetV2", 0.25, SMALL[0]), ("ResNet34", 1.0, SMALL[1]), ("ResNet50", 1.0, SMALL[2])]


@pytest.mark.parametrize("name, width, image_shape", NETS + OTHERS)
def test_every_net_takes_small_images(static, name, width, image_shape):
    net = build_net(name, image_shape=image_shape, classes=10, width=width)
    static.run(net.startup)
    image = np.zeros((2, *image_shape), np.float32)
    (probabilities,) = static.run(net.test, feed={"image": image}, fetch_list=[net.answers[0]])
    assert probabilities.shape == (2, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_testing_changes_no_variable(static):
    optimizer = paddle.optimizer.Momentum(0.1)
    net = build_net("MobileNet", image_shape=(1, 8, 8), classes=10, width=0.25, optimizer=optimizer)
    static.run(net.startup)
    scope = paddle.static.global_scope()
    before = {name: np.array(scope.find_var(name).get_tensor()) for name in parameters(net.test)}
    image = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    static.run(net.test, feed={"image": image}, fetch_list=[net.answers[0]])
    assert all(np.array_equal(before[name], np.array(scope.find_var(name).get_tensor())) for name in before)


def test_names_do_not_depend_on_what_was_built_before(static):
    names = [list(parameters(build_net("LeNet", image_shape=(1, 8, 8), classes=10).test)) for _ in range(2)]
    assert names[0] == names[1]
