# SPDX-License-Identifier: Apache-2.0
"""Every argument of every public function and part, given what nobody means: refused by its name, never by accident."""

from __future__ import annotations

import json
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from hostile import faults
from nets import Net, convnet, masks_in, two_linears

import paddle_unstructured as pu
from paddle_unstructured import checkpoint, export, runtime
from paddle_unstructured.channels.permute import permute_channels
from paddle_unstructured.compat.paddleslim import GMP_KEYS
from paddle_unstructured.sensitivity import sensitivity

PARTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Constant": (pu.Constant, {"sparsity": 0.5, "begin_step": 0}),
    "Polynomial": (
        pu.Polynomial,
        {"final": 0.5, "begin_step": 0, "end_step": 9, "initial": 0.1, "exponent": 3.0, "update_every": 1},
    ),
    "Polynomial of updates": (pu.Polynomial, {"final": 0.5, "begin_step": 0, "end_step": 9, "updates": 3}),
    "Global": (pu.Global, {"floor": 0.3, "min_sparsity": 0.0, "max_sparsity": 1.0}),
    "LAMP": (pu.LAMP, {"min_sparsity": 0.0, "max_sparsity": 1.0}),
    "Uniform": (pu.Uniform, {"min_sparsity": 0.0, "max_sparsity": 1.0}),
    "ERK": (pu.ERK, {"min_sparsity": 0.0, "max_sparsity": 1.0}),
    "PerLayer": (pu.PerLayer, {"sparsities": {"a": 0.5}, "min_sparsity": 0.0, "max_sparsity": 1.0}),
    "PerLayer.from_yaml": (pu.PerLayer.from_yaml, {"path": "none.yaml"}),
    "Threshold": (pu.Threshold, {"value": 0.1, "update_every": 1}),
    "NM": (pu.NM, {"n": 2, "m": 4, "indivisible": "error"}),
    "Block": (pu.Block, {"m": 2, "n": 1, "axes": "stored", "norm": "l2", "kernel": "whole", "narrow": "short"}),
    "Int8Block": (pu.Int8Block, {"outputs": 1}),
    "Filter": (pu.Filter, {"axis": "output", "norm": "l2"}),
    "Random": (pu.Random, {"seed": 1}),
    "Saliency": (pu.Saliency, {"batches": 8, "signed": False}),
    "MeanActivation": (pu.MeanActivation, {"batches": 8}),
    "InputNorm": (pu.InputNorm, {"batches": 8}),
    "APoZ": (pu.APoZ, {"batches": 8}),
    "named": (pu.named, {"names": ".*"}),
    "parse_pattern": (export.parse_pattern, {"pattern": "2:4"}),
    "Recipe": (
        pu.Recipe,
        {"ratio": 0.5, "steps": 9, "ramp": 0.5, "initial": 0.1, "updates": 3, "weight": 0.0, "temperature": 4.0}
        | {"pattern": None, "allocation": pu.LAMP()},
    ),
    "Int8": (
        runtime.Int8,
        {"data": np.ones((1, 2)), "calibration": "mse", "equalize": False, "correct_bias": True, "ranges": None}
        | {"skip": ()},
    ),
}


