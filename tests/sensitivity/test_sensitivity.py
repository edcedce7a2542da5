# SPDX-License-Identifier: Apache-2.0
"""What each layer's sparsity costs, measured on real Programs and restored bit for bit; sparsities chosen from it."""

from __future__ import annotations

import json
import logging
import sys
from itertools import product
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear, two_linears

from paddle_unstructured import UnstructuredPruner, conv1x1_only
from paddle_unstructured.allocation import PerLayer
from paddle_unstructured.criteria import NormScale, Random, Saliency
from paddle_unstructured.graph import open_graph
from paddle_unstructured.patterns import NM, Block, Filter
from paddle_unstructured.sensitivity import SensitivityRow, SensitivityTable, allocate_by_sensitivity, sensitivity
from paddle_unstructured.sensitivity.table import _apart

on_programs = pytest.mark.usefixtures("static")


def nonzeros(net: Net, *names: str) -> Callable[[], float]:
    """A score that anyone can count: weights left."""
    return lambda: sum(net.get(name).size for name in names) - net.zeros(*names)


def bits(net: Net) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in net.everything().items()}


TWO = ("linear_0.w_0", "linear_1.w_0")  # of 24 and 12 weights


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


# -- files


class Counting:
    """A score that counts its calls, and is interrupted at one of them."""

    def __init__(self, score: Callable[[], float], stop_at: int | None = None) -> None:
        self.score, self.stop_at, self.calls = score, stop_at, 0

    def __call__(self) -> float:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return self.score()


@on_programs
@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_resumed_analysis_equals_an_uninterrupted_one_and_measures_nothing_twice(tmp_path, stop_at: int):
    net = Net(two_linears, [3, 4])
    score, path = nonzeros(net, *TWO), tmp_path / "folder" / "table.json"
    first, rest = Counting(score, stop_at), Counting(score)
    with pytest.raises(KeyboardInterrupt):
        sensitivity(net.program, first, (0.5, 0.75), path=path, progress=False)
    assert path.exists() == (stop_at > 1)
    resumed = sensitivity(net.program, rest, (0.5, 0.75), path=path, progress=False)
    assert resumed == SensitivityTable.load(path) == sensitivity(net.program, score, (0.5, 0.75), progress=False)
    assert (stop_at - 1) + rest.calls == 5
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


@on_programs
def test_further_sparsities_extend_a_file(tmp_path):
    net = Net(two_linears, [3, 4])
    score, path = nonzeros(net, *TWO), tmp_path / "table.json"
    sensitivity(net.program, score, (0.25, 0.75), path=path, progress=False)
    more = Counting(score)
    table = sensitivity(net.program, more, (0.25, 0.5, 0.75), path=path, progress=False)
    assert more.calls == 2
    assert [(row.param, row.sparsity) for row in table.rows] == list(product(TWO, (0.25, 0.5, 0.75)))


@on_programs
@pytest.mark.parametrize(
    "change, message",
    [
        ({"params": TWO[:1]}, "its params are"),
        ({"sparsities": (0.75,)}, r"has the sparsities \[0.5\] too"),
        ({"criterion": paddle.square}, "its criterion is 'magnitude', here 'square'"),
        ({"pattern": Block(2, 1)}, r"its pattern is 'Element\(\)', here .Block"),
        ({}, "its weights have the sha256"),
    ],
)
def test_a_file_of_another_analysis_is_refused_and_kept(tmp_path, change: dict[str, Any], message: str):
    net = Net(two_linears, [3, 4])
    path = tmp_path / "table.json"
    settings = {"sparsities": (0.5,), "path": path, "progress": False}
    sensitivity(net.program, nonzeros(net, *TWO), **settings)
    before = path.read_bytes()
    if not change:
        net.put("linear_1.w_0", np.ones((6, 2)))
    score = Counting(nonzeros(net, *TWO))
    with pytest.raises(ValueError, match=message):
        sensitivity(net.program, score, **{**settings, **change})
    assert (score.calls, path.read_bytes()) == (0, before)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not the JSON"),
        ("[]", "its `format` is not"),
        ('{"format": "other"}', "its `format` is not"),
        ('{"format": "paddle_unstructured.sensitivity", "version": 2}', "version 2, and this package reads up to 1"),
        ('{"format": "paddle_unstructured.sensitivity", "version": 1, "rows": []}', "missing or unknown fields"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content: str, message: str):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"table.json is .*{message}"):
        SensitivityTable.load(path)


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


