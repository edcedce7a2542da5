"""Which channels a Program can do without, what has to be folded for it, and why the others stay."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Mapping

import numpy as np

from ..graph.flow import Flow
from ..graph.units import Reading


@dataclass(frozen=True)
class Spare:
    """The decision.

    Attributes:
        alive: Which slots stay, bool [slots].
        folds: Variable -> what is added to it, in the order of its channels, float64.
        unread: Which slots some layer reads with zeros only, bool [slots].
        reasons: Slot -> why it stays.
    """

    alive: np.ndarray
    folds: Mapping[str, np.ndarray]
    unread: np.ndarray
    reasons: Mapping[int, str]

    def why(self, slots: np.ndarray, zeros: np.ndarray) -> str:
        """Why channels stay that are zero or unread, with how many; empty if there are none.

        Args:
            slots: Of the layer's outputs.
            zeros: Which of them have nothing but zeros as weights, bool.
        """
        idle = slots[(zeros | self.unread[slots]) & self.alive[slots]]
        counts = Counter(self.reasons[int(slot)] for slot in idle)
        return "; ".join(f"{count} stay: {reason}" for reason, count in counts.items())


def choose(flow: Flow, align: int) -> Spare:
    """The largest set of units that can go, less what alignment wants back."""
    roots, pins = flow.units.roots(), flow.units.pins()
    needs = [(reading.taps != 0).any(2) for reading in flow.readings]
    kept = np.isin(roots, list(pins))
    while True:
        dead = _removable(flow, needs, roots, kept)
        wanted = _wanted_back(flow, dead, roots, align)
        if not wanted:
            break
        kept |= np.isin(roots, list(wanted))
        pins.update(wanted)
    reasons = {**_blocks(flow, needs, dead, roots), **pins}
    unread = np.zeros(len(roots), bool)
    for reading, need in zip(flow.readings, needs):
        unread[reading.inputs[~need[~dead[reading.outputs]].any(0)]] = True
    return Spare(~dead, _folds(flow, dead), unread, {slot: reasons[root] for slot, root in enumerate(roots)
                                                     if root in reasons})


def _removable(flow: Flow, needs: list[np.ndarray], roots: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Units that nothing blocks. What is gone reads nothing, so that more can go: repeated until nothing changes."""
    dead = np.zeros(len(roots), bool)
    while True:
        stays = np.zeros(len(roots), bool)
        stays[roots[kept]] = True
        for reading, need in zip(flow.readings, needs):
            stays[roots[reading.inputs[_blocked(reading, need, dead)]]] = True
        after = ~stays[roots]
        if (after == dead).all():
            return dead
        dead = after


def _blocked(reading: Reading, need: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Inputs that the layer needs and cannot replace by a constant, bool [inputs]."""
    return need[~dead[reading.outputs]].any(0) & ~_replaceable(reading)


def _replaceable(reading: Reading) -> np.ndarray:
    foldable = reading.sink is not None and not reading.padded
    return (reading.constants == 0) | (foldable & ~np.isnan(reading.constants))


def _wanted_back(flow: Flow, dead: np.ndarray, roots: np.ndarray, align: int) -> dict[int, str]:
    """Units that must stay so that layers have round numbers of channels, and no axis is empty."""
    wanted: dict[int, str] = {}
    for label in flow.labels.values():
        _revive(label.slots, dead, roots, 1, "one channel has to", wanted)
    for slots in flow.layers.values():
        alive = int((~dead[slots]).sum())
        count = min(len(slots), -(-max(alive, 1) // align) * align)
        _revive(slots, dead, roots, count, f"aligned to {align}", wanted)
    return wanted


def _revive(slots: np.ndarray, dead: np.ndarray, roots: np.ndarray, count: int, why: str,
            wanted: dict[int, str]) -> None:
    missing = count - sum(not dead[slot] or roots[slot] in wanted for slot in slots)
    for slot in slots:
        if missing > 0 and dead[slot] and roots[slot] not in wanted:
            wanted[int(roots[slot])] = why
            missing -= 1


def _blocks(flow: Flow, needs: list[np.ndarray], dead: np.ndarray, roots: np.ndarray) -> dict[int, str]:
    """Unit -> which layer cannot do without it."""
    reasons: dict[int, str] = {}
    for reading, need in zip(flow.readings, needs):
        for i in np.flatnonzero(_blocked(reading, need, dead)):
            reasons.setdefault(int(roots[reading.inputs[i]]), _why_blocked(reading, reading.constants[i]))
    return reasons


def _why_blocked(reading: Reading, constant: float) -> str:
    if np.isnan(constant):
        return f"not constant where {reading.weight} reads them"
    if reading.padded:
        return f"not 0 but a constant, which {reading.weight} with its padding sees unlike 0 at the border"
    return f"not 0 but a constant, and no bias or norm of its own behind {reading.weight} can take it up"


def _folds(flow: Flow, dead: np.ndarray) -> dict[str, np.ndarray]:
    """What layers lose with their constant inputs, sum_j c_j sum_k w[o, j, k], for the outputs that stay."""
    folds: dict[str, np.ndarray] = {}
    for reading in flow.readings:
        gone = dead[reading.inputs]
        lost = reading.taps[:, gone].sum(2, dtype=np.float64) @ np.nan_to_num(reading.constants[gone])
        lost = np.where(dead[reading.outputs], 0.0, lost)
        if lost.any() and reading.sink is not None:
            folds[reading.sink.name] = folds.get(reading.sink.name, 0.0) + reading.sink.sign * lost
    return folds
