# SPDX-License-Identifier: Apache-2.0
"""One rule for each kind of argument: what a whole number is, a fraction, one of these words, a function, a path.

Every function takes the argument's name and value, and gives the value back as Python's own type: numpy's 3 as 3, a
`pathlib.Path` as its text. What does not follow the rule is refused in one sentence:

    `argument` must ⟨rule⟩, got ⟨value⟩; ⟨what to do⟩.

A value of the right kind that is out of range is a ValueError; one of another kind is a `WrongKind`. True and False
are no numbers, 2.0 is no whole number, NaN and infinity are in no range.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from numbers import Integral, Real
from operator import index
from typing import Any, Callable, Iterable, Mapping, Sequence, Union

import numpy as np

StrPath = Union[str, "os.PathLike[str]"]
LARGEST = 2**63 - 1  # what a step, a size or a seed is counted in
LONGEST = 100  # characters of a value that a message shows


class WrongKind(TypeError, ValueError):
    """A value of another kind than the argument's: whoever catches TypeError or ValueError catches it."""


def whole(
    name: str, value: object, *, least: int = 0, most: int | None = None, rule: str | None = None, hint: str = ""
) -> int:
    """An int in [least, most], numpy's included.

    Args:
        name: argument as the caller wrote it, `configs['pruning_steps']` too.
        value: what was given for it.
        least: smallest value allowed.
        most: largest value allowed; None for what 64 bits hold.
        rule: words of the rule, where the argument has better ones than "an int >= 1".
        hint: what to do, for the end of the sentence.
    """
    rule = rule or (f"an int >= {least}" if most is None else f"an int in [{least}, {most}]")
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, Integral):
        raise wrong_kind(name, rule, value, hint)
    count = index(plain)
    if not least <= count <= (LARGEST if most is None else most):
        raise ValueError(sentence(name, rule, value, hint))
    return count


def number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    rule: str | None = None,
    hint: str = "",
) -> float:
    """A finite real number, >= `least`, <= `most`, > `above`, < `below`; `name`, `rule` and `hint` as for `whole`."""
    bounds = " and ".join(
        f"{sign} {bound:g}"
        for sign, bound in ((">=", least), (">", above), ("<=", most), ("<", below))
        if bound is not None
    )
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise wrong_kind(name, rule or f"a number {bounds}".rstrip(), value, hint)
    try:
        real = float(plain)
    except OverflowError:
        real = math.inf
    inside = (
        (least is None or real >= least)
        and (most is None or real <= most)
        and (above is None or real > above)
        and (below is None or real < below)
    )
    if not (math.isfinite(real) and inside):
        raise ValueError(sentence(name, rule or f"a finite number {bounds}".rstrip(), value, hint))
    return real


def fraction(
    name: str, value: object, *, rule: str = "a fraction of zeros in [0, 1]", hint: str = "0.55 means 55 %"
) -> float:
    """A real number in [0, 1]."""
    return number(name, value, least=0.0, most=1.0, rule=rule, hint=hint)


def one_of(name: str, value: object, words: Iterable[str], *, rule: str | None = None, hint: str = "") -> str:
    """One of some words."""
    words = list(words)
    rule = rule or f"one of {', '.join(words)}"
    if not isinstance(value, str):
        raise wrong_kind(name, rule, value, hint)
    if value not in words:
        raise ValueError(sentence(name, rule, value, hint))
    return str(value)


def flag(name: str, value: object, *, rule: str = "True or False", hint: str = "") -> bool:
    """True or False; numpy's, and 1 and 0, too."""
    plain = _plain(value)
    if not (isinstance(plain, (bool, Integral)) and plain in (0, 1)):
        raise wrong_kind(name, rule, value, hint)
    return bool(plain)


def function(
    name: str, value: Any, *, takes: Sequence[str] | None = None, rule: str = "a function", hint: str = ""
) -> Callable[..., Any]:
    """Whatever can be called, but no class: a forgotten pair of brackets is the likelier reason.

    `takes`: what it will be given, in this order; None: that is not looked at.
    """
    _refuse_class(name, value)
    if not callable(value):
        raise wrong_kind(name, rule, value, hint)
    if takes is not None:
        _check_takes(name, value, takes)
    return value  # type: ignore[no-any-return]


