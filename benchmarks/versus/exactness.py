# SPDX-License-Identifier: Apache-2.0
"""What comes out when so much is asked for: one function per row, the same calls on both sides.

python -m versus.exactness SIDE      prints one JSON object, question -> answer
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
from typing import Any, Callable

import numpy as np

W0, W1 = "linear_0.w_0", "linear_1.w_0"


class Rows:
    """The questions, for one side."""

    def __init__(self, side: str) -> None:
        import paddle
        import paddle.nn as nn

        from versus.nets import Trainer, pruners

        paddle.enable_static()
        self.paddle, self.nn, self.Trainer, self.side = paddle, nn, Trainer, side
        self.base, self.gmp = pruners(side)

    def one(self, ratio: float = 0.5, **words: Any) -> Any:
        """1000 weights in one layer."""
        return self.trainer(lambda: self.nn.Linear(25, 40, bias_attr=False), ratio, **words)

    def two(self, ratio: float = 0.5, **words: Any) -> Any:
        """1000 weights, a nonlinearity, 1600 weights."""
        nn = self.nn
        return self.trainer(lambda: nn.Sequential(nn.Linear(25, 40), nn.ReLU(), nn.Linear(40, 40)), ratio, **words)

    def trainer(self, layers: Callable, ratio: float, after: bool | None = None, **words: Any) -> Any:
        after = self.side == "ours" if after is None else after
        return self.Trainer(
            layers,
            (25,),
            None,
            after=after,
            pruner=lambda program: self.base(program, mode="ratio", ratio=ratio),
            **words,
        ).batch(8)

    def asked_and_achieved(self) -> str:
        net = self.one()
        net.run()
        return f"{net.masked(W0)}"

    def asked_tenth(self) -> str:
        net = self.one(0.999)
        net.run()
        return f"{net.masked(W0)}"

    def ties(self) -> str:
        net = self.one()
        net.put(W0, np.ones((25, 40)))
        net.call("step")
        return f"{net.masked(W0)}"

    def no_call(self, **words: Any) -> str:
        net = self.two(**words)
        for _ in range(5):
            net.run()
        for _ in range(3):
            net.run(step=False)
        return f"{net.zeros(W0, W1)}"

    def no_call_adam(self) -> str:
        return self.no_call(optimizer=lambda: self.paddle.optimizer.Adam(0.01))

    def no_call_after(self) -> str:
        return self.no_call(after=True)

    def pattern_of_zeros(self) -> str:
        """How many blocks [5, -5] are pruned before blocks [0.1, 0.1], of 500 blocks."""
        net = self.Trainer(
            lambda: self.nn.Linear(50, 20, bias_attr=False),
            (50,),
            None,
            after=self.side == "ours",
            pruner=lambda program: self.base(program, mode="ratio", ratio=0.5, sparse_block=[2, 1]),
        )
        weights = np.full((50, 20), 0.1)
        weights[0::2, ::2], weights[1::2, ::2] = 5.0, -5.0
        net.put(W0, weights + np.linspace(0, 1e-3, 1000).reshape(50, 20))
        net.call("step")
        return f"{int((net.get(W0 + '_mask')[0::2, ::2] == 0).sum())} of 250"

    def zero_layer(self) -> str:
        net = self.two()
        net.put(W1, np.zeros((40, 40)))
        net.put("linear_1.b_0", np.zeros(40))
        net.call("step")  # before the first batch
        for _ in range(20):
            net.run()
        net.call("update_params")
        return f"{1600 - net.zeros(W1)} of 1600"

    def dead_layer(self) -> str:
        net = self.two(0.75)
        net.put(W1, net.get(W1) * 1e-3)
        net.run()
        return f"{1600 - net.masked(W1)} of 1600"

    def dead_layer_warning(self) -> str:
        """The layer is emptied on purpose where a floor keeps it."""
        words = {}
        if self.side == "ours":
            from paddle_unstructured import Global

            words = {"allocation": Global(floor=0.0)}
        nn, said = self.nn, io.StringIO()
        net = self.Trainer(
            lambda: nn.Sequential(nn.Linear(25, 40), nn.ReLU(), nn.Linear(40, 40)),
            (25,),
            None,
            after=self.side == "ours",
            pruner=lambda p: self.base(p, mode="ratio", ratio=0.75, **words),
        )
        net.put(W1, net.get(W1) * 1e-6)
        handler = logging.StreamHandler(said)
        logging.getLogger().addHandler(handler)
        with contextlib.redirect_stdout(said):
            net.run()
        logging.getLogger().removeHandler(handler)
        left = 1600 - net.masked(W1)
        return f"{left} left; " + ("a warning names it" if W1 in said.getvalue() else "no word")

    def resume(self, how: str) -> str:
        """Zeros after one batch, when the stored weights, 1300 of them zero, are put into a new run."""
        net = self.two()
        net.run()
        net.call("update_params")
        saved = {name: net.get(name) for name in (W0, W1, "linear_0.b_0", "linear_1.b_0")}
        with tempfile.TemporaryDirectory() as folder:
            if how == "state":
                self._save(net, folder)
            new = self.two(0.5, seed=2)
            for name, value in saved.items():
                new.put(name, value)
            if how == "masks":
                new.call("set_static_masks")
            if how == "state":
                self._load(new, folder)
        new.run(step=False)
        new.run(step=False)
        return f"{new.zeros(W0, W1)} of {net.zeros(W0, W1)}"

    def _save(self, net: Any, folder: str) -> None:
        with self.paddle.static.scope_guard(net.scope):
            self.paddle.static.save(net.program, folder + "/m")
            if self.side == "ours":
                net.pruner.save(folder + "/m.pruner")

    def _load(self, net: Any, folder: str) -> None:
        with self.paddle.static.scope_guard(net.scope):
            self.paddle.static.load(net.program, folder + "/m", net.exe)
            if self.side == "ours":
                net.pruner.load(folder + "/m.pruner")

    def gmp_run(self) -> tuple[list, Any]:
        configs = {
            "stable_iterations": 55,
            "pruning_iterations": 205,
            "tunning_iterations": 40,
            "resume_iteration": 0,
            "pruning_steps": 10,
            "initial_ratio": 0.15,
        }
        net = self.Trainer(
            lambda: self.nn.Linear(25, 40, bias_attr=False),
            (25,),
            None,
            after=self.side == "ours",
            pruner=lambda program: self.gmp(program, ratio=0.9, configs=configs),
        ).batch(8)
        counts = []
        for _ in range(300):
            net.run()
            counts.append(net.masked(W0))
        return counts, net

    def gmp_phases(self) -> str:
        counts, _ = self.gmp_run()
        first = next(i for i, count in enumerate(counts) if count)
        last = next(i for i, count in enumerate(counts) if count == counts[-1])
        return f"{first} to {last}, {counts[-1]} of 1000"

    def refusal(self, ratio: float) -> str:
        try:
            net = self.one(ratio)
            net.run()
        except Exception as error:  # whatever it is, it is the answer
            return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
        return f"accepted, {net.masked(W0)} pruned"

    def shared_totals(self) -> str:
        """What total_sparse says of 1300 zeros in 2600 weights, with 80 biases beside them."""
        paddle = self.paddle
        net = self.two()
        net.run()
        with paddle.static.scope_guard(net.scope):
            net.pruner.update_params()
            return f"{float(net.pruner.total_sparse(net.program)):.4f}"


QUESTIONS = {
    "asked 500 of 1000 distinct weights: pruned": Rows.asked_and_achieved,
    "asked 999 of 1000: pruned": Rows.asked_tenth,
    "asked 500 of 1000 equal weights: pruned": Rows.ties,
    "asked 1300 of 2600; stored zeros after 5 steps and 3 more runs without any call, Momentum": Rows.no_call,
    "... Adam": Rows.no_call_adam,
    "... Momentum, pruner made after `minimize`": Rows.no_call_after,
    "blocks [5, -5] pruned before blocks [0.1, 0.1], [2,1] at 50 %": Rows.pattern_of_zeros,
    "a zero-initialised layer, step() before the first batch, 20 steps at 50 %: weights not zero": Rows.zero_layer,
    "a layer 1000 times smaller than the other, global 75 %: weights it keeps": Rows.dead_layer,
    "a layer that is emptied (ours with floor=0)": Rows.dead_layer_warning,
    "resume from weights alone, no call: zeros kept after two batches": lambda rows: rows.resume("weights"),
    "... with set_static_masks()": lambda rows: rows.resume("masks"),
    "... from static.save and load (ours with pruner.save and load)": lambda rows: rows.resume("state"),
    "GMP asked to rise in steps 55 to 259, to 900 of 1000": Rows.gmp_phases,
    "total_sparse() of 1300 zeros in 2600 weights (0.5) beside 80 biases": Rows.shared_totals,
    "ratio=1.5": lambda rows: rows.refusal(1.5),
    "ratio=-0.5": lambda rows: rows.refusal(-0.5),
}


def main() -> None:
    side = sys.argv[1]
    answers = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for question, answer in QUESTIONS.items():
            try:
                answers[question] = answer(Rows(side))
            except Exception as error:  # a crash is an answer too
                answers[question] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:90]}"
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
