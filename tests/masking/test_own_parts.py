# SPDX-License-Identifier: Apache-2.0
"""A pattern or an allocation of the user's own that raises or gives nonsense: named, and nothing is half changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import Global, Saliency, UnstructuredPruner
from paddle_unstructured.compat.paddleslim import RATIO
from paddle_unstructured.graph import LayerGraph
from paddle_unstructured.patterns import Element, extents_of
from paddle_unstructured.selection import judge

PATTERN = ("check", "limit", "units", "size", "alive", "spread")
ALLOCATION = ("budget", "decide", "due")


class Own:
    """Single weights in a global race; what one method gives is changed from its second layer on."""

    def __init__(self, method: str, change: Callable[[Any], Any]) -> None:
        self._method, self._change = method, change

    def __getattr__(self, name: str) -> Any:
        known = {**dict.fromkeys(PATTERN, Element()), **dict.fromkeys(ALLOCATION, Global())}
        if name not in known:
            raise AttributeError(name)

        def method(*given: Any) -> Any:
            found = getattr(known[name], name)(*given)
            is_second = any(getattr(each, "name", "").endswith(("2.weight", "1.w_0")) for each in given)
            return self._change(found) if name == self._method and (name in ALLOCATION or is_second) else found

        return method


def layer_and_pruner(**parts: Any) -> tuple[Callable[[], dict[str, np.ndarray]], Callable[[], UnstructuredPruner]]:
    """What is stored of a net of two layers, and what makes its pruner."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    return (
        lambda: {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()},
        lambda: UnstructuredPruner(model, optimizer=optimizer, ratio=0.5, **parts),
    )


def raises(_: Any) -> Any:
    raise KeyError("of the user")


QUOTAS: list[dict[str, Any]] = [
    {"total": -3},
    {"total": 10**9},
    {"total": 3.5},
    {"total": None},
    {"low": np.array([10**9, 0])},
    {"low": np.array([-5, -5])},
    {"low": np.array([9, 9]), "high": np.array([3, 9])},
    {"high": np.array([np.nan, 1.0])},
]
NONSENSE: dict[str, list[Callable[[Any], Any]]] = {
    "check": [lambda _: 3],
    "limit": [lambda _: None, lambda _: -3, lambda most: most + 1, lambda _: 0.5],
    "units": [lambda _: None, lambda units: units.numpy(), lambda units: units * float("nan"), lambda units: units[:2]],
    "size": [lambda _: None, lambda _: 0, lambda _: 2, lambda _: paddle.ones([3], "int64"), lambda _: "x"],
    "alive": [lambda _: None, lambda alive: alive[:2], lambda alive: alive * 2.0],
    "spread": [lambda _: None, lambda mask: mask[:2], lambda mask: mask * float("nan"), lambda mask: mask.numpy()],
    "budget": [lambda _: None, lambda quota: replace(quota, low=quota.low[:1]), lambda _: 24]
    + [lambda quota, bad=bad: replace(quota, **bad) for bad in QUOTAS],
    "decide": [lambda _: None, lambda cut: cut.keep, lambda cut: replace(cut, keep=[k * 2 for k in cut.keep])],
    "due": [lambda _, bad=bad: bad for bad in (None, 3, 0.5, "yes", [], np.array([True, False]), float("nan"))],
}
CASES = [(method, change) for method, changes in NONSENSE.items() for change in changes]


@pytest.mark.parametrize("method, change", CASES, ids=[method for method, _ in CASES])
def test_nonsense_is_named_and_changes_nothing(method, change):
    kind = "pattern" if method in PATTERN else "allocation"
    stored, make = layer_and_pruner(**{kind: Own(method, change)})
    before = stored()
    named = "pattern.(units|alive)" if method == "units" else f"{kind}.{method}"
    with pytest.raises((ValueError, TypeError), match=f"`{named}` must be a function that gives .*, got "):
        make().step()
    for name, array in stored().items():
        np.testing.assert_array_equal(array, before.get(name, 1.0))  # masks are there, and keep all


@pytest.mark.parametrize("method", [*PATTERN, *ALLOCATION])
def test_what_raises_changes_nothing(method):
    stored, make = layer_and_pruner(**{"pattern" if method in PATTERN else "allocation": Own(method, raises)})
    before = stored()
    with pytest.raises(KeyError, match="of the user"):
        make().step()
    for name, array in stored().items():
        np.testing.assert_array_equal(array, before.get(name, 1.0))


@pytest.mark.usefixtures("static")
def test_a_program_is_not_half_masked_either():
    net = Net(lambda x: nn.Linear(6, 4)(nn.functional.relu(nn.Linear(4, 6)(x))), [2, 4], own_scope=True)
    pruner = UnstructuredPruner(net.program, scope=net.scope, ratio=0.5, pattern=Own("spread", raises))
    with pytest.raises(KeyError, match="of the user"):
        pruner.step()
    assert pruner.steps == 0 and pruner.sparsity() == 0
    assert all(mask.all() for mask in pruner.state_dict()["masks"].values())


def test_a_part_of_ones_own_prunes_as_ours_does():
    stored, make = layer_and_pruner(pattern=Own("", raises))
    pruner = make()
    pruner.step()
    assert pruner.sparsity() == 0.5 and sum(int((a == 0).sum()) for n, a in stored().items() if n == "2.weight") > 0