def part(name: str, value: Any, methods: Any, *, rule: str, hint: str = "") -> Any:
    """An object with some methods: a criterion, a pattern, an allocation, of ours or of the user's.

    `methods`: their names; or a Protocol, whose methods they are, and take what those take.
    """
    _refuse_class(name, value)
    asked: dict[str, Any] = {}
    if isinstance(methods, type):
        asked = {key: one for key, one in inspect.getmembers(methods, inspect.isfunction) if not key.startswith("_")}
    missing = [method for method in (asked or methods) if not has_method(value, method)]
    if missing:
        has_some = asked and len(missing) < len(asked)
        raise wrong_kind(name, rule, value, hint or (f"it has no {', '.join(missing)}" if has_some else ""))
    for method, one in asked.items():
        _check_takes(f"{name}.{method}", getattr(value, method), list(inspect.signature(one).parameters)[1:])
    return value


def instance(name: str, value: Any, kinds: type | tuple[type, ...], *, rule: str, hint: str = "") -> Any:
    """An object of one of these classes."""
    if not isinstance(value, kinds):
        raise WrongKind(f"`{name}` must be {rule}, got {type(value).__name__}" + (f"; {hint}." if hint else "."))
    return value


def path(name: str, value: object, *, hint: str = "give a str or a pathlib.Path") -> str:
    """The name of a file or folder: a str, or anything with `__fspath__` that gives one."""
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
    except Exception:
        text = None
    if not isinstance(text, str):
        raise wrong_kind(name, "a path", value, hint)
    if not text or "\0" in text:
        raise ValueError(sentence(name, "a path", value, hint))
    return text


def names(name: str, value: Any, *, of: Any = None, rule: str = "a list of names", hint: str = "") -> list[str]:
    """Some names, or objects of the class `of`, which have one; no single string."""
    if isinstance(value, str):
        raise WrongKind(f"`{name}` must be {rule}, got the string {shown(value)}; write [{shown(value)}].")
    try:
        found: list[Any] = [each.name if of and isinstance(each, of) else each for each in value]
    except Exception:
        raise wrong_kind(name, rule, value, hint) from None
    if isinstance(value, (Mapping, bytes)) or not all(isinstance(each, str) for each in found):
        raise wrong_kind(name, rule, value, hint)
    return found


def array(name: str, value: Any, *, rule: str = "an array of real numbers") -> np.ndarray:
    """An array, or what numpy makes one of; no text, no complex numbers, no objects, no masks."""
    try:
        found = np.asarray(value)
    except Exception:
        raise wrong_kind(name, rule, value) from None
    if found.dtype.kind not in "fiub" or isinstance(value, np.ma.MaskedArray):
        raise wrong_kind(name, rule, value)
    return found


def regex(name: str, value: object) -> re.Pattern[str]:
    """A regular expression, compiled."""
    if not isinstance(value, str):
        raise wrong_kind(name, "a regular expression", value)
    try:
        return re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"`{name}` must be a regular expression, got {shown(value)}: {error}.") from error


def sentence(name: str, rule: str, value: object, hint: str = "") -> str:
    """What a message says: which argument, its rule, what was given, what to do."""
    return f"`{name}` must be {rule}, got {shown(value)}" + (f"; {hint}." if hint else ".")


def wrong_kind(name: str, rule: str, value: object, hint: str = "") -> WrongKind:
    """The error for a value of another kind, which the sentence names: got '3' (str)."""
    kind = "" if value is None else f" ({type(value).__name__})"
    return WrongKind(f"`{name}` must be {rule}, got {shown(value)}{kind}" + (f"; {hint}." if hint else "."))


def name_of(value: object) -> str:
    """The name of a function; the repr of anything else."""
    return str(getattr(value, "__name__", repr(value)))


def shown(value: object) -> str:
    """The value as a message shows it: its repr on one line, not too long; its class where even that fails."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _plain(value: Any) -> object:
    """A single number of numpy or Paddle as Python's own; everything else as it is."""
    if isinstance(value, (int, float, str)):
        return value
    try:
        return value.item() if list(value.shape) == [] else value
    except Exception:
        return value


def has_method(value: object, name: str) -> bool:
    """Whether an object, and no class, has a method; False where even asking fails."""
    try:
        return callable(getattr(value, name, None)) and not isinstance(value, type)
    except Exception:
        return False


def _check_takes(name: str, value: Any, takes: Sequence[str]) -> None:
    """TypeError where a function cannot be called with these; what does not say is left to the call."""
    try:
        signature = inspect.signature(value)
    except Exception:
        return
    try:
        signature.bind(*takes)
    except TypeError:
        rule = f"a function of ({', '.join(takes)})"
        raise WrongKind(f"`{name}` must be {rule}, got one of {signature}; these are given in this order.") from None


def _refuse_class(name: str, value: object) -> None:
    if isinstance(value, type):
        raise WrongKind(f"`{name}` must be an object, got the class {value.__name__}; write {value.__name__}(...).")
