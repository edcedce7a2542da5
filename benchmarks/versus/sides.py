# SPDX-License-Identifier: Apache-2.0
"""The two pruners in a training run: method names of a table -> what is called, and when."""

from __future__ import annotations

from typing import Any, Callable

import paddle

from .cells import Cell
from .plan import BLOCK_METHODS
from .training import Dense, Net, Side, forward, parameters

RAMP = 0.5  # GMP's ramp takes this part of the run, in every column
RISES, INITIAL = 50, 0.15  # its updates, and the sparsity of the first one
BLOCKS = {"1x1": [1, 1], "2x1": [2, 1]}


def side_of(cell: Cell) -> Side:
    """What prunes in this cell."""
    if cell.method in ("dense", "longer"):
        return Dense()
    if cell.side == "slim":
        return Slim(cell)
    if cell.method == "int8":
        return Int8(cell)
    if cell.method in BLOCK_METHODS:
        return Blocks(cell)
    return Recipe(cell) if cell.method in ("recipe", "taught", "low-rate") else Ours(cell)


def gmp_configs(steps: int) -> dict:
    """PaddleSlim's words for the ramp; it refuses a ramp of fewer than ten steps per rise."""
    ramp = int(RAMP * steps)
    return {
        "stable_iterations": 0,
        "pruning_iterations": ramp,
        "tunning_iterations": steps - ramp,
        "resume_iteration": 0,
        "pruning_steps": min(RISES, (ramp - 1) // 10),
        "initial_ratio": INITIAL,
    }


def slim_rises(configs: dict) -> Callable[[int, float], float]:
    """(step, final sparsity) -> sparsity as PaddleSlim's GMP has it: rises come every `pruning_iterations //
    pruning_steps` steps, so the last is early."""
    rises, initial = configs["pruning_steps"], configs["initial_ratio"]
    every = configs["pruning_iterations"] // rises

    def sparsity(step: int, final: float) -> float:
        done = min((step - configs["stable_iterations"]) // every / rises, 1.0)
        return ((done - 1.0) ** 3 + 1.0) * (final - initial) + initial if done >= 0.0 else 0.0

    return sparsity


def slim_count(sparsity: float, weights: int) -> float:
    """The sparsity that PaddleSlim comes to where it is asked for one: a weight or two less."""
    return max(int(sparsity * weights) - 1, 0) / weights


class Slim(Dense):
    """PaddleSlim's pruner as in its demo: made before `minimize`, step() per batch, update_params() for a test."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def before_minimize(self, net: Net) -> set:
        from paddleslim.prune import GMPUnstructuredPruner, UnstructuredPruner

        words = {"ratio": self.cell.sparsity, "place": net.place, "sparse_block": BLOCKS[self.cell.pattern]}
        if self.cell.method == "slim-ratio":
            self.pruner = UnstructuredPruner(net.program, mode="ratio", **words)
        else:
            self.pruner = GMPUnstructuredPruner(net.program, configs=gmp_configs(net.steps), **words)
        return self.pruner.no_grad_set

    def step(self) -> None:
        self.pruner.step()

    def before_test(self) -> None:
        self.pruner.update_params()


class Ours(Dense):
    """This library's: one-shot, and GMP, both global with the default floor."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def after_load(self, net: Net) -> None:
        from paddle_unstructured import GMPUnstructuredPruner, UnstructuredPruner

        if self.cell.method == "oneshot":
            self.pruner = UnstructuredPruner(net.program, ratio=self.cell.sparsity, pattern=self._pattern)
            return
        self.pruner = GMPUnstructuredPruner(
            net.program, ratio=self.cell.sparsity, configs=gmp_configs(net.steps), pattern=self._pattern
        )

    def step(self) -> None:
        self.pruner.step()

    @property
    def _pattern(self) -> Any:
        from paddle_unstructured import NM, Block, Int8Block
        from paddle_unstructured.patterns import parse_pattern

        if self.cell.method == "balanced":
            return Int8Block(int(self.cell.pattern.split("x")[0]), balanced=16)
        own = {"1x1": None, "2x1": Block(2, 1, axes="stored"), "2:4": NM(2, 4, indivisible="skip")}
        return own[self.cell.pattern] if self.cell.pattern in own else parse_pattern(self.cell.pattern)


class Recipe(Ours):
    """The library's `Recipe`; "taught" has the dense net that the run starts from as a teacher."""

    def loss(self, loss: Any, logits: Any, net: Net) -> Any:
        if self.cell.method != "taught":
            return loss
        teacher, scope = paddle.static.Program(), paddle.static.Scope()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(teacher, paddle.static.Program()):
            shown = forward(net.setting)
        for value in parameters(teacher):
            scope.var(value.name).get_tensor().set(net.start[value.name], net.place)
        return self._recipe(net).loss(loss, logits, shown, teacher_scope=scope)

    def after_load(self, net: Net) -> None:
        self.pruner = self._recipe(net).pruner(net.program)

    def _recipe(self, net: Net) -> Any:
        from paddle_unstructured.training import recipe

        return recipe.Recipe(
            ratio=self.cell.sparsity,
            steps=net.steps,
            pattern=self._pattern,
            weight=0.5 if self.cell.method == "taught" else 0.0,
        )


class Blocks(Recipe):
    """The library's `Recipe` in blocks for int8; the stem and the depthwise convolutions stay dense."""

    def after_load(self, net: Net) -> None:
        if self.cell.method == "permuted":
            permute(net, self._pattern.outputs, self.cell.sparsity)
        self.pruner = self._recipe(net).pruner(net.program, select=has_both_axes)


class Int8(Blocks):
    """And then as int8."""

    def finish(self, net: Net, accuracy: float, train: Any, test: Any) -> dict:
        from .int8 import converted_accuracy

        return {"float_accuracy": accuracy, "accuracy": converted_accuracy(net.setting, net.weights(), train, test)}


def has_both_axes(param: Any) -> bool:
    """Not a depthwise convolution, which is trained as a product with reshaped weights."""
    return None not in (param.output_axis, param.input_axis)


def permute(net: Net, outputs: int, sparsity: float) -> None:
    """Reorder channels: by a Program of the same scope that has the convolutions which training writes as products."""
    from paddle_unstructured.channels.permute import permute_channels

    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, paddle.static.Program()):
        forward(net.setting, as_product=False)
    permute_channels(program, outputs, n=4, kernel="position", sparsity=sparsity)
