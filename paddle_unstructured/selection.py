"""Which params are pruned, and why the others are not."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Sequence, Union

from .arguments import function, wrong_kind
from .graph.base import Param

Select = Callable[[Param], Union[bool, "tuple[bool, str]"]]

_log = logging.getLogger(__name__)
_WHY_NOT = {
    "bias": "a bias",
    "prelu alpha": "the slope of a PReLU",
    "scale": "a factor that scales activations",
    "weight scale": "the scale of an int8 weight",
    "unused": "nothing in the Program reads it",
}


@dataclass(frozen=True)
class Verdict:
    """What became of one param: `pruned`, and a `reason` for people to read."""

    param: Param
    pruned: bool
    reason: str


def all_weights(param: Param) -> tuple[bool, str]:
    """Select every weight of a convolution, linear layer, embedding or recurrent layer. The default."""
    if param.is_weight:
        return param.size > 0, f"{param.role} weight" if param.size else "it has no elements"
    if param.role == "unknown":
        return False, f"read by {param.reader}, an op whose weights this package does not know"
    return False, _WHY_NOT.get(param.role, f"the {param.role.removeprefix('norm ')} of a norm")


def conv1x1_only(param: Param) -> tuple[bool, str]:
    """Select the weights of conv2d ops with a 1x1 kernel and one group, of any stride.

    Those are what sparse kernels on mobile devices accept (Paddle Lite also asks for stride 1 and no padding).
    """
    if not param.is_weight:
        return all_weights(param)
    return param.is_conv1x1, "conv2d weight, 1x1" if param.is_conv1x1 else "not a 1x1 conv2d of one group"


def named(names: str) -> Select:
    """Select the weights whose whole name matches a regular expression.

    Raises:
        ValueError: It is none.

    Example:
        >>> named("linear_.*")(Param("linear_0.w_0", (2, 2), "float32", "linear"))
        (True, 'linear weight, named linear_.*')
    """
    if not isinstance(names, str):
        raise wrong_kind("names", "a regular expression", names)
    try:
        pattern = re.compile(names)
    except re.error as error:
        raise ValueError(f"`names` must be a regular expression, got {names!r}: {error}.") from error

    def select(param: Param) -> tuple[bool, str]:
        chosen, reason = all_weights(param)
        if not chosen or pattern.fullmatch(param.name):
            return chosen, f"{reason}, named {names}" if chosen else reason
        return False, f"its name does not match {names}"

    return select


def judge(params: Iterable[Param], select: Select = all_weights, skip: Sequence[str] = ()) -> list[Verdict]:
    """Ask `select` about every weight; what is no weight, or named in `skip`, is never pruned.

    Raises:
        TypeError: `select` did not answer with a bool, or with (bool, reason).
    """
    return [_verdict(param, select, skip) for param in params]


def _verdict(param: Param, select: Select, skip: Sequence[str]) -> Verdict:
    pruned, reason = all_weights(param)
    if not pruned:
        return Verdict(param, False, reason)
    if param.name in skip:
        return Verdict(param, False, "named by skip_params_func")
    answer = select(param)
    if isinstance(answer, tuple) and len(answer) == 2:
        return Verdict(param, bool(answer[0]), str(answer[1]))
    if isinstance(answer, bool):
        name = getattr(select, "__name__", repr(select))
        return Verdict(param, answer, reason if answer else f"not selected by {name}")
    raise TypeError(f"`select` must answer True, False or (bool, reason), got {answer!r} for param {param.name!r}.")


def names_to_skip(
    skip_params_func: Callable[[Any], Iterable[str]] | None, program: Any, params: Sequence[Param]
) -> set[str]:
    """The names a user's function wants skipped; names that the Program does not have are logged.

    Raises:
        TypeError: The function cannot be called with a Program, or does not return names.
    """
    if skip_params_func is None:
        return set()
    function("skip_params_func", skip_params_func, rule="a function program -> names")
    given: Any = skip_params_func(program)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`skip_params_func` must return a set of param names, got {type(given).__name__}.")
    names = {name if isinstance(name, str) else name.name for name in given}
    unknown = sorted(names - {param.name for param in params})
    if unknown:
        _log.warning("skip_params_func names no param of the Program: %s", ", ".join(unknown))
    return names
