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

from paddle_unstructured import Global, UnstructuredPruner
from paddle_unstructured.patterns import Element

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


NONSENSE: dict[str, list[Callable[[Any], Any]]] = {
    "check": [lambda _: 3],
    "limit": [lambda _: None, lambda _: -3, lambda most: most + 1, lambda _: 0.5],
    "units": [lambda _: None, lambda units: units.numpy(), lambda units: units * float("nan"), lambda units: units[:2]],
    "size": [lambda _: None, lambda _: 0, lambda _: 2, lambda _: paddle.ones([3], "int64"), lambda _: "x"],
    "alive": [lambda _: None, lambda alive: alive[:2], lambda alive: alive * 2.0],
    "spread": [lambda _: None, lambda mask: mask[:2], lambda mask: mask * float("nan"), lambda mask: mask.numpy()],
    "budget": [lambda _: None, lambda quota: replace(quota, low=quota.low[:1]), lambda _: 24],
    "decide": [lambda _: None, lambda cut: cut.keep, lambda cut: replace(cut, keep=[k * 2 for k in cut.keep])],
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
