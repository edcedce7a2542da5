# SPDX-License-Identifier: Apache-2.0
"""What the params of one nn.Layer are for: by a trace, which its first forward may bring, or told by its layers."""

from __future__ import annotations

import inspect
import logging
import weakref
from typing import Any, Mapping, Sequence

from paddle import Tensor, nn

from .base import Role
from .converted import before_conversion
from .hook import Hook
from .layer_roles import structural_roles
from .remembered import Inputs, inputs_of, specs_of
from .rounded import lost_zeros
from .trace import Found, TracedGraph, trace
from .weight_path import LOSES_ZEROS

_log = logging.getLogger(__name__)
_traced: weakref.WeakKeyDictionary[nn.Layer, TracedGraph] = weakref.WeakKeyDictionary()  # also for reports


class FoundRoles:
    """Role and readings of each param, in the order in which equal scores fall.

    Args:
        model: the Layer.
        tensors: its params and buffers by name.
        input_spec: InputSpecs to trace it with; None: an earlier trace of the Layer will do, or none.

    Attributes:
        trace: last trace of the Layer, whoever asked for it; None before the first.
        inputs: what the Layer was called with, where that told the roles; None where nobody waited for it.

    Raises:
        ValueError: The Layer cannot be traced.
    """

    def __init__(self, model: nn.Layer, tensors: Mapping[str, Tensor], input_spec: Sequence[Any] | None) -> None:
        self._model, self._tensors = model, dict(tensors)
        self.inputs: Inputs = None
        self._called_with: Inputs = None  # by a first forward that was waited for, until it is made use of
        self._waiting: list[Any] = []  # the hook that waits for it
        if input_spec is not None:
            self._trace(input_spec)
        self._find()

    def _trace(self, input_spec: Sequence[Any]) -> None:
        names = {tensor: name for name, tensor in self._tensors.items()}
        _traced[self._model] = trace(self._model, names, input_spec)

    def _find(self) -> None:
        """By the last trace, and for what it does not have, by the layers."""
        self.trace = _traced.get(self._model)
        self._roles: dict[str, Found] = {} if self.trace is None else self.trace.roles()
        if not self._roles.keys() >= self._tensors.keys():
            names = {tensor: name for name, tensor in self._tensors.items()}
            for tensor, found in structural_roles(self._model).items():
                if tensor in names:
                    self._roles.setdefault(names[tensor], found)

    def all(self) -> dict[str, Found]:
        """The roles; weights whose layer rounds them, so that zeros are lost, are "unknown"."""
        return {name: self._rounded(name) for name in self._roles}

    def _rounded(self, name: str) -> Found:
        role, readings = self._roles[name]
        lost = lost_zeros(self._tensors[name])
        return (Role("unknown", role.reader, broken=LOSES_ZEROS.format(lost)), ()) if lost else (role, readings)

    def follow(self, tensors: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> None:
        """Find roles for new params; what is known of others stays.

        Args:
            tensors: all params, those too that are gone.
            now: those that the Layer has.
        """
        self._tensors = dict(tensors)
        known = {name: found for name, found in self._roles.items() if name in tensors}
        self._find()
        new = {name: found for name, found in self._roles.items() if name in now and name not in known}
        self._roles = {**known, **new}

    # -- a first forward

    def wait_for_a_forward(self) -> None:
        """Remember what the Layer is called with first, to trace it."""
        own = weakref.ref(self)
        hook = Hook(lambda _, given, named=None: _remember(own(), given, named or {}))
        register = self._model.register_forward_pre_hook
        with_names = "with_kwargs" in inspect.signature(register).parameters  # an older Paddle 3 may not have it
        self._waiting.append(register(hook, with_kwargs=True) if with_names else register(hook))

    @property
    def can_learn(self) -> bool:
        """Whether the forward that was waited for has come, and was not made use of."""
        return self._called_with is not None

    def learn(self) -> bool:
        """Make use of that forward; whether it told anything."""
        inputs, self._called_with = self._called_with, None
        while self._waiting:
            self._waiting.pop().remove()
        try:
            return bool(inputs) and self.recall(inputs)
        except ValueError as error:
            _log.warning("what layers do not tell stays dense: %s", error)
            return False

    def recall(self, inputs: Inputs) -> bool:
        """Trace the Layer with inputs that were remembered, if it was not traced; whether that was so.

        Raises:
            ValueError: They are none, or it cannot be traced with them.
        """
        if self.trace is not None:
            return False
        try:
            specs = specs_of(inputs)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the state is not one of a pruner: its inputs make no sense ({error}).") from error
        self._trace(specs)
        self._find()
        self.inputs = inputs
        return True


def _remember(roles: FoundRoles | None, given: Sequence[Any], named: Mapping[str, Any]) -> None:
    if roles is None or roles._called_with is not None or roles.trace is not None:
        return
    try:
        roles._called_with = inputs_of(before_conversion(roles._model), given, named)
    except (TypeError, ValueError) as error:
        roles._called_with = []  # which cannot be traced either, and is said once
        _log.warning("the model cannot be traced as it is called: %s; give `input_spec`", error)
