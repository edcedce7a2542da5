# SPDX-License-Identifier: Apache-2.0
"""Which channels a Program can do without, what has to be folded for it, and why the others stay."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Mapping

import numpy as np

from .constants import any_tap
from .labels import Reading
from .trace import Trace

_NEAR = 0.1  # a stand-in has at least this part of the largest constant, or rounding would be scaled up


@dataclass(frozen=True)
class Removable:
    """The decision.

    Attributes:
        alive: Which slots stay, bool [slots].
        folds: Variable -> what is added to it, in its own shape or flattened, float64.
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
            slots: slots of the layer's outputs.
            zeros: which of them have nothing but zeros as weights, bool.
        """
        idle = slots[(zeros | self.unread[slots]) & self.alive[slots]]
        counts = Counter(self.reasons[int(slot)] for slot in idle)
        return "; ".join(f"{count} {'stays' if count == 1 else 'stay'}: {reason}" for reason, count in counts.items())


def choose(trace: Trace, align: int) -> Removable:
    """The largest set of units that can go, less what alignment wants back."""
    candidates = _Candidates(trace)
    while True:
        while candidates.appoint():
            pass
        wanted = _wanted_back(trace, candidates.dead(), candidates.roots, align)
        if not wanted:
            return candidates.decision()
        candidates.keep(wanted)


class _Candidates:
    """Units by their roots; more and more are kept until all that is wanted is.

    Constants that a layer cannot fold (it is padded, or has no bias) are one constant times one set of taps: one
    channel r stands in for all others j, with w_r + sum_j (c_j / c_r) w_j. That holds at the border too.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace, self.roots, self._pins = trace, trace.units.roots(), trace.units.pins()
        self._needs = [any_tap(reading.taps) for reading in trace.readings]
        self._needed_for: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # reading -> outputs that stay, its inputs
        self._free = [(r.constants == 0) | ((r.folds | r.alone) & ~np.isnan(r.constants)) for r in trace.readings]
        self._kept = np.isin(self.roots, list(self._pins))
        self._stand_ins: dict[int, int] = {}  # reading -> input

    def keep(self, units: Mapping[int, str]) -> None:
        self._kept |= np.isin(self.roots, list(units))
        self._pins.update(units)

    def dead(self) -> np.ndarray:
        """Slots of units that nothing blocks. What is gone reads nothing, so that more can go, and so on."""
        dead = np.zeros(len(self.roots), bool)
        while True:
            stays = np.zeros(len(self.roots), bool)
            stays[self.roots[self._kept]] = True
            for i, reading in enumerate(self.trace.readings):
                stays[self.roots[reading.inputs[self._needed(i, dead) & ~self._free[i]]]] = True
            after = ~stays[self.roots]
            if (after == dead).all():
                return dead
            dead = after

    def _needed(self, i: int, dead: np.ndarray) -> np.ndarray:
        """Inputs that the layer reads for outputs that stay, bool [inputs]."""
        stays = ~dead[self.trace.readings[i].outputs]
        if i not in self._needed_for or (self._needed_for[i][0] != stays).any():
            self._needed_for[i] = stays, self._needs[i][stays].any(0)
        return self._needed_for[i][1]

    def appoint(self) -> bool:
        """A stand-in for the next layer that would lose constants which it cannot fold; whether there was one."""
        dead = self.dead()
        for i, reading in enumerate(self.trace.readings):
            size = np.where(np.isnan(reading.constants), 0.0, np.abs(reading.constants))
            lost = self._needed(i, dead) & dead[reading.inputs] & (size > 0)
            if not reading.folds and i not in self._stand_ins and lost.any():
                anyway = np.where(dead[reading.inputs], 0.0, size)  # of channels that stay in any case
                chosen = int(np.argmax(anyway if anyway.max() >= _NEAR * size.max() else size))
                self._stand_ins[i] = chosen
                if dead[reading.inputs[chosen]]:
                    self.keep(
                        {
                            int(
                                self.roots[reading.inputs[chosen]]
                            ): f"its constant stands in for all that {reading.weight} reads"
                        }
                    )
                return True
        return False

    def decision(self) -> Removable:
        dead = self.dead()
        reasons, unread = dict(self._pins), np.zeros(len(self.roots), bool)
        for i, reading in enumerate(self.trace.readings):
            needed = self._needed(i, dead)
            unread[reading.inputs[~needed]] = True
            for j in np.flatnonzero(needed & ~self._free[i]):
                reasons.setdefault(int(self.roots[reading.inputs[j]]), _why(reading, reading.constants[j]))
        by_slot = {slot: reasons[root] for slot, root in enumerate(self.roots) if root in reasons}
        return Removable(~dead, self._folds(dead), unread, by_slot)

    def _folds(self, dead: np.ndarray) -> dict[str, np.ndarray]:
        """What layers lose with their constant inputs, for the outputs that stay: sum_j c_j sum_k w[o, j, k] into a
        bias, or sum_j c_j / c_r w[o, j] into the taps of the stand-in."""
        folds: dict[str, np.ndarray] = {}
        for i, reading in enumerate(self.trace.readings):
            alive, constants = ~dead[reading.outputs], np.nan_to_num(reading.constants)
            gone = dead[reading.inputs] & (constants != 0)
            lost = np.zeros((len(alive), reading.taps.shape[2]))
            lost[alive] = np.tensordot(reading.taps[np.ix_(alive, gone)], constants[gone], (1, 0))
            if not lost.any():
                continue
            if reading.folds and reading.sink is not None:
                folds[reading.sink.name] = reading.sink.sign * lost.sum(1)
            else:
                delta = np.zeros(reading.taps.shape)
                delta[:, self._stand_ins[i]] = lost / reading.constants[self._stand_ins[i]]
                folds[reading.weight] = np.moveaxis(delta, (0, 1), reading.axes)
        return folds


def _why(reading: Reading, constant: float) -> str:
    if np.isnan(constant):
        return f"not constant where {reading.weight} reads them"
    return f"not 0 but a constant, and {reading.weight} is shared or not float32, so that it cannot take it up"


def _wanted_back(trace: Trace, dead: np.ndarray, roots: np.ndarray, align: int) -> dict[int, str]:
    """Units that must stay so that layers have round numbers of channels, and no axis is empty."""
    wanted: dict[int, str] = {}
    why = f"aligned to {align}" if align > 1 else "one channel has to"
    for label in trace.labels.values():
        _revive(label.slots, dead, roots, 1, "one channel has to", wanted)
    for slots in trace.layers.values():
        alive = int((~dead[slots]).sum())
        count = min(len(slots), -(-max(alive, 1) // align) * align)
        _revive(slots, dead, roots, count, why, wanted)
    return wanted


def _revive(
    slots: np.ndarray, dead: np.ndarray, roots: np.ndarray, count: int, why: str, wanted: dict[int, str]
) -> None:
    missing = count - sum(not dead[slot] or roots[slot] in wanted for slot in slots)
    for slot in slots:
        if missing > 0 and dead[slot] and roots[slot] not in wanted:
            wanted[int(roots[slot])] = why
            missing -= 1
