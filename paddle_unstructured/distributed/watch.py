# SPDX-License-Identifier: Apache-2.0
"""How ranks end: by a line that names the rank, its step and who is gone, and never by waiting for ever."""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple

import paddle

from ..arguments import whole

_log = logging.getLogger(__name__)
_BEAT = 1.0  # seconds between two signs of life
_ASKING = 2.0  # seconds to find out who is gone; the launcher leaves about three
_STORE_TIMEOUT = 20  # seconds
_START = 10  # timeouts that data, weights and the first step may take


class Beat(NamedTuple):
    """A rank's sign of life."""

    step: int
    time: float
    pid: int
    host: str

    @classmethod
    def read(cls, text: str) -> Beat:
        step, when, pid, host = text.split(" ", 3)
        return cls(int(step), float(when), int(pid), host)

    def __str__(self) -> str:
        return " ".join(map(str, self))


class _Watch:
    """Signs of life through Paddle's own store, and a clock that ends a rank which finishes no step."""

    def __init__(self, rank: int, world: int, timeout: float | None) -> None:
        self.rank, self.world, self.timeout = rank, world, timeout
        self.step, self.since, self.started = 0, time.monotonic(), False
        self.ending = False
        self.pid, self.host = os.getpid(), socket.gethostname()
        self.parent = os.getppid()
        self._store = _open_store(world)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._beat, name="signs of life", daemon=True),
            threading.Thread(target=self._keep_time, name="watchdog", daemon=True),
        ]
        self._first: Beat | None = None  # rank 0's latest, for when its store is gone with it

    def run(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """At the process's end: Python ends a thread within the store's C++ by aborting."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(_ASKING)

    def describe(self, reason: str) -> str:
        """The line to end with. Asks the others, for two seconds at most."""
        self.ending = True
        found: list[str] = []
        asking = threading.Thread(target=self._ask, args=(found,), daemon=True)
        asking.start()
        asking.join(_ASKING)
        gone = "; ".join(found) or "no rank is known to be gone"
        return f"rank {self.rank} of {self.world} ends after step {self.step}: {reason} ({gone})"

    def _beat(self) -> None:
        while not self._stopped.is_set():
            try:
                self._store.set(f"beat/{self.rank}", str(Beat(self.step, time.time(), self.pid, self.host)))
                self._first = Beat.read(self._store.get("beat/0").decode())
            except Exception:  # the store went with rank 0; the next collective says so
                return
            self._stopped.wait(_BEAT)

    def _keep_time(self) -> None:
        while not self._stopped.wait(min(_BEAT, (self.timeout or _BEAT) / 4)):
            silent, allowed = time.monotonic() - self.since, self.timeout
            if allowed is not None and silent > (allowed if self.started else _START * allowed):
                self._end(
                    f"no step was finished for {silent:.0f} s, and the timeout is {allowed:g} s. If this is "
                    "work between steps, call distributed.progress() in it, or init(timeout=...)",
                    1,
                )
            if os.getppid() != self.parent:
                self._end("the launcher is gone", 1)

    def _end(self, reason: str, code: int) -> None:
        _say(self.describe(reason))
        faulthandler.dump_traceback(all_threads=True)
        os._exit(code)

    def _ask(self, found: list[str]) -> None:
        """Who is gone; for a second, since a process that is being ended closes its connections before it is gone."""
        until, is_reached = time.monotonic() + _ASKING / 2, True
        while not found and time.monotonic() < until:
            if self.rank > 0 and self._first is not None:  # its store may be gone, or not answer
                found.extend(_fate(0, self._first, self.host))
            try:
                found.extend(self._fates())
                is_reached = True
            except Exception:
                is_reached = False
            if not found:
                time.sleep(0.1)
        if not found and not is_reached:
            found.append("rank 0 cannot be reached")

    def _fates(self) -> list[str]:
        """Of all other ranks but rank 0, from its store."""
        found, store = [], _open_store(self.world)  # the other connection may be waiting for an answer
        for rank in range(1, self.world):
            if rank != self.rank:
                found.extend(_fate(rank, Beat.read(store.get(f"beat/{rank}").decode()), self.host))
        return found


def start(rank: int, world: int, timeout: float | None) -> None:
    """Begin to watch this rank, and say where it is when it ends by an error or by SIGTERM."""
    global _watch
    _watch = _Watch(rank, world, timeout)
    _watch.run()
    atexit.register(_watch.stop)
    previous = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        previous(kind, error, where)
        _say(_watch.describe(f"{kind.__name__}: {error}"))

    sys.excepthook = report
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def progress(step: int | None = None) -> None:
    """Tell the watchdog that this rank is alive.

    `pruner.step()` does it. Work between steps that can last longer than the timeout of `init` has to do it itself.

    Args:
        step: Steps finished so far; None: as many as before.

    Example:
        >>> progress()
    """
    if step is not None:
        step = whole("step", step)
    if _watch is not None:
        _watch.since, _watch.started = time.monotonic(), True
        if step is not None:
            _watch.step = step


def step() -> int:
    """Steps finished so far, as `progress` was told."""
    return _watch.step if _watch is not None else 0


_watch: _Watch | None = None


def _on_sigterm(number: int, frame: Any) -> None:
    if _watch is None or os.getpid() != _watch.pid:  # a worker of a data loader
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    if _watch.ending:
        return
    _say(_watch.describe("SIGTERM, as the launcher sends it when another rank has ended"))
    os._exit(128 + signal.SIGTERM)


def _open_store(world: int) -> Any:
    host, port = os.environ["PADDLE_MASTER"].rsplit(":", 1)
    return paddle.base.core.TCPStore(host, int(port), False, world, _STORE_TIMEOUT)


def _fate(rank: int, beat: Beat, host: str) -> list[str]:
    """What is wrong with a rank, if anything is known to be."""
    said = f"rank {rank} (process {beat.pid} on {beat.host}) %s at step {beat.step}"
    state = _process_state(beat.pid) if beat.host == host else "?"
    silent = time.time() - beat.time
    if state in ("", "Z"):
        return [said % "is dead, last seen"]
    if state == "T":
        return [said % "is stopped, last seen"]
    return [said % f"was last seen {silent:.0f} s ago"] if silent > 3 * _BEAT else []


def _process_state(pid: int) -> str:
    """Linux's letter for the state of a process, Z for one that has ended; "" for none, "?" where it is not known."""
    if not os.path.isdir("/proc/self"):
        return "?"
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def _say(line: str) -> None:
    """Log, and make sure that it is read: nobody may have set logging up, and the process is about to end."""
    _log.critical("%s", line)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
