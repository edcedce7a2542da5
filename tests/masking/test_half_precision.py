# SPDX-License-Identifier: Apache-2.0
"""float16 weights on a CPU, which cannot multiply them: masks are exact, in a Program and in a saved model."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net

from paddle_unstructured import LAMP, NM, Block, Element, Filter, UnstructuredPruner, named
from paddle_unstructured.cli import main
from paddle_unstructured.saved_model import open_model

pytestmark = [pytest.mark.usefixtures("static"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# -8 -7 .. -1, 1 .. 8 twice, so magnitudes rise away from the middle of each half
LINEAR = np.tile([*range(-8, 0), *range(1, 9)], 2).reshape(8, 4).astype("float16")


def halves(x):
    """A product with a float16 weight [8, 4] and a convolution with one [4, 4, 1, 1], computed in float32."""
    h = paddle.matmul(x, parameter([8, 4], "linear").cast("float32")).reshape([-1, 4, 1, 1])
    return paddle.nn.functional.conv2d(h, parameter([4, 4, 1, 1], "conv").cast("float32"))


def parameter(shape, name):
    return paddle.create_parameter(shape, "float16", name=name, default_initializer=paddle.nn.initializer.Constant(0.5))


def half_net(**kwargs) -> Net:
    net = Net(halves, [2, 8], **kwargs)
    net.put("linear", LINEAR)
    net.put("conv", np.arange(1, 17).reshape(4, 4, 1, 1) / 4)
    return net


@pytest.mark.parametrize(
    "pattern, pruned",
    # Filters of 4 and 8 weights: the floor keeps one of the convolution's, and 12 + 8 + 8 would be more than half.
    [(Element(), 24), (NM(2, 4), 24), (Block(2, 1), 24), (Block(2, 4), 24), (Filter(), 20)],
    ids=str,
)
def test_a_program_loses_exactly_half_of_its_weights_in_whole_units(pattern, pruned):
    net = half_net()
    before = {name: net.get(name) for name in ("linear", "conv")}
    pruner = UnstructuredPruner(net.program, ratio=0.5, pattern=pattern)
    pruner.step()
    assert net.zeros("linear", "conv") == pruned
    assert pruner.sparsity() == pruned / 48
    for name in before:
        after = net.get(name)
        assert after.dtype == np.float16
        assert (after[after != 0] == before[name][after != 0]).all()  # what is kept is kept to the bit


def test_the_lowest_magnitudes_of_float16_weights_fall():
    net = half_net()
    UnstructuredPruner(net.program, ratio=0.5, select=named("linear")).step()
    np.testing.assert_array_equal(net.get("linear"), np.where(np.abs(LINEAR) <= 4, 0, LINEAR))
    assert net.zeros("conv") == 0


def test_two_of_four_float16_inputs_stay_in_every_group():
    net = half_net()
    UnstructuredPruner(net.program, ratio=0.5, pattern="2:4", select=named("linear")).step()
    kept = net.get("linear").reshape(2, 4, 4) != 0  # [group, input, output]
    assert (kept.sum(axis=1) == 2).all()


def test_float16_masks_only_grow_and_lamp_counts_exactly():
    net = half_net()
    pruner = UnstructuredPruner(net.program, ratio=0.25, allocation=LAMP())
    pruner.step()
    first = net.get("linear") == 0
    assert net.zeros("linear", "conv") == 12
    pruner.ratio = 0.75
    pruner.step()
    assert net.zeros("linear", "conv") == 36
    assert (net.get("linear")[first] == 0).all()


def test_set_static_masks_takes_the_zeros_of_float16_weights():
    net = half_net()
    net.put("linear", np.where(LINEAR > 0, LINEAR, 0))
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.set_static_masks()
    net.put("linear", LINEAR)
    pruner.update_params()
    np.testing.assert_array_equal(net.get("linear"), np.where(LINEAR > 0, LINEAR, 0))


@pytest.mark.parametrize("words", [[], ["--pattern", "2:4"], ["--pattern", "2x1"], ["--pattern", "1x4"]], ids=str)
def test_a_saved_model_loses_exactly_half_of_its_weights(words, tmp_path):
    net = half_net(own_scope=True)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model(
            str(tmp_path / "half"), [net.input], [net.output], net.exe, program=net.program
        )
    code = main(["prune", str(tmp_path / "half"), "-o", str(tmp_path / "pruned"), "--ratio", "0.5", *words])
    assert not code
    graph = open_model(str(tmp_path / "pruned")).graph
    weights = [graph.stored(name) for name in ("linear", "conv")]
    assert sum(int((weight == 0).sum()) for weight in weights) == 24
    assert {weight.dtype for weight in weights} == {np.dtype("float16")}
