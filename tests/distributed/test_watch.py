# SPDX-License-Identifier: Apache-2.0
"""What a rank says of the others when it ends."""

from __future__ import annotations

import socket
import time

import pytest

from paddle_unstructured.distributed import watch


class Gone:
    """The store of a rank 0 that has closed its connections."""

    def get(self, _: str) -> bytes:
        raise RuntimeError("connection reset")


class There:
    """The store of a rank 0 that is alive: of a rank 2 that a process of this number was."""

    def get(self, name: str) -> bytes:
        assert name == "beat/2"
        return str(beat()).encode()


def beat() -> watch.Beat:
    return watch.Beat(7, time.time(), 4321, socket.gethostname())


@pytest.mark.parametrize("store, world, number", [(Gone(), 2, 0), (There(), 3, 2)])
def test_a_rank_that_is_being_killed_is_named_once_it_is_gone(monkeypatch, store, world, number):
    """Its connections are closed first; until its memory is freed it is a process like others."""
    states = iter("RR")
    monkeypatch.setattr(watch, "_open_store", lambda _: store)
    monkeypatch.setattr(watch, "_process_state", lambda pid: next(states, "") if pid == 4321 else "R")
    mine = watch._Watch(1, world, None)
    mine._first = beat() if number == 0 else watch.Beat(7, time.time(), 1, socket.gethostname())
    said = mine.describe("RuntimeError: std::exception")
    assert said.endswith(f"(rank {number} (process 4321 on {socket.gethostname()}) is dead, last seen at step 7)")


@pytest.mark.parametrize(
    "store, words", [(Gone(), "rank 0 cannot be reached"), (There(), "no rank is known to be gone")]
)
def test_where_nobody_is_known_to_be_gone_it_says_so_after_a_second(monkeypatch, store, words):
    monkeypatch.setattr(watch, "_open_store", lambda _: store)
    monkeypatch.setattr(watch, "_process_state", lambda _: "R")
    began = time.monotonic()
    assert watch._Watch(1, 3, None).describe("SIGTERM").endswith(f"({words})")
    assert time.monotonic() - began < watch._ASKING