@pytest.mark.parametrize("function, good", PARTS.values(), ids=PARTS)
def test_a_part_refuses_hostile_values_by_name(function, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if function != pu.PerLayer.from_yaml:
        function(**good)
    assert faults(function, good) == {}


pytestmark = pytest.mark.usefixtures("static")


def adam() -> Any:
    return paddle.optimizer.Adam(0.01)


def test_the_pruner_refuses_hostile_values_by_name():
    words = ["mode", "prune_params_type", "skip_params_func", "sparse_block", "select", "criterion", "pattern"]
    good = dict.fromkeys([*words, "allocation", "rules", "scope", "place", "schedule"])

    nets = [Net(two_linears, [3, 4], adam)]

    def program() -> Any:
        """A Program without masks: the last one, where its pruner was refused."""
        if masks_in(nets[0].program):
            nets[0] = Net(two_linears, [3, 4], adam)
        return nets[0].program

    def make(**arguments: Any) -> None:
        pu.UnstructuredPruner(**{"program": program(), **{k: v for k, v in arguments.items() if v is not None}})

    assert faults(make, good) == {}
    for argument, other in ("ratio", {}), ("local_sparsity", {}), ("threshold", {"mode": "threshold"}), ("program", {}):
        assert faults(make, {**other, argument: None}, skip=tuple(other)) == {}

    def make_gmp(**arguments: Any) -> None:
        pu.GMPUnstructuredPruner(program(), **arguments)

    configs = dict(zip(GMP_KEYS, (0, 9, 3, 0, 3, 0.1)))
    assert faults(make_gmp, {"ratio": 0.5, "configs": configs}) == {}
    for key in GMP_KEYS:
        found = faults(lambda **value: make_gmp(configs={**configs, **value}), {key: 1}, called=f"configs['{key}']")
        assert found == {}, key


def test_the_methods_of_a_pruner_refuse_hostile_values_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Net(two_linears, [3, 4], adam)
    pruner = pu.UnstructuredPruner(net.program, ratio=0.5)
    for method, good in {
        "save": {"path": "a"},
        "load": {"path": "a"},
        "load_weights": {"path": "a"},
        "allocation_to_yaml": {"path": "a"},
        "load_state_dict": {"state": {}},
    }.items():
        called = "state" if "state" in good else ""
        assert faults(getattr(pruner, method), good, called=called) == {}, method

    def set_ratio(ratio: Any) -> None:
        pruner.ratio = ratio

    assert faults(set_ratio, {"ratio": 0.5}) == {}


def test_reports_refuse_hostile_values_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Net(two_linears, [3, 4], adam)
    program = {"program": net.program, "scope": None}
    assert faults(pu.sparsity_report, {**program, "pruner": None, "select": pu.all_weights}) == {}
    assert faults(pu.UnstructuredPruner.total_sparse, program) == {}
    assert (
        faults(pu.html_report, {**program, "pruner": None, "title": "t", "select": pu.all_weights, "before": None})
        == {}
    )
    assert faults(pu.plot_sparsity, {"report": pu.sparsity_report(net.program)}) == {}
    assert faults(pu.plot_pattern, {"weight": np.ones((2, 2)), "param": None, "corner": None}) == {}
    assert faults(pu.plot_weights, {"weight": np.ones((2, 2)), "before": None}) == {}
    pruner = pu.UnstructuredPruner(net.program, ratio=0.5)
    assert faults(pu.ScalarLog, {"pruner": pruner, "writer": Writer(), "every": 1}) == {}


class Writer:
    def add_scalar(self, *_: Any, **__: Any) -> None:
        pass


def test_sensitivity_refuses_hostile_values_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Net(two_linears, [3, 4])
    good = {"program": net.program, "evaluate": lambda: 1.0, "sparsities": (0.5,), "params": None, "scope": None}
    good |= {"place": None, "criterion": pu.magnitude, "pattern": pu.Element(), "select": None, "path": None}
    assert faults(lambda program, evaluate, **words: sensitivity(program, evaluate, **words), good) == {}
    table = sensitivity(net.program, lambda: 1.0, sparsities=(0.5,))
    assert faults(pu.allocate_by_sensitivity, {"table": table, "target": 0.2, "drop": None, "at_least": None}) == {}
    assert faults(pu.SensitivityTable.from_json, {"text": table.to_json()}, called="sensitivity table") == {}
    assert faults(pu.SensitivityTable.load, {"path": "a"}) == {}


def test_channels_refuse_hostile_values_by_name():
    net = Net(convnet, [2, 2, 4, 4])
    good = {"program": net.program, "scope": None, "place": None, "m": 2, "sparsity": 0.5, "select": pu.all_weights}
    assert faults(permute_channels, good) == {}
    assert (
        faults(export.remove_channels, {"program": net.program, "scope": None, "place": None, "align_channels": 1})
        == {}
    )


def table_with(**changes: Any) -> dict[str, Any]:
    """The content of a saved table with one number changed."""
    row = {"param": "a", "sparsity": 0.5, "score": 0.9, "drop": 0.1, "pruned": 5}
    about = {"format": "paddle_unstructured.sensitivity", "version": 1, "criterion": "c", "pattern": "p"}
    return {
        **about,
        "fingerprint": "f",
        "dense": 1.0,
        "sizes": {"a": 10},
        **{key: value for key, value in changes.items() if key not in row},
        "rows": [{**row, **{key: value for key, value in changes.items() if key in row}}],
    }


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dense": float("nan")}, "`dense` must be a finite number"),
        ({"score": float("inf")}, "`score` must be a finite number"),
        ({"sparsity": float("nan")}, "`sparsity` must be a fraction"),
        ({"pruned": 11}, "`pruned` must be an int in .0, 10., got 11"),
        ({"param": "b"}, "`param` must be one of a, got 'b'"),
        ({"sizes": {"a": -1}}, r"`sizes\['a'\]` must be an int >= 1, got -1"),
        ({"version": "x"}, "`version` must be an int"),
        ({"sizes": 3}, "missing or unknown fields"),
    ],
)
def test_a_sensitivity_table_holds_numbers_that_can_have_been_measured(change, message):
    pu.SensitivityTable.from_json(json.dumps(table_with()))
    with pytest.raises(ValueError, match=message):
        pu.SensitivityTable.from_json(json.dumps(table_with(**change)))


@pytest.mark.parametrize(
    "change", [{"steps": -5}, {"steps": 1.5}, {"applied": float("nan")}, {"applied": 2.0}, {"updates": -1}]
)
def test_a_state_with_senseless_progress_is_refused_and_changes_nothing(change, tmp_path):
    net = Net(two_linears, [3, 4], adam)
    pruner = pu.UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    before = net.everything()
    state = {**pruner.state_dict(), **change}
    checkpoint.save(tmp_path / "bad.pruner", state, {})
    (word,) = change
    for load in (lambda: pruner.load_state_dict(state), lambda: pruner.load(tmp_path / "bad.pruner")):
        with pytest.raises(ValueError, match=f"`{word}` must be "):
            load()
    assert pruner.steps == 1
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])
