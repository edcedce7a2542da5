# SPDX-License-Identifier: Apache-2.0
"""What rank 0 does for all: it alone reads and writes the files of a run."""

from __future__ import annotations

from typing import Callable, TypeVar

from paddle_unstructured import distributed

T = TypeVar("T")


def on_rank_0(act: Callable[[], T]) -> T:
    """Run `act` on rank 0 only; every rank gets what it returns, or raises what it raises."""
    outcome = None
    if distributed.rank() == 0:
        try:
            outcome = (act(), None)
        except (ValueError, TypeError, OSError) as error:
            outcome = (None, error)
    result, error = distributed.share(outcome)
    if error is not None:
        raise error
    return result
