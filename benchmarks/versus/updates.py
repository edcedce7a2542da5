# SPDX-License-Identifier: Apache-2.0
"""One mask update, in a process of its own: seconds, and memory on top of the weights.

python -m versus.updates SIDE WIDTH LAYERS M N TIMES
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
from pathlib import Path


def main() -> None:
    side, (width, layers, m, n, times) = sys.argv[1], map(int, sys.argv[2:])
    with contextlib.redirect_stdout(io.StringIO()):
        found = measure(side, width, layers, [m, n], times)
    print(json.dumps(found))


def measure(side: str, width: int, layers: int, block: list, times: int) -> dict:
    import paddle
    import paddle.nn as nn

    from versus.nets import pruners
    from versus.steps import seconds

    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [None, width])
        nn.Sequential(*[nn.Linear(width, width, bias_attr=False) for _ in range(layers)])(x)
    paddle.static.Executor(paddle.CPUPlace()).run(startup)
    pruner = pruners(side)[0](program, mode="ratio", ratio=0.1, sparse_block=block)
    weights = width * width * layers
    if side == "ours" or weights < 2e7 and block == [1, 1]:
        pruner.step()  # the first update builds the side Program; PaddleSlim's has nothing to build
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    took = []
    for i in range(times):
        pruner.ratio = 0.2 + 0.5 * (i + 1) / times
        took.append(seconds(pruner.step))
    return {
        "seconds": statistics.median(took),
        "weights": weights,
        "memory": (memory("VmHWM") - before) / (4 * weights),
    }


def memory(which: str) -> int:
    """Bytes of this process now (VmRSS) or at most (VmHWM); Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
