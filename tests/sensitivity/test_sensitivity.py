# SPDX-License-Identifier: Apache-2.0
"""Sensitivity of layers: what is measured, and what is refused."""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear, two_linears
from sensitivity_tables import TWO, bits, nonzeros

from paddle_unstructured import UnstructuredPruner, conv1x1_only
from paddle_unstructured.allocation import PerLayer
from paddle_unstructured.criteria import NormScale, Random, Saliency
from paddle_unstructured.graph import open_graph
from paddle_unstructured.patterns import NM, Block, Filter
from paddle_unstructured.sensitivity import SensitivityRow, allocate_by_sensitivity, sensitivity

on_programs = pytest.mark.usefixtures("static")


# -- measuring


@on_programs
def test_every_layer_is_pruned_alone_to_every_sparsity():
    net = Net(two_linears, [3, 4])
    table = sensitivity(net.program, nonzeros(net, *TWO), (0.75, 0.5), progress=False)
    assert (table.dense, table.sizes) == (36.0, {"linear_0.w_0": 24, "linear_1.w_0": 12})
    assert table.rows == (
        SensitivityRow("linear_0.w_0", 0.5, 24.0, 12.0, 12),
        SensitivityRow("linear_0.w_0", 0.75, 18.0, 18.0, 18),
        SensitivityRow("linear_1.w_0", 0.5, 30.0, 6.0, 6),
        SensitivityRow("linear_1.w_0", 0.75, 27.0, 9.0, 9),
    )


@on_programs
def test_the_lowest_magnitudes_fall_and_equal_ones_in_stored_order():
    net = Net(linear(2, 4, bias_attr=False), [3, 2])
    net.put("linear_0.w_0", [[3, -1, 2, 1], [1, -4, 1, 5]])
    seen = []
    sensitivity(net.program, lambda: seen.append(net.get("linear_0.w_0").tolist()) or 0.0, (0.375, 0.5), progress=False)
    assert seen == [[[3, -1, 2, 1], [1, -4, 1, 5]], [[3, 0, 2, 0], [0, -4, 1, 5]], [[3, 0, 2, 0], [0, -4, 0, 5]]]


@on_programs
@pytest.mark.parametrize("train", [False, True])
def test_the_weights_and_the_program_are_as_before(train: bool):
    net = Net(convnet, [2, 2, 4, 4], (lambda: paddle.optimizer.Momentum(0.1)) if train else None)
    net.put("linear_0.w_0", np.where(net.get("linear_0.w_0") > 0, net.get("linear_0.w_0"), -0.0))
    before, ops = bits(net), net.program.num_ops()
    sensitivity(net.program, nonzeros(net, "conv2d_0.w_0"), (0.9,), progress=False)
    assert (bits(net), net.program.num_ops()) == (before, ops)


@on_programs
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_the_weights_are_restored_when_evaluate_is_stopped(stop: type[BaseException]):
    net = Net(two_linears, [3, 4])
    before, score = bits(net), nonzeros(net, *TWO)

    def evaluate() -> float:
        if score() == 36:
            return 36.0
        raise stop

    with pytest.raises(stop):
        sensitivity(net.program, evaluate, (0.5,), progress=False)
    assert bits(net) == before


@on_programs
def test_an_evaluate_that_trains_is_found_at_once(tmp_path):
    net = Net(two_linears, [3, 4], lambda: paddle.optimizer.SGD(0.1))
    with pytest.raises(
        ValueError, match="`evaluate` must not train, and has changed linear_0.w_0, linear_1.w_0; let it"
    ):
        sensitivity(net.program, lambda: -float(net.run()[0]), (0.5,), path=tmp_path / "table.json", progress=False)
    assert net.steps == 1 and not list(tmp_path.iterdir())


@on_programs
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes_are_pruned_and_restored_bit_for_bit(dtype: str):
    def layers(x: Any) -> Any:
        weight = paddle.create_parameter(
            [4, 4], dtype, name="w", default_initializer=paddle.nn.initializer.Uniform(-1, 1)
        )
        return paddle.matmul(x, weight.cast("float32"))

    net = Net(layers, [2, 4])
    before = bits(net)

    def left() -> int:
        weight = net.get("w")  # bfloat16 comes as uint16; without its sign, zero is zero
        return np.count_nonzero(weight.view(f"uint{8 * weight.itemsize}") << 1)

    assert [row.score for row in sensitivity(net.program, left, (0.25, 0.75), progress=False).rows] == [12.0, 4.0]
    assert bits(net) == before


