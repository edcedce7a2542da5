# SPDX-License-Identifier: Apache-2.0
"""Models as Paddle 2 saved them: run as a script with FLAGS_enable_pir_api=0, for no process can do both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np


def make(folder: Path) -> None:
    """Save plain.pdmodel, conv.pdmodel, loop.pdmodel and norms.pdmodel with their .pdiparams, and .npy with what each
    returns for `data(...)`."""
    env = {**os.environ, "FLAGS_enable_pir_api": "0", "GLOG_minloglevel": "2", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, __file__, str(folder)], env=env, check=True, capture_output=True)


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def _main(folder: str) -> None:
    import paddle
    from paddle import nn

    paddle.enable_static()

    def plain(x: Any) -> Any:
        return nn.Linear(8, 4)(nn.functional.softmax(nn.Linear(4, 8)(x)))

    def conv(x: Any) -> Any:
        x = nn.functional.relu(nn.BatchNorm2D(4)(nn.Conv2D(4, 4, 1)(x)))
        return nn.Linear(16, 4)(nn.Flatten()(nn.Dropout(0.5)(x)))

    def loop(x: Any) -> Any:
        layer, i = nn.Linear(4, 4), paddle.zeros([1], "int64")
        body = lambda i, h: [i + 1, nn.functional.softmax(layer(h))]  # noqa: E731
        return paddle.static.nn.while_loop(lambda i, h: i < 3, body, [i, x])[1]

    def norms(x: Any) -> Any:
        x = nn.functional.rrelu(nn.InstanceNorm2D(4)(nn.Conv2D(4, 4, 1)(x)), training=False)
        x = nn.GroupNorm(2, 4)(nn.Conv2D(4, 4, 1)(x))
        return nn.Linear(4, 4)(nn.LayerNorm(4)(nn.functional.dropout(x.mean([2, 3]), 0.3, mode="downscale_in_infer")))

    for layers, shape in ((plain, (4,)), (conv, (4, 2, 2)), (loop, (4,)), (norms, (4, 2, 2))):
        main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        paddle.seed(1)
        with (
            paddle.utils.unique_name.guard(),
            paddle.static.program_guard(main, startup),
            paddle.static.scope_guard(scope),
        ):
            x = paddle.static.data("x", [-1, *shape], "float32")
            y = layers(x)
            test = main.clone(for_test=True)
            exe = paddle.static.Executor(paddle.CPUPlace())
            exe.run(startup)
            (result,) = exe.run(test, feed={"x": data(3, *shape)}, fetch_list=[y])
            prefix = os.path.join(folder, layers.__name__)
            paddle.static.save_inference_model(prefix, [x], [y], exe, program=main)
            np.save(prefix + ".npy", result)


if __name__ == "__main__":
    _main(sys.argv[1])