# -- the table


def table_of(curves: dict[str, dict[int, float]], size: int | dict[str, int] = 10) -> SensitivityTable:
    """From {param: {pruned weights: drop}}; dense score 1."""
    sizes = {name: size if isinstance(size, int) else size[name] for name in curves}
    rows = tuple(
        SensitivityRow(name, pruned / sizes[name], 1.0 - drop, drop, pruned)
        for name, points in curves.items()
        for pruned, drop in points.items()
    )
    return SensitivityTable(1.0, sizes, rows, "magnitude", "Element()", "")


def test_a_table_prints_one_line_a_layer():
    assert (
        str(table_of({"a": {5: 0.25, 9: 1.0}, "layer_b": {5: -0.00001}}))
        == """\
Dense score 1; its drop when one layer alone has a sparsity of
param    weights     0.5     0.9
--------------------------------
a             10  0.2500  1.0000
layer_b       10  0.0000       -"""
    )


def test_json_gives_back_every_bit():
    table = table_of({"a": {5: 1 / 3, 9: 0.1 + 0.2}, "b": {}})
    assert SensitivityTable.from_json(table.to_json()) == table
    assert json.loads(table.to_json())["rows"][0] == {
        "param": "a",
        "sparsity": 0.5,
        "score": 1 - 1 / 3,
        "drop": 1 / 3,
        "pruned": 5,
    }


def test_a_plot_of_thirty_layers_is_a_png_with_thirty_names(tmp_path):
    pytest.importorskip("matplotlib")
    table = table_of({f"conv2d_{i}.w_0": {5: i % 7 / 100, 9: i / 100} for i in range(30)})
    figure = table.plot(tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == list(table.sizes)  # by rising drop
    assert [list(line.get_ydata())[1:] for line in axes.get_lines()] == [[i % 7 / 100, i / 100] for i in range(30)]
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line that leads to it
    assert all(below.y1 <= above.y0 for below, above in zip(boxes, boxes[1:]))


def test_labels_are_moved_as_little_as_keeps_them_apart():
    assert _apart([0.0, 0.25, 0.25, 1.0, 1.0], gap=0.125).tolist() == [0.0, 0.25, 0.375, 0.875, 1.0]


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"paddle_unstructured\[plot\]"):
        table_of({"a": {5: 0.1}}).plot()


# -- allocating

STEEP_AND_FLAT = {"flat": {5: 0.1, 9: 0.2}, "steep": {5: 0.2, 9: 0.8}}


@pytest.mark.parametrize(
    "drop, flat, steep", [(0.0, 0, 0), (0.04, 2, 1), (0.1, 5, 2), (0.2, 9, 5), (0.5, 9, 7), (0.8, 9, 9), (3.0, 9, 9)]
)
def test_a_drop_allows_what_the_curve_reaches_rounded_down(drop: float, flat: int, steep: int):
    assert allocate_by_sensitivity(table_of(STEEP_AND_FLAT), drop=drop) == {"flat": flat / 10, "steep": steep / 10}


@pytest.mark.parametrize(
    "target, flat, steep",
    [
        (0.0, 0, 0),
        (0.15, 2, 1),  # at a drop of 0.04
        (0.4, 5, 3),  # at 0.1 + 1 / 130: 5 + 40 / 130 and 2.5 + 25 / 130, 5.31 and 2.69, make 8
        (0.7, 9, 5),  # at 0.2
        (0.8, 9, 7),  # at 0.5: flat is at its highest measurement
        (0.9, 9, 9),
    ],
)
def test_a_target_is_met_at_a_common_drop(target: float, flat: int, steep: int):
    assert allocate_by_sensitivity(table_of(STEEP_AND_FLAT), target) == {"flat": flat / 10, "steep": steep / 10}


