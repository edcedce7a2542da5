# SPDX-License-Identifier: Apache-2.0
"""Models with tensors and structures that are rare, each as a function of the input [2, 4]."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
from nets import Net, branches, loop
from paddle import nn

ODD_DTYPES = ("int64", "int32", "int16", "uint8", "int8", "bool", "float16", "float64", "bfloat16")


def variable(shape: list[int], dtype: str = "float32", name: str | None = None, value: float = 1.0) -> Any:
    made = paddle.static.create_parameter(shape, dtype, name=name, default_initializer=nn.initializer.Constant(value))
    made.stop_gradient = dtype != "float32"
    return made


def scalars(x: Any) -> Any:
    """0-D params and buffers of every dtype."""
    x = nn.Linear(4, 3)(x) * variable([], value=1.5) + variable([], value=0.5)
    for dtype in ODD_DTYPES:
        x = x * variable([], dtype).cast("float32")
    return x


def empty(x: Any) -> Any:
    """Buffers without elements."""
    x = nn.Linear(4, 3)(x)
    for dtype in ("float32", "int64", "uint8"):
        x = paddle.concat([x, variable([0, 3], dtype).cast("float32")], 0)
    return x


def vectors(x: Any) -> Any:
    """Buffers of every dtype, with axes."""
    x = nn.Linear(4, 3)(x)
    for dtype in ODD_DTYPES:
        x = x * variable([3], dtype).cast("float32")
    return x


def strange_names(x: Any) -> Any:
    """Names with slashes, spaces, and letters of other alphabets."""
    for i, name in enumerate(("a/b", "two words", "größe", "重み", 'q"uote', "per%cent")):
        x = paddle.matmul(x, variable([4, 4], name=f"{name}.w_0", value=0.5 + i))
    return x


def without_params(x: Any) -> Any:
    return paddle.tanh(x) * 2.0


def recurrent(kind: Callable[..., Any]) -> Callable[[Any], Any]:
    """Two layers of a kind: Paddle gives both a variable of one name."""

    def layers(x: Any) -> Any:
        y, _ = kind(4, 5)(x.unsqueeze(1).tile([1, 3, 1]))
        y, _ = kind(5, 6, direction="bidirect")(y)
        return y

    layers.__name__ = f"two_{kind.__name__}"
    return layers


ODD = (
    scalars,
    empty,
    vectors,
    strange_names,
    recurrent(nn.LSTM),
    recurrent(nn.GRU),
    recurrent(nn.SimpleRNN),
    loop,
    branches,
)


def odd_net(layers: Callable[[Any], Any]) -> Net:
    """The net in a scope of its own, its weights not all alike."""
    net = Net(layers, [2, 4], own_scope=True)
    rng = np.random.default_rng(5)
    for name, value in sorted(net.everything().items()):
        if value.dtype == np.float32 and value.ndim:
            net.put(name, rng.normal(size=value.shape))
    return net
