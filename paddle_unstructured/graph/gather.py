# SPDX-License-Identifier: Apache-2.0
"""What criteria want to know of gradients, outputs and inputs, summed over batches; each graph adds it up its way."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any, Mapping, Protocol, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle.pir import Value

from ..arguments import whole, wrong_kind
from .base import Param

if TYPE_CHECKING:
    from ..criteria import Watching

# How often accumulators were attached to a Program or Layer, by whatever pruner.
_turns: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def is_gathered(name: str) -> bool:
    """Whether a variable is an accumulator of ours: each rank of a job has its own."""
    return re.search(r"_gathered_\d+$", name) is not None


class Holder(Protocol):
    """A graph that holds accumulators."""

    @property
    def program(self) -> Any: ...

    def stored(self, name: str) -> np.ndarray: ...

    def store(self, name: str, array: np.ndarray) -> None: ...


class Gathering:
    """One accumulator for each param, `<param>_gathered`; `criterion.observe` says what a batch adds to it.

    Args:
        graph: graph of what is trained.
        params: params that are watched.
        criterion: what says which of gradients, outputs and inputs is watched, and what a batch adds.
    """

    _no_optimizer: str  # what to do about it

    def __init__(self, graph: Holder, params: Sequence[Param], criterion: Watching) -> None:
        self._holder, self._params, self._criterion = graph, list(params), criterion
        self._turn = 0
        self._batches = 0  # that the accumulators hold

    # -- what each kind of graph does

    @property
    def attached(self) -> bool:
        raise NotImplementedError

    def attach(self) -> None:
        """Begin with accumulators of zeros."""
        raise NotImplementedError

    def release(self) -> None:
        """Leave what is trained as it was, and forget the accumulators."""
        raise NotImplementedError

    def _has_gradients(self) -> bool:
        """Whether something trains the params; ValueError if it trains only some of them."""
        raise NotImplementedError

    # -- what is the same for all

    @property
    def names(self) -> list[str]:
        """Names of the accumulators, new ones each time they are attached: Paddle keeps what it has compiled for a
        Program that looks the same, and would find variables there that are gone."""
        return [f"{param.name}_gathered_{self._turn}" for param in self._params]

    def name_for(self, param: Param) -> str | None:
        """Name of the param's accumulator; None if it is not watched."""
        return dict(zip((p.name for p in self._params), self.names)).get(param.name)

    @property
    def can_attach(self) -> bool:
        """Whether the Program has what is to be gathered."""
        return self._criterion.source != "gradient" or self._has_gradients()

    @property
    def is_full(self) -> bool:
        """Whether the accumulators hold as many batches as the criterion wants."""
        return self._batches >= self.needs

    def state(self) -> dict[str, Any]:
        """What has been gathered: {"batches": int, "sums": {param name: array}}; nothing while it is not attached."""
        if not self.attached:
            return {}
        return {
            "batches": self._batches,
            "sums": {p.name: self._holder.stored(name) for p, name in zip(self._params, self.names)},
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise ValueError unless `restore` can go on from the state."""
        wanted = {p.name: tuple(self._observed_shape(p)) for p in self._params}
        if state and {name: tuple(array.shape) for name, array in state["sums"].items()} != wanted:
            raise ValueError(
                f"the state has gathered sums for {', '.join(state['sums'])} that are not those of "
                f"{self._criterion!r}; make the pruner with the criterion it was saved with."
            )
        if state:
            self.check_gradients()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        if self.attached:
            self.release()
        if state:
            self.attach()
            for param, name in zip(self._params, self.names):
                self._holder.store(name, state["sums"][param.name])
            self._batches = int(state["batches"])

    def count(self) -> None:
        """Count one batch, if it was gathered."""
        self._batches += self.attached

    def start_over(self) -> None:
        """The accumulators were set to zero."""
        self._batches = 0

    @property
    def needs(self) -> int:
        """Batches that the criterion wants to see."""
        return int(self._criterion.batches)

    def check_gradients(self) -> None:
        """Raise ValueError if the Program never computes what is to be gathered."""
        if not self.can_attach:
            raise ValueError(
                f"{self._criterion!r} needs gradients, and no optimizer updates {self._params[0].name}; "
                f"{self._no_optimizer}, or take a criterion that looks at weights only."
            )

    def _observed_shape(self, param: Param) -> list[int]:
        """The shape of what is added up for a param; TypeError or ValueError if the criterion gives none."""
        rule = f"a function that gives a shape, ints >= 1, for {param.name}"
        found: Any = self._criterion.observed_shape(param)
        if not isinstance(found, (list, tuple)):
            raise wrong_kind("criterion.observed_shape", rule, found)
        return [whole("criterion.observed_shape", extent, least=1, rule=rule) for extent in found]

    def _observed(self, param: Param, weight: Any, seen: Any, axis: int) -> Any:
        """What a batch adds, in the weight's dtype; TypeError or ValueError if that is no tensor of the shape that the
        criterion has said."""
        found, shape = self._criterion.observe(weight, seen, axis), self._observed_shape(param)
        rule = f"a function that gives a tensor of shape {shape}, as `observed_shape` says of {param.name}"
        if not isinstance(found, (paddle.Tensor, Value)):
            raise wrong_kind("criterion.observe", rule, found)
        if len(found.shape) != len(shape) or any(a not in (-1, b) for a, b in zip(found.shape, shape)):
            raise ValueError(f"`criterion.observe` must be {rule}, got shape {list(found.shape)}.")
        return found.cast(weight.dtype)

    def _begin(self) -> None:
        """A new turn: accumulators get new names."""
        _turns[self._holder.program] = self._turn = _turns.get(self._holder.program, 0) + 1
        self._batches = 0

    def _check_updated(self, missing: Sequence[str]) -> bool:
        """Whether none is missing; ValueError if some are, and some are not."""
        if missing and len(missing) < len(self._params):
            raise ValueError(
                f"the optimizer updates no {', '.join(missing)}, so there is no gradient to score it by; "
                "leave it out with `select`."
            )
        return not missing