@on_programs
def test_scope_criterion_pattern_and_select_are_the_callers():
    net = Net(convnet, [2, 2, 4, 4], own_scope=True)
    net.put("conv2d_1.w_0", np.array([[9, 8, 1, 1], [9, 8, 1, 1], [2, 3, 7, 7], [2, 3, 7, 7]])[..., None, None])
    seen = []

    def most_is_least(weight: Any) -> Any:
        return 10.0 - weight

    table = sensitivity(
        net.program,
        lambda: seen.append(net.get("conv2d_1.w_0")[:, :, 0, 0].tolist()) or 0.0,
        (0.5,),
        scope=net.scope,
        criterion=most_is_least,
        pattern=Block(2, 1),
        select=conv1x1_only,
        progress=False,
    )
    assert list(table.sizes) == ["conv2d_1.w_0"]
    assert (table.criterion, table.pattern) == ("most_is_least", repr(Block(2, 1)))
    assert seen[1] == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 3, 0, 0], [2, 3, 0, 0]]


@on_programs
def test_the_weights_that_really_fell_are_counted():
    net = Net(linear(4, 4, bias_attr=False), [3, 4])
    table = sensitivity(net.program, nonzeros(net, "linear_0.w_0"), (0.7,), pattern=Block(4, 1), progress=False)
    assert table.rows == (SensitivityRow("linear_0.w_0", 0.7, 8.0, 8.0, 8),)  # 11 asked for, in fours


@on_programs
def test_filters_fall_by_the_scale_of_the_norm_behind_them():
    net = Net(convnet, [2, 2, 4, 4])
    net.put("batch_norm2d_0.w_0", [3, 1, 4, 2])
    left = []
    sensitivity(
        net.program,
        lambda: left.append(net.get("conv2d_0.w_0").any(axis=(1, 2, 3)).tolist()) or 0.0,
        (0.5,),
        ["conv2d_0.w_0"],
        criterion=NormScale(),
        pattern=Filter(),
        progress=False,
    )
    assert left[1] == [True, False, True, False]


@on_programs
def test_the_layers_that_a_pattern_skips_are_left_out():
    net = Net(convnet, [2, 2, 4, 4])
    table = sensitivity(
        net.program, lambda: 1.0, (0.25, 0.5), pattern=NM(2, 4, indivisible="skip"), criterion=Random(), progress=False
    )
    assert list(table.sizes) == ["conv2d_1.w_0", "linear_0.w_0"]
    assert [row.pruned for row in table.rows] == [4, 8, 12, 24]


@on_programs
def test_a_pruner_takes_the_sparsities_that_were_found():
    net = Net(two_linears, [3, 4])
    table = sensitivity(net.program, nonzeros(net, *TWO), (0.5, 0.75), progress=False)
    sparsities = allocate_by_sensitivity(table, 0.5)  # 18 weights; a weight costs the same in both
    pruner = UnstructuredPruner(net.program, ratio=0.5, allocation=PerLayer(sparsities))
    pruner.step()
    assert [net.zeros(name) / table.sizes[name] for name in TWO] == list(sparsities.values()) == [9 / 24, 9 / 12]


@on_programs
def test_what_a_pruner_has_masked_counts_first():
    net = Net(linear(2, 4, bias_attr=False), [3, 2])
    net.put("linear_0.w_0", [[1, 2, 3, 4], [5, 6, 7, 8]])
    pruner = UnstructuredPruner(net.program, ratio=0.25)
    pruner.step()
    before, seen = bits(net), []
    table = sensitivity(
        net.program,
        lambda: seen.append(net.get("linear_0.w_0").tolist()) or 0.0,
        (0.125, 0.5),
        criterion=lambda weight: 10.0 - weight,
        progress=False,
    )
    assert seen == [[[0, 0, 3, 4], [5, 6, 7, 8]], [[0, 0, 3, 4], [5, 6, 7, 8]], [[0, 0, 3, 4], [5, 6, 0, 0]]]
    assert [row.pruned for row in table.rows] == [2, 4]
    assert bits(net) == before


@on_programs
def test_params_are_names_or_params_in_the_order_of_the_program():
    net = Net(convnet, [2, 2, 4, 4])
    conv = open_graph(net.program).params()[0]
    table = sensitivity(net.program, lambda: 1.0, (0.5,), ["linear_0.w_0", conv], progress=False)
    assert list(table.sizes) == ["conv2d_0.w_0", "linear_0.w_0"]


@on_programs
def test_a_score_that_never_changes_is_warned_about(caplog: pytest.LogCaptureFixture):
    net = Net(two_linears, [3, 4])
    with caplog.at_level(logging.WARNING, "paddle_unstructured"):
        sensitivity(net.program, lambda: 1.0, (0.5,), progress=False)
    assert "does `evaluate` read the weights of this scope?" in caplog.text


