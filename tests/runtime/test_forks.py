# SPDX-License-Identifier: Apache-2.0
"""A session in forks of the process that made it: the child has none of its threads, and neither hangs nor crashes."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window, one_image

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
SECONDS = 60
X = np.random.default_rng(0).normal(size=(3, 16, 20, 20)).astype("float32")


def make_engine(threads):
    writer, random = one_image(16), np.random.default_rng(1)
    value = 0
    for _ in range(3):
        weight = random.normal(size=(16, 16, 3, 3)) / 12
        value = writer.convolution(value, weight, np.zeros(16), Window((3, 3), pad=(1, 1, 1, 1)), act="relu")
    writer.output(value, rank=4)
    return Engine(writer.text, writer.arrays, threads=threads)


def start(work):
    """Fork; the child does `work` and ends with 0, or with 1 after an exception."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def end(child):
    """0, the code of an error, or the signal as a negative number: -9 if the child hung."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("what", ["free", "use", "use and free", "use in threads", "fork again"])
def test_a_used_session_may_be_used_and_freed_in_a_fork(threads, what):
    engine = make_engine(threads)
    expected = engine.run(X)[0]

    def use(times=2):
        for _ in range(times):
            assert (engine.run(X)[0] == expected).all()

    def work():
        nonlocal engine
        if what.startswith("use"):
            use()
        if what == "use in threads":
            users = [threading.Thread(target=use) for _ in range(3)]
            for user in users:
                user.start()
            for user in users:
                user.join()
        if what == "fork again":
            use()
            assert end(start(use)) == 0
        if what.endswith("free"):
            del engine

    for _ in range(10):
        assert end(start(work)) == 0
        use(1)  # the parent is as it was


def test_forks_while_other_threads_run_the_session():
    """A fork at any moment: with a task half done, a thread about to sleep, the list of idle teams locked."""
    engine = make_engine(3)
    expected, stop, wrong = engine.run(X)[0], threading.Event(), []

    def keep_busy():
        while not stop.is_set():
            if not (engine.run(X)[0] == expected).all():
                wrong.append(1)

    def work():
        nonlocal engine
        assert (engine.run(X)[0] == expected).all()
        del engine

    busy = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in busy:
        thread.start()
    try:
        assert [end(start(work)) for _ in range(40)] == [0] * 40
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    assert wrong == []


def test_a_session_that_was_never_run_works_in_a_fork():
    engine = make_engine(2)
    assert end(start(lambda: engine.run(X))) == 0
