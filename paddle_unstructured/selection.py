# SPDX-License-Identifier: Apache-2.0
"""Which params are pruned, and why the others are not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Callable, Collection, Iterable, Mapping, Sequence, Union

import numpy as np

from .arguments import function, name_of, regex, shown
from .graph.base import Graph, Param

Select = Callable[[Param], Union[bool, "tuple[bool, str]"]]

_log = logging.getLogger(__name__)
RELEVANT = 0.01  # what makes less than this part of all weights is told, but not warned of
_WHY_NOT = {
    "bias": "a bias",
    "token": "a token: it is joined to activations, and multiplies nothing",
    "prelu alpha": "the slope of a PReLU",
    "scale": "a factor that scales activations",
    "weight scale": "the scale of a weight",
    "weight offset": "the offset of a weight",
    "unused": "nothing in the Program reads it",
}


@dataclass(frozen=True)
class Verdict:
    """What became of one param: `pruned`, and a `reason` for people to read.

    `unfit`: it was selected, and stays dense since its pattern does not fit it.
    """

    param: Param
    pruned: bool
    reason: str
    unfit: bool = False

    @property
    def is_held(self) -> bool:
        """Whether a weight, or what may be one, stays dense though nobody asked for that."""
        counts = self.param.size > 0 and (self.param.is_weight or self.param.is_unfollowed)
        return counts and not self.pruned and (self.unfit or self.reason == all_weights(self.param)[1])


def all_weights(param: Param) -> tuple[bool, str]:
    """Select every weight of a convolution, linear layer, embedding or recurrent layer that is trained. The default.

    In an inference Program nothing is trained, and every weight is selected.
    """
    if not param.size:
        return False, "it has no elements"
    if param.is_weight:
        return not param.frozen, f"{param.role} weight" + (f", but {param.frozen}" if param.frozen else "")
    if param.broken:
        return False, param.broken
    if param.role == "unknown":
        return False, f"read by {param.reader}, an op whose weights this package does not know"
    if param.role == "bias" and sum(extent > 1 for extent in param.shape) > 1:
        return False, "added to activations, as a bias or a position embedding is"
    return False, _WHY_NOT.get(param.role, f"the {param.role.removeprefix('norm ')} of a norm")


def can_be_insisted_on(param: Param) -> bool:
    """Whether a param that `all_weights` leaves alone is pruned where the user's selection says so."""
    return param.size > 0 and (param.is_weight or param.role == "unknown")


def conv1x1_only(param: Param) -> tuple[bool, str]:
    """Select the weights of conv2d ops with a 1x1 kernel and one group, of any stride.

    Those are what sparse kernels on mobile devices accept (Paddle Lite also asks for stride 1 and no padding).
    """
    chosen, reason = all_weights(param)
    if not chosen:
        return chosen, reason
    return param.is_conv1x1, "conv2d weight, 1x1" if param.is_conv1x1 else "not a 1x1 conv2d of one group"


def named(names: str) -> Select:
    """Select the weights whose whole name matches a regular expression, those that are not selected by default too.

    Raises:
        ValueError: It is none.

    Example:
        >>> named("linear_.*")(Param("linear_0.w_0", (2, 2), "float32", "linear"))
        (True, 'linear weight, named linear_.*')
    """
    pattern = regex("names", names)

    def select(param: Param) -> tuple[bool, str]:
        _, reason = all_weights(param)
        if not can_be_insisted_on(param):
            return False, reason
        fits = pattern.fullmatch(param.name) is not None
        return fits, f"{reason}, named {names}" if fits else f"its name does not match {names}"

    return select


def names_it(select: Select, param: Param) -> bool:
    """Whether a selection asks for this very param: not by default, and not under another name."""
    try:
        answer = select(replace(param, name=""))
    except Exception:  # it reads something off the name
        return True
    chosen = bool(answer[0]) if isinstance(answer, tuple) else bool(answer)
    return not chosen or not all_weights(param)[0]


def judge(params: Iterable[Param], select: Select = all_weights, skip: Collection[str] = ()) -> list[Verdict]:
    """Ask `select` about every weight; what is no weight, or named in `skip`, is never pruned.

    Raises:
        TypeError: `select` did not answer with a bool, or with (bool, reason).
    """
    function("select", select, takes=["param"])
    return [_verdict(param, select, skip) for param in params]


