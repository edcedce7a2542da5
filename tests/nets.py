# SPDX-License-Identifier: Apache-2.0
"""Small nets as static Programs, each with a scope of its own, and steps to train them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator

import numpy as np
import paddle

Layers = Callable[[Any], Any]


class Net:
    """A Program, its scope and an executor; without an optimizer it is an inference Program until `minimize`.

    Args:
        layers: From the input to the output; the loss is mean((output - 1)^2).
        shape: Of the input, batch included.
        optimizer: A function that makes the optimizer, or None.
        started: Whether the startup Program runs at once.
        own_scope: A scope of its own instead of the global one (which is a fresh one in every test).
    """

    def __init__(
        self,
        layers: Layers,
        shape: list[int],
        optimizer: Callable[[], Any] | None = None,
        *,
        dtype: str = "float32",
        own_scope: bool = False,
        seed: int = 1,
        started: bool = True,
    ) -> None:
        self.scope = paddle.static.Scope() if own_scope else paddle.static.global_scope()
        self.exe = paddle.static.Executor(paddle.CPUPlace())
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        self.shape, self.dtype, self.steps = shape, dtype, 0
        paddle.seed(seed)
        default = paddle.get_default_dtype()
        paddle.set_default_dtype(dtype)
        try:
            with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.program, self.startup):
                self.input = paddle.static.data("x", shape, dtype)
                self.output = layers(self.input)
                self.loss = ((self.output - 1.0) ** 2).mean()
                if optimizer is not None:
                    optimizer().minimize(self.loss)
        finally:
            paddle.set_default_dtype(default)
        self.seed = seed
        if started:
            self.start()

    def start(self) -> None:
        """Run the startup Program."""
        paddle.seed(self.seed)
        self.exe.run(self.startup, scope=self.scope)

    def minimize(self, optimizer: Callable[[], Any]) -> None:
        """Append an optimizer, and initialise its variables alone."""
        startup = paddle.static.Program()
        with paddle.static.program_guard(self.program, startup):
            optimizer().minimize(self.loss)
        self.exe.run(startup, scope=self.scope)

    def run(self, fetch: tuple[Any, ...] = ()) -> list[np.ndarray]:
        """One step on random data; the data of step t are the same in every net."""
        data = np.random.default_rng(self.steps).normal(size=self.shape).astype(self.dtype)
        self.steps += 1
        return self.exe.run(self.program, feed={"x": data}, fetch_list=[self.loss, *fetch], scope=self.scope)

    def train(self, pruner: Any, steps: int = 1) -> None:
        for _ in range(steps):
            self.run()
            pruner.step()

    def get(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def put(self, name: str, values: Any) -> None:
        tensor = self.scope.find_var(name).get_tensor()
        array = np.asarray(values, np.array(tensor).dtype)
        assert array.shape == tuple(tensor.shape())
        tensor.set(np.ascontiguousarray(array), paddle.CPUPlace())

    def everything(self) -> dict[str, np.ndarray]:
        """Every persistable variable of the Program, by name."""
        names = [value.name for value in self.program.global_block().all_parameters()]
        names += [
            op.attrs()["name"]
            for op in self.program.global_block().ops
            if op.name() == "pd_op.data" and op.result(0).persistable
        ]
        return {name: self.get(name) for name in names}

    def zeros(self, *names: str) -> int:
        return sum(int((self.get(name) == 0).sum()) for name in names)


def linear(features_in: int = 4, features_out: int = 4, **kwargs: Any) -> Layers:
    """One linear layer: weight linear_0.w_0, [in, out]."""
    return lambda x: paddle.nn.Linear(features_in, features_out, **kwargs)(x)


def two_linears(x: Any) -> Any:
    """linear_0.w_0 [4, 6] and linear_1.w_0 [6, 2]: 24 + 12 weights, 8 biases."""
    x = paddle.tanh(paddle.nn.Linear(4, 6)(x))
    return paddle.nn.Linear(6, 2)(x)


def convnet(x: Any) -> Any:
    """[n, 2, 4, 4] -> conv2d_0.w_0 [4, 2, 3, 3], batch norm, conv2d_1.w_0 [4, 4, 1, 1], linear_0.w_0 [16, 3]."""
    x = paddle.tanh(paddle.nn.BatchNorm2D(4)(paddle.nn.Conv2D(2, 4, 3)(x)))
    x = paddle.nn.Conv2D(4, 4, 1)(x)
    return paddle.nn.Linear(16, 3)(x.flatten(1))


def masks_in(program: Any) -> list[str]:
    """Names of the mask variables a Program has."""
    return [
        op.attrs()["name"]
        for op in program.global_block().ops
        if op.name() == "pd_op.data" and op.attrs()["name"].endswith("_mask")
    ]


def tensor(values: Any, dtype: str = "float32") -> Any:
    """A literal as an eager tensor."""
    return paddle.to_tensor(np.asarray(values, dtype))


def loop(x: Any) -> Any:
    """[n, 4] -> linear_0.w_0 [4, 4] and tanh, three times, in a `while` block."""
    layer, i = paddle.nn.Linear(4, 4), paddle.zeros([1], "int64")
    return paddle.static.nn.while_loop(lambda i, h: (i < 3).all(), lambda i, h: [i + 1, paddle.tanh(layer(h))], [i, x])[
        1
    ]


def branches(x: Any) -> Any:
    """[n, 4] -> linear_0.w_0 [4, 2] where the mean is > 0, else batch norm, dropout and linear_1.w_0 [4, 2]."""
    one, other = paddle.nn.Linear(4, 2), paddle.nn.Linear(4, 2)
    norm, drop = paddle.nn.BatchNorm1D(4), paddle.nn.Dropout(0.5)
    return paddle.static.nn.cond(x.mean() > 0, lambda: one(x), lambda: other(drop(norm(x))))


@contextmanager
def new_programs() -> Iterator[tuple[Any, Any]]:
    """A main and a startup Program to build in, with a scope and names of their own; dygraph before and after."""
    paddle.enable_static()
    try:
        main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        with (
            paddle.static.scope_guard(scope),
            paddle.utils.unique_name.guard(),
            paddle.static.program_guard(main, startup),
        ):
            yield main, startup
    finally:
        paddle.disable_static()