def test_a_measurement_that_gains_is_free_and_a_later_dip_is_not():
    table = table_of({"a": {3: -0.5, 5: 0.25, 7: 0.125, 9: 0.375}})
    assert [allocate_by_sensitivity(table, drop=d)["a"] for d in (0.0, 0.125, 0.25, 0.375)] == [0.3, 0.4, 0.7, 0.9]


def test_layers_that_cost_nothing_go_through_their_range_at_the_same_pace():
    table = table_of({"long": {80: 0.0, 90: 1.0}, "short": {40: 0.0, 90: 1.0}}, size=100)
    assert allocate_by_sensitivity(table, 0.3) == {"long": 0.4, "short": 0.2}
    assert allocate_by_sensitivity(table, 0.6) == {"long": 0.8, "short": 0.4}


def test_a_layer_counts_by_its_weights():
    table = table_of({"big": {900: 0.9}, "small": {9: 0.1}}, size={"big": 1000, "small": 10})
    assert allocate_by_sensitivity(table, 0.1) == {"big": 0.093, "small": 0.8}  # 92.66 + 8.34 of 1010


def test_equal_remainders_are_shared_out_in_the_order_of_the_table():
    table = table_of({name: {9: 0.9} for name in "dacb"})
    assert allocate_by_sensitivity(table, 0.05) == {"d": 0.1, "a": 0.1, "c": 0.0, "b": 0.0}


def test_a_target_within_a_drop_is_met_or_refused():
    table = table_of(STEEP_AND_FLAT)
    assert allocate_by_sensitivity(table, 0.7, 0.2) == {"flat": 0.9, "steep": 0.5}
    with pytest.raises(ValueError, match="`target` 0.75 means 15 of 20 weights, but no more than 14 can fall"):
        allocate_by_sensitivity(table, 0.75, 0.2)


def test_nothing_is_extrapolated():
    with pytest.raises(ValueError, match="19 of 20 weights, but no more than 18 can fall: .* that was measured"):
        allocate_by_sensitivity(table_of(STEEP_AND_FLAT), 0.95)


THREE = {"a": {6: 0.1, 9: 0.4}, "b": {6: 0.2, 9: 0.5}, "c": {6: 0.6, 9: 0.9}}


@pytest.mark.parametrize("drop, expected", [(0.05, (0, 0, 0)), (0.1, (6, 0, 0)), (0.2, (7, 6, 0)), (0.6, (9, 9, 6))])
def test_within_a_drop_a_layer_is_sparse_enough_or_dense(drop: float, expected: tuple[int, ...]):
    sparsities = allocate_by_sensitivity(table_of(THREE), drop=drop, at_least=0.6)
    assert tuple(sparsities.values()) == tuple(count / 10 for count in expected)


@pytest.mark.parametrize(
    "weights, expected",
    [
        (0, (0, 0, 0)),
        (6, (6, 0, 0)),
        (8, (8, 0, 0)),
        (12, (6, 6, 0)),
        (14, (8, 6, 0)),
        (15, (8, 7, 0)),
        (18, (9, 9, 0)),  # three at 6 would cost 0.6, two at 9 cost 0.5
        (19, (7, 6, 6)),
        (27, (9, 9, 9)),
    ],
)
def test_a_target_is_met_by_layers_that_are_sparse_enough_or_dense(weights: int, expected: tuple[int, ...]):
    sparsities = allocate_by_sensitivity(table_of(THREE), weights / 30, at_least=0.6)
    assert tuple(sparsities.values()) == tuple(count / 10 for count in expected)


def test_a_layer_held_at_the_least_sparsity_waits_until_its_drop_is_common():
    table = table_of({"held": {9: 0.9}, "moves": {6: 0.3, 9: 0.9}})
    assert allocate_by_sensitivity(table, 13 / 20, at_least=0.6) == {"held": 0.6, "moves": 0.7}