@pytest.mark.parametrize("yes", [True, np.True_, 1, paddle.to_tensor(True)])
def test_due_is_said_by_every_true(yes):
    stored, make = layer_and_pruner(allocation=Own("due", lambda _: yes))
    pruner = make()
    pruner.step()
    assert pruner.sparsity() == 0.5


@pytest.mark.parametrize("method", [*PATTERN, *ALLOCATION])
def test_a_method_that_takes_other_arguments_is_refused_at_the_door(method):
    kind, base = ("pattern", Element) if method in PATTERN else ("allocation", Global)
    mine = type("Mine", (base,), {method: lambda self, one, two, three, four, five: None})
    _, make = layer_and_pruner(**{kind: mine()})
    said = rf"`{kind}\.{method}` must be a function of \(\w+.*\), got one of \(one, two, three, four, five\); these are"
    with pytest.raises(TypeError, match=said):
        make()


def test_a_part_that_lacks_a_method_is_told_which():
    mine = type("Mine", (), {"units": lambda self, scores, param, mask: scores})
    with pytest.raises(
        TypeError, match=r"`pattern` must be a pattern such as .*; it has no alive, check, limit, size,"
    ):
        layer_and_pruner(pattern=mine())[1]()


def watching(**own: Any) -> Any:
    """A criterion that watches gradients."""
    methods = {"observed_shape": lambda self, param: param.shape, "observe": lambda self, weight, seen, axis: seen}
    methods |= {"score": lambda self, weight, param, information: paddle.abs(information)}
    return type("Mine", (), {"source": "gradient", "batches": 1, **methods, **own})()


FUNCTIONS: dict[str, Any] = {
    "schedule": {"schedule": lambda: 0.5},
    "criterion": {"criterion": lambda weight, param: weight},
    "criterion.score": {"criterion": watching(score=lambda self, weight: weight)},
    "criterion.observe": {"criterion": watching(observe=lambda self, seen: seen)},
    "criterion.observed_shape": {"criterion": watching(observed_shape=lambda self: [3])},
    "select": {"select": lambda: True},
    "skip_params_func": {"skip_params_func": lambda: {"a"}},
    "allocation.sparsity": {"allocation": type("Mine", (Global,), {"sparsity": lambda self: 0.5})()},
}


@pytest.mark.parametrize("name, parts", FUNCTIONS.items(), ids=FUNCTIONS)
def test_a_function_that_takes_other_arguments_is_refused_at_the_door(name, parts):
    with pytest.raises(TypeError, match=rf"`{name}` must be a function of \(\w+.*\), got one of \("):
        pruner_of(**parts)


def pruner_of(**parts: Any) -> UnstructuredPruner:
    """Without a ratio: what the parts mean by themselves."""
    model = nn.Linear(8, 8)
    return UnstructuredPruner(
        model, optimizer=paddle.optimizer.SGD(0.1, parameters=model.parameters()), **{"ratio": RATIO, **parts}
    )


RAMP = {"__call__": lambda self, step: 0.5}
NUMBERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "allocation.sparsity": lambda bad: {"allocation": type("M", (Global,), {"sparsity": lambda self, params: bad})()},
    "schedule.final": lambda bad: {"schedule": type("Mine", (), {**RAMP, "final": bad})()},
    "pattern.sparsity": lambda bad: {"pattern": type("Mine", (Element,), {"sparsity": bad})()},
    "criterion.batches": lambda bad: {"criterion": watching(batches=bad)},
    "criterion.observed_shape": lambda bad: {"criterion": watching(observed_shape=lambda self, param: [bad])},
}


@pytest.mark.parametrize("bad", [2.5, -1, float("nan"), "x"])
@pytest.mark.parametrize("name, parts", NUMBERS.items(), ids=NUMBERS)
def test_a_senseless_number_of_a_part_is_refused_at_the_door(name, parts, bad):
    with pytest.raises(ValueError, match=rf"`{name}` must be .*, got {bad!r}"):
        pruner_of(**parts(bad))


@pytest.mark.parametrize("bad", [None, [0, 1], "xy", [1], [1.5, 1]])
def test_boxes_that_are_none_are_refused_where_they_are_looked_at(bad):
    mine = type("Mine", (Element,), {"extents": lambda self, param: bad})
    with pytest.raises(
        (TypeError, ValueError), match=r"`pattern.extents` must be a function that gives 2 ints >= 1 for"
    ):
        extents_of(mine(), LayerGraph(nn.Linear(8, 8)).params()[0])


@pytest.mark.parametrize("answer, sound", [(np.True_, True), ((np.False_, "no"), True), ((3, None), False), (1, False)])
def test_a_selection_answers_true_or_false(answer, sound):
    weight = LayerGraph(nn.Linear(8, 8)).params()[0]
    if sound:
        assert judge([weight], lambda param: answer)[0].pruned == (answer is np.True_)
    else:
        with pytest.raises(TypeError, match="`select` must answer True, False or"):
            judge([weight], lambda param: answer)


def test_a_part_that_fails_while_looking_ahead_leaves_a_step_that_is_done_and_counted():
    class Late(Global):
        def due(self, step, sparsity, applied):
            return sparsity > applied if step < 3 else None

    stored, make = layer_and_pruner(allocation=Late(), criterion=Saliency(batches=2))
    pruner = make()
    with pytest.raises(TypeError, match=r"`allocation.due` must be .* at step 3, got None"):
        for _ in range(9):
            pruner.step()
    assert pruner.steps == pruner.state_dict()["steps"] == 2
