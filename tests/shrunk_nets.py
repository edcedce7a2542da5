# SPDX-License-Identifier: Apache-2.0
"""Nets as saved inference Programs, and the contract that `remove_channels` keeps on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn.functional as F
from nets import Net
from paddle import nn

from paddle_unstructured.channels.shrink import Removal, remove_channels

CPU = paddle.CPUPlace()


class Saved:
    """A net as an inference Program in a scope of its own; every stored number is random, zeros come from the test."""

    def __init__(
        self,
        layers: Callable[[Any], Any],
        tmp_path: Any,
        zeros: dict[str, Any] | None = None,
        shape: tuple[int, ...] = (2, 3, 8, 8),
        prune: Callable[[Net], None] | None = None,
    ) -> None:
        self.path, self.shape = str(tmp_path / "model"), shape
        net = Net(layers, list(shape), own_scope=True)
        rng = np.random.default_rng(3)
        for name, value in sorted(net.everything().items()):
            value = rng.uniform(0.2, 1.0, value.shape) if value.ndim < 2 else rng.normal(size=value.shape) * 0.4
            net.put(name, value)
        if prune is not None:
            prune(net)
        for name, index in (zeros or {}).items():
            value = net.get(name)
            value[index] = 0
            net.put(name, value)
        with paddle.static.scope_guard(net.scope):
            paddle.static.save_inference_model(self.path, [net.input], [net.output], net.exe, program=net.program)
        self.load(self.path)
        self.masked = self.run()

    def load(self, path: str) -> None:
        self.scope, self.exe = paddle.static.Scope(), paddle.static.Executor(CPU)
        with paddle.static.scope_guard(self.scope):
            self.program, _, self.fetches = paddle.static.load_inference_model(path, self.exe)

    def data(self) -> np.ndarray:
        sizes = [n if n > 0 else 8 if axis else 2 for axis, n in enumerate(self.shape)]
        return np.random.default_rng(0).normal(size=sizes).astype("float32")

    def run(self) -> list[np.ndarray]:
        return self.exe.run(self.program, feed={"x": self.data()}, fetch_list=self.fetches, scope=self.scope)

    def save(self) -> str:
        feed = next(op.result(0) for op in self.program.global_block().ops if op.name() == "pd_op.data")
        with paddle.static.scope_guard(self.scope):
            paddle.static.save_inference_model(
                self.path + "_small", [feed], self.fetches, self.exe, program=self.program
            )
        return self.path + "_small"

    def get(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def shapes(self) -> dict[str, list[int]]:
        return {v.name: list(v.shape) for v in self.program.global_block().all_parameters()}

    def remove(self, *, onednn: bool = True, **kwargs: Any) -> Removal:
        """Remove, and hold the contract: same outputs here, after loading, and in the Predictor; nothing is left."""
        removal = remove_channels(self.program, self.scope, CPU, **kwargs)
        assert all(list(self.get(name).shape) == shape for name, shape in self.shapes().items())
        self.same(self.run())
        path = self.save()
        assert "callstack" not in Path(path + ".json").read_text()
        self.load(path)
        self.same(self.run())
        self.same(predict(path, self.data(), onednn))
        assert remove_channels(self.program, self.scope, CPU, **kwargs).numbers_after == removal.numbers_after
        return removal

    def same(self, outputs: list[np.ndarray]) -> None:
        for now, masked in zip(outputs, self.masked):
            assert now.shape == masked.shape
            np.testing.assert_allclose(now, masked, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(masked).max()))


def predict(path: str, data: np.ndarray, onednn: bool = True) -> list[np.ndarray]:
    config = paddle.inference.Config(path + ".json", path + ".pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    if not onednn:
        config.disable_mkldnn()
    predictor = paddle.inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(data)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


def counts(removal: Removal) -> dict[str, tuple[int, int]]:
    return {row.layer: (row.before, row.after) for row in removal.rows}


def reasons(removal: Removal) -> dict[str, str]:
    return {row.layer: row.reason for row in removal.rows if row.reason}


def conv_chain(x: Any) -> Any:
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)(x))
    return nn.Conv2D(8, 4, 3, padding=1, bias_attr=False)(x)


def conv_bn_relu(x: Any) -> Any:
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3)(x)))
    return nn.Conv2D(8, 4, 3)(x)


def residual(x: Any) -> Any:
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(x)))
    y = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 1, bias_attr=False)(x)))
    y = nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 1, bias_attr=False)(y))
    return nn.Conv2D(8, 4, 1)(F.relu(x + y))