@on_programs
def test_a_score_may_be_what_an_executor_fetches():
    net = Net(two_linears, [3, 4])
    table = sensitivity(net.program, lambda: net.run()[0].reshape(1, 1), (0.5,), progress=False)
    assert isinstance(table.dense, float) and all(isinstance(row.score, float) for row in table.rows)


@on_programs
def test_the_bar_counts_scores_and_is_not_needed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    pytest.importorskip("tqdm")
    net = Net(two_linears, [3, 4])
    sensitivity(net.program, nonzeros(net, *TWO), (0.5, 0.75))
    assert "sensitivity: 100%" in (shown := capfd.readouterr().err) and "4/4" in shown
    sensitivity(net.program, nonzeros(net, *TWO), (0.5,), progress=False)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(sensitivity(net.program, nonzeros(net, *TWO), (0.5,)).rows) == 2
    assert "sensitivity" not in capfd.readouterr().err


# -- refusals


@on_programs
@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"evaluate": 0.5}, TypeError, "`evaluate` must be a function"),
        ({"sparsities": (0.5, 1.5)}, ValueError, "`sparsities` must be a fraction"),
        ({"sparsities": (0.0, 0.5)}, ValueError, r"in \(0, 1\], got \[0.0, 0.5\]"),
        ({"sparsities": ()}, ValueError, r"in \(0, 1\], got \[\]"),
        ({"params": "linear_0.w_0"}, TypeError, "got the string 'linear_0.w_0'"),
        ({"params": ["linear_0.b_0", "x"]}, ValueError, r"got linear_0.b_0 \(a bias\), x \(not in the Program\)"),
        ({"params": []}, ValueError, "nothing to analyse"),
        ({"params": ["linear_0.w_0"], "select": conv1x1_only}, ValueError, "give one of them"),
        ({"select": conv1x1_only}, ValueError, "nothing to analyse"),
        ({"pattern": "4*2"}, ValueError, "`pattern` must be kept:of"),
        ({"criterion": "magnitude"}, TypeError, "`criterion`"),
        ({"pattern": NM(2, 4, indivisible="error")}, ValueError, "linear_1.w_0.* has 6 weights along its input axis"),
        ({"pattern": NM(2, 4, indivisible="skip"), "params": TWO}, ValueError, "got linear_1.w_0 .6 weights along"),
        (
            {"pattern": NM(2, 4), "params": TWO[:1], "sparsities": (0.6,)},
            ValueError,
            "must be <= 0.5, the most that NM",
        ),
        ({"criterion": NormScale()}, ValueError, "needs a norm with a scale behind .* none behind linear_0.w_0"),
        ({"criterion": Saliency()}, ValueError, "needs the layer's gradient, and only a training run gathers those"),
        ({"scope": "empty"}, ValueError, "have no value in the scope"),
        ({"evaluate": lambda: float("nan")}, ValueError, "finite number, got nan for the weights as they are"),
        ({"evaluate": lambda: np.ones(2)}, ValueError, "finite number, got array"),
        ({"evaluate": lambda: None}, ValueError, "finite number, got None"),
        ({"evaluate": lambda: [[1.0], [1.0, 2.0]]}, ValueError, "`evaluate` must return a finite number, got ..1.0., "),
        ({"progress": "no"}, ValueError, "`progress` must be True or False, got 'no'"),
    ],
)
def test_senseless_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str):
    net = Net(two_linears, [3, 4])
    if "scope" in arguments:
        arguments = {"scope": paddle.static.Scope()}
    with pytest.raises(error, match=message):
        sensitivity(net.program, **{"evaluate": lambda: 1.0, "progress": False, **arguments})


@on_programs
def test_a_score_that_is_not_finite_is_refused_by_layer_and_the_weights_are_restored():
    net = Net(two_linears, [3, 4])
    before = bits(net)
    with pytest.raises(ValueError, match=r"got -inf for linear_0.w_0 at sparsity 0.5"):
        sensitivity(net.program, lambda: 0.0 if nonzeros(net, *TWO)() == 36 else -np.inf, (0.5,), progress=False)
    assert bits(net) == before


@on_programs
def test_nan_scores_of_weights_are_refused_and_the_weights_are_restored():
    net = Net(two_linears, [3, 4])
    before = bits(net)
    with pytest.raises(ValueError, match="NaN or infinity in the weights of linear_0.w_0, or NaN in their scores"):
        sensitivity(net.program, lambda: 1.0, (0.5,), criterion=paddle.log, progress=False)
    assert bits(net) == before
