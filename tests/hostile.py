# SPDX-License-Identifier: Apache-2.0
"""Values that nobody means, and calls of the public functions and parts to try them on."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np


class Raises:
    """An object whose every method raises."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("a method of the value was called, and what it raised came through")

    __repr__ = __str__ = __index__ = __float__ = __int__ = __bool__ = __fspath__ = _fail
    __iter__ = __len__ = __contains__ = __eq__ = __lt__ = __getitem__ = __getattr__ = _fail
    __hash__ = None  # type: ignore[assignment]


HOSTILE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "1.5": lambda: 1.5,
    "2**62": lambda: 2**62,
    "2**70": lambda: 2**70,
    "10**400": lambda: 10**400,
    "1j": lambda: 1j,
    "empty text": lambda: "",
    "text": lambda: "nonsense",
    "text with zero": lambda: "a\0b",
    "regex": lambda: "(",
    "bytes": lambda: b"",
    "empty dict": dict,
    "dict": lambda: {"a": None, 3: "b"},
    "empty list": list,
    "list": lambda: [None, 1j],
    "lists": lambda: [[1], [2, 3]],
    "object": object,
    "raises": Raises,
    "class": lambda: Raises,
    "array": lambda: np.ones((2, 3)),
    "array of nan": lambda: np.full((2, 2), np.nan),
    "array of text": lambda: np.array(["x"]),
    "complex array": lambda: np.ones(3, complex),
    "dates": lambda: np.array("2026-01-01", "datetime64[D]"),
    "masked": lambda: np.ma.masked_all(3),
}


def fault(call: Callable[[], Any], argument: str) -> str:
    """What is wrong with the outcome of a call; "" if it worked, or was refused by the argument's name."""
    try:
        call()
    except (TypeError, ValueError, OSError) as error:
        if argument in str(error) or isinstance(error, OSError):
            return ""
        return f"{type(error).__name__}: {str(error)[:150]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return ""


OTHER_NAMES = {"value": "threshold"}  # arguments that a sentence calls by their word in the pruner


def faults(
    function: Callable[..., Any], good: dict[str, Any], *, skip: tuple[str, ...] = (), called: str = ""
) -> dict[str, str]:
    """(argument = hostile value) -> what went wrong, for all arguments but those that `skip` names."""
    found = {}
    for argument in (argument for argument in good if argument not in skip):
        for name, value in HOSTILE.items():
            call = {**good, argument: value()}
            wrong = fault(lambda: function(**call), called or f"`{OTHER_NAMES.get(argument, argument)}")
            if wrong:
                found[f"{argument} = {name}"] = wrong
    return found