def _verdict(param: Param, select: Select, skip: Collection[str]) -> Verdict:
    by_default, reason = all_weights(param)
    if not can_be_insisted_on(param):
        return Verdict(param, False, reason)
    if param.name in skip:
        return Verdict(param, False, "named by skip_params_func")
    answer = select(param)
    chosen = answer[0] if isinstance(answer, tuple) and len(answer) == 2 else answer
    if isinstance(chosen, (bool, np.bool_)):
        if isinstance(answer, tuple):
            return Verdict(param, bool(chosen), str(answer[1]))
        name = name_of(select)
        why = reason if by_default else f"{reason}; selected by {name}"
        return Verdict(param, bool(answer), why if answer else f"not selected by {name}")
    raise TypeError(
        f"`select` must answer True, False or (bool, reason), got {shown(answer)} for param {param.name!r}."
    )


def share(verdicts: Iterable[Verdict]) -> tuple[int, int]:
    """(pruned, all) weights: every weight counts, and every param that may be one."""
    counted = [v for v in verdicts if v.pruned or v.param.is_weight or v.param.is_unfollowed]
    return sum(v.param.size for v in counted if v.pruned), sum(v.param.size for v in counted)


def tell(verdicts: Sequence[Verdict]) -> None:
    """Log what nobody asked to leave out, with its part of all weights, and which frozen weights are pruned."""
    whole = share(verdicts)[1]
    held = [v for v in verdicts if v.is_held]
    for what, found in (
        (
            "cannot be followed to their op and stay dense; insist with `select`",
            [v for v in held if not v.unfit and v.param.is_unfollowed],
        ),
        (
            "are not trained and stay as they are; insist with `select`",
            [v for v in held if not v.unfit and v.param.is_weight and v.param.frozen],
        ),
        ("do not fit the pattern and stay dense", [v for v in held if v.unfit]),
    ):
        size = sum(v.param.size for v in found)
        if found:
            level = logging.WARNING if size > RELEVANT * whole else logging.INFO
            _log.log(level, "%d of %d weights (%.1f %%) %s: %s", size, whole, 100 * size / whole, what, _listed(found))
    insisted = [replace(v, reason=all_weights(v.param)[1]) for v in verdicts if v.pruned]
    insisted = [v for v in insisted if not all_weights(v.param)[0]]
    if insisted:
        _log.warning("pruned because `select` says so: %s", _listed(insisted))


def tell_share(verdicts: Sequence[Verdict], target: float) -> None:
    """Log in which part of all weights the target is reached, where weights stay dense that nobody asked to leave."""
    held = sum(v.param.size for v in verdicts if v.is_held)
    if held:
        pruned, whole = share(verdicts)
        _log.log(
            logging.WARNING if held > RELEVANT * whole else logging.INFO,
            "the target %g is reached in the %d selected of %d weights (%.1f %%); explain() names the others",
            target,
            pruned,
            whole,
            100 * pruned / whole,
        )


def _listed(verdicts: Sequence[Verdict]) -> str:
    said = [f"{v.param.name} ({v.reason})" for v in verdicts]
    return "; ".join(said[:8]) + (f"; and {len(said) - 8} more" if len(said) > 8 else "")


def why_none(reasons: Mapping[str, str]) -> str:
    """Why no weight is left to work on, by name, for a message."""
    return ", ".join(f"{name} ({why})" for name, why in reasons.items()) or "it has no weights"


def names_to_skip(
    skip_params_func: Callable[[Any], Iterable[str]] | None, graph: Graph, params: Sequence[Param]
) -> set[str]:
    """The names a user's function wants skipped; names that the Program or Layer does not have are logged.

    Raises:
        TypeError: The function cannot be called with a Program, or does not return names.
    """
    if skip_params_func is None:
        return set()
    function("skip_params_func", skip_params_func, takes=["program"], rule="a function program -> names")
    given: Any = skip_params_func(graph.program)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`skip_params_func` must return a set of param names, got {type(given).__name__}.")
    names = {name for word in given for name in graph.names_of(word)}
    unknown = sorted(names - {param.name for param in params})
    if unknown:
        _log.warning("skip_params_func names no param: %s", ", ".join(unknown))
    return names


def check_named(argument: str, names: Collection[str], params: Iterable[Param], holder: str) -> None:
    """Raise ValueError unless all of these names are names of params.

    Args:
        argument: what the caller calls the names.
        names: what was given.
        params: what may be named.
        holder: what has the params, "model".
    """
    known = [param.name for param in params]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"`{argument}` must name weights of the {holder}, got {', '.join(unknown)}; it has "
            f"{', '.join(known) or 'none'}."
        )
