# SPDX-License-Identifier: Apache-2.0
"""What reordering channels is worth before block pruning: the figures in docs/pruning.md.

    python benchmarks/permutation.py

MobileNetV1, width 0.25, random weights (seed 0), 32x32; the share of a layer's squared magnitude that survives when
75 % of its m x 1 blocks fall by their L2 norm, before and after, on average over the layers that could be reordered.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import paddle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))
from models import MobileNet  # noqa: E402

from paddle_unstructured.channels.permute import permute_channels


def main() -> None:
    paddle.enable_static()
    print("| blocks | kept before | kept after | layers |\n|---|---|---|---|")
    for m in (2, 4):
        program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        paddle.seed(0)
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
            MobileNet(3, 10, width=0.25, strides=MobileNet.strides_for(32))(paddle.static.data("x", [None, 3, 32, 32]))
        paddle.static.Executor().run(startup, scope=scope)
        rows = [row for row in permute_channels(program, m, scope=scope) if row.permuted]
        before, after = (statistics.mean(kept) for kept in zip(*((r.kept_before, r.kept_after) for r in rows)))
        print(f"| {m}x1 | {100 * before:.1f} % | {100 * after:.1f} % | {len(rows)} |")


if __name__ == "__main__":
    main()