def test_a_layer_too_big_for_a_target_stays_dense():
    table = table_of({"a": {9: 0.1}, "big": {90: 0.2}, "c": {9: 0.9}}, size={"a": 10, "big": 100, "c": 10})
    assert allocate_by_sensitivity(table, 15 / 120, at_least=0.6) == {"a": 0.9, "big": 0.0, "c": 0.6}


def test_a_target_between_what_sparse_layers_can_have_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="means 10 of 30 .*at least 0.6 sparse has .*; the nearest have 9 and 12"):
        allocate_by_sensitivity(table_of(THREE), 1 / 3, at_least=0.6)


def test_a_layer_not_measured_as_far_as_at_least_stays_dense():
    table = table_of({"a": {5: 0.0}, "b": {7: 0.0}})
    assert allocate_by_sensitivity(table, drop=1.0, at_least=0.6) == {"a": 0.0, "b": 0.7}


@pytest.mark.parametrize("at_least", [0.0, 0.6])
def test_every_target_that_whole_weights_can_meet_is_met_at_the_lowest_drop_but_for_rounding(at_least: float):
    """Against all ways to give three layers whole weights."""
    random = np.random.default_rng(3)
    for _ in range(30):
        sizes = random.integers(3, 9, 3).tolist()
        drops = [np.concatenate([[0], np.cumsum(random.integers(0, 4, size))]) / 8 for size in sizes]
        table = table_of({n: dict(enumerate(d.tolist())) for n, d in zip("abc", drops)}, dict(zip("abc", sizes)))
        ways = [[k for k in range(size + 1) if k == 0 or k >= at_least * size] for size in sizes]
        lowest: dict[int, float] = {}
        for counts in product(*ways):
            cost = max(d[k] for d, k in zip(drops, counts))
            lowest[sum(counts)] = min(lowest.get(sum(counts), np.inf), cost)
        for total in range(sum(sizes) + 1):
            if total not in lowest:
                with pytest.raises(ValueError, match="the nearest have"):
                    allocate_by_sensitivity(table, total / sum(sizes), at_least=at_least)
                continue
            found = allocate_by_sensitivity(table, total / sum(sizes), at_least=at_least).values()
            counts = [round(sparsity * size) for sparsity, size in zip(found, sizes)]
            assert sum(counts) == total and all(k in allowed for k, allowed in zip(counts, ways))
            less = [max(k - 1, 0) if k - 1 >= at_least * size else k for k, size in zip(counts, sizes)]
            assert max(d[k] for d, k in zip(drops, less)) <= lowest[total]


def test_many_layers_of_one_measured_sparsity_are_not_all_combined():
    sizes = {f"w{i}": 1000 + 17 * i * i for i in range(40)}
    table = table_of({name: {size * 7 // 10: i / 100} for i, (name, size) in enumerate(sizes.items())}, sizes)
    target = sum(row.pruned for row in table.rows[:9]) / sum(sizes.values())
    sparsities = allocate_by_sensitivity(table, target, at_least=0.6)
    assert sum(round(s * n) for s, n in zip(sparsities.values(), sizes.values())) == round(target * sum(sizes.values()))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give `target`, the overall sparsity, or `drop`"),
        ({"target": 75}, "`target` must be a fraction"),
        ({"drop": -0.1}, "`drop` must be a finite number >= 0"),
        ({"drop": float("nan")}, "`drop` must be a finite number"),
        ({"target": 0.5, "at_least": 60}, "`at_least` must be a fraction"),
    ],
)
def test_senseless_wishes_are_refused(arguments: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        allocate_by_sensitivity(table_of(THREE), **arguments)


def test_an_unfinished_table_is_refused():
    with pytest.raises(ValueError, match="no measurement of b; finish the analysis"):
        allocate_by_sensitivity(table_of({"a": {5: 0.1}, "b": {}}), drop=1.0)
