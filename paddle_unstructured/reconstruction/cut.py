# SPDX-License-Identifier: Apache-2.0
"""A model pruned, and pruned anew by other scores, each time from what it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from ..masking.update import PrunedLayer
from ..pruner import UnstructuredPruner
from .damage import Damage
from .subject import Subject
from .worth import Worth


@dataclass(frozen=True)
class Cut:
    """One pruner that takes weights by magnitude, or by damage.

    Args:
        whose: whose weights fall.
        back: what puts weights and masks back as they were.
        words: of `UnstructuredPruner`, but for the criterion.
        ranks: whether damage is the criterion; else each time the same falls.
    """

    whose: Subject
    back: Callable[[], None]
    words: Mapping[str, Any]
    ranks: bool
    pruner: UnstructuredPruner = field(init=False)
    _known: dict[str, Worth] = field(init=False, default_factory=dict)  # what `Damage` reads; nothing: by magnitude
    _begun: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        criterion = {"criterion": Damage(self._known)} if self.ranks else {}
        pruner = self.whose.pruner(**criterion, **self.words)
        begun = {name: what for name, what in pruner.state_dict().items() if name != "masks"}
        object.__setattr__(self, "pruner", pruner)
        object.__setattr__(self, "_begun", begun)

    def by_magnitude(self) -> list[PrunedLayer]:
        """Prune, and give the layers as the model names them."""
        return self.by_damage({})

    def by_damage(self, worth: Mapping[str, Worth]) -> list[PrunedLayer]:
        """The same, by scores that count with what outputs and inputs are worth, by the model's names."""
        self.back()
        self._known.clear()
        self._known.update(self.whose.owners(worth))
        self.pruner.load_state_dict({**self._begun, "masks": self.pruner.state_dict()["masks"]})
        self.pruner.step()
        return self.whose.take(self.pruner)
