# SPDX-License-Identifier: Apache-2.0
"""Gradual magnitude pruning in PaddleSlim's words: exact boundaries, every key by name, exact resuming."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, masks_in, two_linears

from paddle_unstructured import GMPUnstructuredPruner, Polynomial

pytestmark = pytest.mark.usefixtures("static")

CONFIGS = {
    "stable_iterations": 3,
    "pruning_iterations": 6,
    "tunning_iterations": 4,
    "resume_iteration": 0,
    "pruning_steps": 3,
    "initial_ratio": 0.15,
}
TWO = ("linear_0.w_0", "linear_1.w_0")


def net() -> Net:
    return Net(two_linears, [3, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9))


def ratios(steps: int, net_: Net | None = None, **changes) -> list[float]:
    """`ratio` after each of the steps that remain."""
    net_ = net_ or net()
    pruner = GMPUnstructuredPruner(net_.program, ratio=0.75, configs={**CONFIGS, **changes})
    found = []
    while pruner.steps < steps:
        net_.train(pruner)
        found.append(pruner.ratio)
    return found


def test_nothing_is_pruned_before_the_stable_iterations_are_over():
    trained = net()
    pruner = GMPUnstructuredPruner(trained.program, ratio=0.75, configs=CONFIGS)
    trained.train(pruner, 3)
    assert (pruner.ratio, trained.zeros(*TWO)) == (0.0, 0)
    trained.train(pruner)
    assert trained.zeros(*TWO) == round(0.15 * 36)


def test_the_target_is_reached_exactly_at_the_last_pruning_iteration():
    trained = net()
    pruner = GMPUnstructuredPruner(trained.program, ratio=0.75, configs=CONFIGS)
    trained.train(pruner, 8)
    assert pruner.ratio < 0.75 and not pruner.target_reached()
    trained.train(pruner)
    assert pruner.ratio == 0.75 and trained.zeros(*TWO) == 27 and pruner.target_reached()


def test_the_target_stays_however_long_the_tuning_is():
    assert ratios(20)[8:] == [0.75] * 12


def test_every_step_has_its_ratio():
    # Three rises over the five steps from the 4th to the 9th: at ceil(5/3), ceil(10/3) and 5 steps after the first.
    first, second = (0.75 + (0.15 - 0.75) * (1 - done / 5) ** 3 for done in (2, 4))
    assert ratios(13) == pytest.approx([0.0] * 3 + [0.15] * 2 + [first] * 2 + [second] + [0.75] * 5, abs=1e-15)


def test_the_number_of_weights_that_are_zero_follows_the_ratio_at_every_step():
    trained = net()
    pruner = GMPUnstructuredPruner(trained.program, ratio=0.75, configs=CONFIGS)
    for _ in range(12):
        trained.train(pruner)
        assert trained.zeros(*TWO) == round(pruner.ratio * 36)


def test_a_phase_of_one_iteration_is_one_shot():
    assert ratios(5, pruning_iterations=1, pruning_steps=1) == [0.0] * 3 + [0.75] * 2


def test_without_stable_iterations_pruning_starts_at_once():
    assert ratios(1, stable_iterations=0) == pytest.approx([0.15], abs=1e-15)


@pytest.mark.parametrize("resumed", [0, 1, 3, 4, 6, 8, 9, 12])
def test_resuming_gives_the_very_ratios_of_an_uninterrupted_run(resumed):
    whole = ratios(13)
    with paddle.static.scope_guard(paddle.static.Scope()):
        assert ratios(13, resume_iteration=resumed) == whole[resumed:]


def test_resuming_is_no_loop():
    pruner = GMPUnstructuredPruner(net().program, ratio=0.75, configs={**CONFIGS, "resume_iteration": 10**12})
    assert pruner.steps == 10**12
    pruner.step()
    assert pruner.sparsity() == 0.75


def test_configs_are_a_polynomial_schedule():
    pruner = GMPUnstructuredPruner(net().program, ratio=0.75, configs=CONFIGS)
    assert repr(Polynomial(final=0.75, begin_step=3, end_step=8, initial=0.15, updates=3)) in repr(pruner)


@pytest.mark.parametrize("key", CONFIGS)
def test_a_missing_key_is_named(key):
    configs = {k: v for k, v in CONFIGS.items() if k != key}
    with pytest.raises(ValueError, match=f"`configs` lacks {key};"):
        GMPUnstructuredPruner(net().program, ratio=0.75, configs=configs)


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match="unknown keys tuning_iterations"):
        GMPUnstructuredPruner(net().program, ratio=0.75, configs={**CONFIGS, "tuning_iterations": 3})


BAD_VALUES = [(key, value) for key in list(CONFIGS)[:5] for value in (-1, 1.5, "3", None, True)] + [
    ("pruning_iterations", 0),
    ("pruning_steps", 0),
    ("initial_ratio", -0.1),
    ("initial_ratio", 1.1),
    ("initial_ratio", 0.8),
    ("initial_ratio", None),
    ("initial_ratio", "0.1"),
    ("initial_ratio", float("nan")),
]


@pytest.mark.parametrize("key, value", BAD_VALUES)
def test_a_senseless_value_is_refused_by_its_key_and_nothing_is_changed(key, value):
    dense = net()
    with pytest.raises(ValueError, match=rf"`configs\['{key}'\]` must be") as error:
        GMPUnstructuredPruner(dense.program, ratio=0.75, configs={**CONFIGS, key: value})
    assert repr(value) in str(error.value)
    assert not masks_in(dense.program)


@pytest.mark.parametrize("configs", [None, [], "stable_iterations", 3])
def test_configs_that_are_no_dict_are_refused_with_the_keys_they_need(configs):
    with pytest.raises(ValueError, match="`configs` must be a dict with the keys stable_iterations"):
        GMPUnstructuredPruner(net().program, ratio=0.75, configs=configs)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, None])
def test_a_final_ratio_that_is_no_fraction_is_refused(ratio):
    with pytest.raises(ValueError, match="`ratio` must be a fraction"):
        GMPUnstructuredPruner(net().program, ratio=ratio, configs=CONFIGS)


def test_numpy_integers_are_integers():
    configs = {k: v if k == "initial_ratio" else np.int64(v) for k, v in CONFIGS.items()}
    GMPUnstructuredPruner(net().program, ratio=0.75, configs=configs)


def test_the_words_of_the_base_pruner_work_here_too():
    trained = net()
    pruner = GMPUnstructuredPruner(
        trained.program,
        ratio=0.5,
        configs={**CONFIGS, "stable_iterations": 0},
        local_sparsity=True,
        skip_params_func=lambda program: {TWO[0]},
    )
    trained.train(pruner, 6)
    assert (trained.zeros(TWO[0]), trained.zeros(TWO[1])) == (0, 6)
