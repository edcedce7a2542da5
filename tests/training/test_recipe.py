# SPDX-License-Identifier: Apache-2.0
"""The recipe: its numbers written out, and that it trains to what was asked."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, two_linears
from paddle import nn

from paddle_unstructured import LAMP, Block, Global, Polynomial
from paddle_unstructured.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("static")


def test_the_learning_rate_falls_from_the_peak_to_nothing_by_a_cosine():
    recipe = Recipe(ratio=0.5, steps=4)
    assert [recipe.rate(step) for step in (0, 2, 4, 5)] == [1.0, 0.5, 0.0, 0.0]
    assert recipe.rate(1) == pytest.approx((1 + np.cos(np.pi / 4)) / 2)


def test_the_ramp_ends_where_it_says_and_exactly_at_the_ratio():
    schedule = Recipe(ratio=0.9, steps=200).schedule
    assert schedule == Polynomial(final=0.9, initial=0.15, begin_step=0, end_step=100, updates=50)
    assert schedule(0) == pytest.approx(0.15) and schedule(97) < 0.9 == schedule(100)
    assert Recipe(ratio=0.1, steps=10, ramp=1.0).schedule == Polynomial(
        final=0.1, initial=0.1, begin_step=0, end_step=10, updates=10
    )


def test_the_pruner_takes_the_parts_and_further_words():
    net = Net(two_linears, [8, 4], lambda: paddle.optimizer.Momentum(0.1))
    recipe = Recipe(ratio=0.5, steps=20, pattern=Block(2, 1), allocation=Global(floor=0.1))
    pruner = recipe.pruner(net.program, skip_params_func=lambda program: {"linear_1.w_0"})
    assert [param.name for param in pruner.params] == ["linear_0.w_0"]
    assert "Block(m=2, n=1" in repr(pruner) and "Global(floor=0.1" in repr(pruner)


def test_a_run_ends_exactly_at_the_ratio_and_prunes_in_the_first_part():
    net = Net(two_linears, [8, 4], lambda: paddle.optimizer.Momentum(0.1))
    pruner = Recipe(ratio=0.75, steps=20).pruner(net.program)
    found = []
    for _ in range(20):
        net.train(pruner)
        found.append(net.zeros("linear_0.w_0", "linear_1.w_0"))
    assert found == sorted(found) and found[4] < 27 == found[10] == found[-1]


def test_the_loss_has_the_teachers_part():
    teacher = Net(lambda x: nn.Linear(4, 3)(x), [None, 4], own_scope=True, seed=7)
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        logits = nn.Linear(4, 3)(paddle.static.data("x", [None, 4]))
        alone = logits.mean()
        loss = Recipe(ratio=0.5, steps=10, weight=0.25, temperature=3.0).loss(
            alone, logits, teacher.output, teacher_scope=teacher.scope
        )
    exe = paddle.static.Executor()
    exe.run(startup)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    mixed, own, answers = exe.run(program, feed={"x": x}, fetch_list=[loss, alone, logits])
    shown = x @ teacher.get("linear_0.w_0") + teacher.get("linear_0.b_0")
    p, q = ((e := np.exp(z / 3.0)) / e.sum(-1, keepdims=True) for z in (shown, answers))
    assert float(mixed) == pytest.approx(0.75 * float(own) + 0.25 * 9.0 * (p * np.log(p / q)).sum(-1).mean(), rel=1e-4)


def test_without_weight_nothing_is_added_for_a_teacher():
    assert Recipe(ratio=0.5, steps=10).loss("loss", "logits", "teacher's logits") == "loss"


def test_the_default_allocation_is_the_one_of_the_tables():
    assert isinstance(Recipe(ratio=0.5, steps=10).allocation, LAMP)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"ratio": 1.5}, "`ratio` must be a fraction"),
        ({"steps": 1}, "`steps` must be .* an int >= 2, got 1"),
        ({"ramp": 0.0}, r"`ramp` must be a part of the steps, in \(0, 1\], got 0.0"),
        ({"updates": 0}, "`updates` must be an int >= 1, got 0"),
        ({"weight": 2.0}, r"`weight` must be in \[0, 1\], got 2.0"),
    ],
)
def test_values_out_of_range_are_refused_when_it_is_built(wrong, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"ratio": 0.5, "steps": 10, **wrong})
