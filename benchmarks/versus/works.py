# SPDX-License-Identifier: Apache-2.0
"""Prunes one layer on whatever kind of Program Paddle's flag makes: prints "works", or ends with the error.

python -m versus.works SIDE
"""

from __future__ import annotations

import contextlib
import io
import sys

import paddle


def main() -> None:
    side = sys.argv[1]
    with contextlib.redirect_stdout(io.StringIO()):
        from versus.nets import Trainer, pruners

        paddle.enable_static()
        base = pruners(side)[0]
        net = Trainer(
            lambda: paddle.nn.Linear(25, 40),
            (25,),
            None,
            after=side == "ours",
            pruner=lambda program: base(program, mode="ratio", ratio=0.5),
        ).batch(8)
        net.run()
        pruned = net.masked("linear_0.w_0")
    print(f"works ({pruned} of 1000 pruned)")


if __name__ == "__main__":
    main()
