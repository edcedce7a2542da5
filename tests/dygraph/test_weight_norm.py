# SPDX-License-Identifier: Apache-2.0
"""`weight_norm` and `spectral_norm` of paddle.nn.utils: the weight behind them is pruned, exported and made faster."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn.utils import spectral_norm, weight_norm

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import export, open_model
from paddle_unstructured.graph import LayerGraph
from paddle_unstructured.graph.trace import trace
from paddle_unstructured.runtime import Session, convert

NORMS: dict[str, Callable[[nn.Layer], nn.Layer]] = {
    "weight": weight_norm,
    "weight, other axis": lambda layer: weight_norm(layer, dim=1),
    "weight, all": lambda layer: weight_norm(layer, dim=None),
    "spectral": spectral_norm,
}
SPEC = [paddle.static.InputSpec([None, 3, 6, 6], name="x")]
X = np.random.default_rng(0).normal(size=(8, 3, 6, 6)).astype("float32")


def net(norm: Callable[[nn.Layer], nn.Layer]) -> nn.Layer:
    paddle.seed(3)
    convs = norm(nn.Conv2D(3, 16, 3)), nn.ReLU(), norm(nn.Conv2D(16, 8, 1))
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2D(1), nn.Flatten(), norm(nn.Linear(8, 4)))


@pytest.mark.parametrize("is_told", [False, True], ids=["by its layers", "by a trace"])
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_the_weight_behind_the_norm_is_pruned_and_computes_the_same_everywhere(norm, is_told, tmp_path):
    model = net(norm)
    optimizer = paddle.optimizer.Momentum(0.05, parameters=model.parameters())
    pruner = UnstructuredPruner(model, optimizer=optimizer, ratio=0.75, input_spec=SPEC if is_told else None)
    for _ in range(3):
        (model(paddle.to_tensor(X)) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        pruner.step()
    assert [param.shape for param in pruner.params] == [(16, 3, 3, 3), (8, 16, 1, 1), (8, 4)]
    assert pruner.sparsity() == 0.75
    model.eval()
    expected = model(paddle.to_tensor(X)).numpy()
    export(model, SPEC, tmp_path / "m", pruner)
    paddle.enable_static()
    try:
        (found,) = open_model(tmp_path / "m").run(x=X)
        table = convert(tmp_path / "m", tmp_path / "fast")
    finally:
        paddle.disable_static()
    np.testing.assert_array_equal(found, expected)
    assert table.converted and sum(c.sparsity * np.prod(c.shape) for c in table.choices) == 0.75 * (432 + 128 + 32)
    np.testing.assert_allclose(Session(tmp_path / "fast").run(X)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_layers_tell_what_a_trace_tells(norm):
    told, traced = LayerGraph(net(norm)), LayerGraph(net(norm), input_spec=SPEC)
    roles = [
        {p.name: (p.role, p.output_axis, p.input_axis, p.through) for p in graph.params()} for graph in (told, traced)
    ]
    weights = [{name: role for name, role in each.items() if role[0] != "unknown"} for each in roles]
    assert weights[0] == weights[1] and len(weights[0]) >= 6


class Remembers(nn.Layer):
    """Adds what the last call saw, in a plain attribute: a state, and no weight that is computed anew."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(6, 4), paddle.zeros([2, 6])

    def forward(self, x: Any) -> Any:
        y = self.linear(x + self.last)
        paddle.assign(x, output=self.last)
        return y + self.last.mean()


def test_a_state_that_is_read_before_it_is_written_stays_one():
    found = trace(Remembers(), {}, [paddle.static.InputSpec([2, 6])]).program
    reads = [op for op in found.global_block().ops if op.name() == "pd_op.assign_out_"][0].operand_source(1)
    assert {op.name() for op in reads.all_used_ops()} == {"pd_op.add", "pd_op.assign_out_", "pd_op.mean"}
