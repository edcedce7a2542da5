# SPDX-License-Identifier: Apache-2.0
"""`addmm` and its kin are linear layers with a bias: pruned, converted in float32 and int8, and counted as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn
from paddle.nn import functional
from runtime_nets import assert_like_paddle, relative_error

from paddle_unstructured import UnstructuredPruner, quantize_aware
from paddle_unstructured.export import export
from paddle_unstructured.runtime import Int8, Session, convert
from paddle_unstructured.runtime.refusals import multiply_adds

pytestmark = pytest.mark.usefixtures("static")
ROWS, TOKENS = [-1, 16], [-1, 6, 16]


def weight(*shape: int) -> Any:
    return paddle.create_parameter(list(shape), "float32", default_initializer=nn.initializer.Normal(0.0, 0.5))


LINEAR = {
    "addmm": (lambda x: paddle.addmm(weight(8), x, weight(16, 8)), ROWS),
    "a row": (lambda x: paddle.addmm(weight(1, 8), x, weight(16, 8)), ROWS),
    "one number": (lambda x: paddle.addmm(weight(1), x, weight(16, 8)), ROWS),
    "factors": (lambda x: paddle.addmm(weight(8), x, weight(16, 8), beta=0.5, alpha=-2.0), ROWS),
    "nothing added": (lambda x: paddle.addmm(weight(8), x, weight(16, 8), beta=0.0, alpha=2.0), ROWS),
    "of a transpose": (lambda x: paddle.addmm(weight(8), x, weight(8, 16).t()), ROWS),
    "and more behind": (lambda x: functional.relu(paddle.addmm(weight(8), x, weight(16, 8)) + weight(8)), ROWS),
    "mm": (lambda x: paddle.mm(x, weight(16, 8)), ROWS),
    "mv": (lambda x: paddle.mv(x, weight(16)).unsqueeze(1), ROWS),
    "a vector": (lambda x: paddle.matmul(x, weight(16)), TOKENS),
    "inner": (lambda x: paddle.inner(x, weight(8, 16)), TOKENS),
}
OTHERS = {
    "a sum": (lambda x: paddle.addmm(functional.tanh(x), x, weight(16, 16), beta=0.5, alpha=2.0), ROWS),
    "a sum of ones": (lambda x: paddle.addmm(functional.tanh(x), x, weight(16, 16)), ROWS),
    "baddbmm": (lambda x: paddle.baddbmm(x[:, :, :6], x, functional.tanh(x).transpose([0, 2, 1])), TOKENS),
    "baddbmm with factors": (
        lambda x: paddle.baddbmm(x[:, :, :6], x, functional.tanh(x).transpose([0, 2, 1]), beta=-1.0, alpha=0.25),
        TOKENS,
    ),
    "scores of an attention": (
        lambda x: paddle.bmm(functional.softmax(paddle.baddbmm(x[:, :, :6], x, x.transpose([0, 2, 1]), alpha=0.25)), x),
        TOKENS,
    ),
}


def kinds(plan: str) -> list[str]:
    return [line.split(" ")[0] for line in plan.splitlines()]


@pytest.mark.parametrize("name", LINEAR)
def test_a_product_with_a_weight_is_one_linear_layer(tmp_path, name):
    layers, shape = LINEAR[name]
    found = kinds(assert_like_paddle(tmp_path, layers, shape, sparsity=0.8))
    assert found.count("conv") + found.count("linear") == 2 and not {"affine", "add", "activation"} & {*found}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_added_to_a_product_may_be_an_activation(tmp_path, name):
    layers, shape = OTHERS[name]
    assert_like_paddle(tmp_path, layers, shape)


def by_addmm(x: Any) -> Any:
    hidden = functional.relu(paddle.addmm(weight(32), x, weight(16, 32), beta=0.5, alpha=2.0))
    return paddle.addmm(weight(8), hidden, weight(32, 8))


def by_matmul(x: Any) -> Any:
    added, first = weight(32), weight(16, 32)
    hidden = functional.relu(2.0 * paddle.matmul(x, first) + 0.5 * added)
    added, second = weight(8), weight(32, 8)
    return paddle.matmul(hidden, second) + added


@pytest.mark.parametrize("in_int8", [False, True])
def test_a_pruned_net_of_addmm_runs_as_the_one_of_matmul_does(tmp_path, in_int8):
    x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    outputs = []
    for name, layers in (("addmm", by_addmm), ("matmul", by_matmul)):
        paddle.seed(3)
        net = Net(layers, [-1, 16], own_scope=True)
        pruner = UnstructuredPruner(net.program, scope=net.scope, ratio=0.75)
        assert [param.role for param in pruner.params] == ["linear", "linear"]
        pruner.step()
        export(net.program, [net.input], [net.output], tmp_path / name, pruner)
        (dense,) = net.exe.run(net.program, feed={"x": x}, fetch_list=[net.output], scope=net.scope)
        table = convert(tmp_path / name, tmp_path / f"{name}_fast", int8=Int8(data=x) if in_int8 else None)
        assert table.covered == 1.0
        (got,) = Session(tmp_path / f"{name}_fast").run(x)
        assert relative_error(got, dense) < (0.05 if in_int8 else 1e-5)
        outputs.append(got)
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-5 * np.abs(outputs[0]).max())


COUNTED = {
    "mv": (lambda x: paddle.mv(x, weight(16)), 12 * 16),
    "addmm": (lambda x: paddle.addmm(weight(2), x, weight(16, 2)), 12 * 16 * 2),
    "baddbmm": (lambda x: paddle.baddbmm(weight(4, 3, 2), x.reshape([4, 3, 16]), weight(4, 16, 2)), 12 * 16 * 2),
    "bilinear": (lambda x: nn.Bilinear(16, 16, 3)(x, functional.tanh(x)), 12 * 3 * 16 * 16),
    "multi_dot": (lambda x: paddle.linalg.multi_dot([x, weight(16, 5), weight(5, 3)]), 12 * 16 * 5 + 12 * 5 * 3),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_multiply_adds_of_every_product_are_counted(kind):
    layers, count = COUNTED[kind]
    net = Net(layers, [12, 16])  # which its ops live in
    found = [multiply_adds(op) for op in net.program.global_block().ops if op.name() == f"pd_op.{kind}"]
    assert found == [count]


def test_what_is_refused_is_not_counted_as_covered(tmp_path):
    net = Net(lambda x: nn.Bilinear(16, 16, 3)(nn.Linear(16, 16)(x), functional.tanh(x)), [-1, 16])
    export(net.program, [net.input], [net.output], tmp_path / "m")
    table = convert(tmp_path / "m", tmp_path / "fast")
    assert [(one.op, one.share) for one in table.refused] == [("bilinear", 0.75)] and table.covered == 0.25


def test_the_range_of_what_addmm_multiplies_is_learned_not_of_what_it_adds():
    net = Net(lambda x: paddle.addmm(30.0 * x, functional.tanh(x), weight(16, 16)), [8, 16])
    aware = quantize_aware(net.program)
    x = np.random.default_rng(0).normal(size=(8, 16)).astype("float32")
    net.exe.run(net.program, feed={"x": x}, fetch_list=[])
    ((low, high),) = [sides["input"] for sides in aware.ranges().values()]
    assert -1.0 <= low < 0.0 < high <= 1.0
