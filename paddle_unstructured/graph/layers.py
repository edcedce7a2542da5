# SPDX-License-Identifier: Apache-2.0
"""An nn.Layer: its params, its masks, and the optimizers that train it."""

from __future__ import annotations

import contextlib
import logging
import weakref
from operator import is_
from typing import Any, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn

from .. import arguments
from ..arguments import StrPath
from ..formats import pdparams
from .base import WEIGHT_ROLES, Param, check_prunable, is_range
from .found_roles import FoundRoles
from .in_place import mask_
from .program import dtype_name, misfits
from .remembered import Inputs
from .trace import MASK, TracedGraph, on_host
from .watched import kept_by, master_weight, trained_by, unwatch, watch

_log = logging.getLogger(__name__)
Link = tuple[Mapping[str, Any], str, Any]
_STATE = "optimizer: "  # goes before the names of what an optimizer keeps


class LayerGraph:
    """The seam between the pruner and one nn.Layer.

    Masks are attributes of the parameters, and in no `state_dict()`. Params have the names of
    `named_parameters()`.

    Args:
        model: The Layer; of a DataParallel, the one inside.
        input_spec: InputSpecs to trace it with; None: roles are those of an earlier trace, or told by the layers that
            hold the parameters.

    Raises:
        ValueError: It has no parameters, cannot be traced, or Paddle is in static mode.
    """

    scope: None = None
    place: None = None

    def __init__(self, model: nn.Layer, input_spec: Sequence[Any] | None = None) -> None:
        check_dynamic("an nn.Layer is to be pruned")
        self.program: nn.Layer = model._layers if isinstance(model, paddle.DataParallel) else model
        self._tensors = _persistable(self.program)
        if not self._tensors:
            raise ValueError(f"the model must have parameters, and {type(model).__name__} has none.")
        self._roles = FoundRoles(self.program, self._tensors, input_spec)
        self._links: list[Link] = []  # from the model to what is masked
        self._known = _held(self.program)
        self._masked: list[str] = []
        self._unwatched: list[str] = []  # those of them that no optimizer trains
        self._others: dict[str, Tensor] = {}  # what is neither param nor mask: shadows, accumulators of criteria
        self._tied: dict[str, str] = {}  # shadow -> param
        self._optimizers: list[Any] = []
        self._is_attached = False
        _alive.add(self)

    @property
    def trace(self) -> TracedGraph | None:
        """The last trace of the Layer, whoever asked for it."""
        return self._roles.trace

    @property
    def inputs(self) -> Inputs:
        """What the Layer was called with, where a forward or a state told what params are for; else None."""
        return self._roles.inputs

    def wait_for_a_forward(self) -> None:
        """If layers do not tell what all weights are for: remember what the model is called with first, to trace it."""
        if self.trace is None and any(param.is_unfollowed for param in self.params()):
            self._roles.wait_for_a_forward()

    def recall(self, inputs: Inputs) -> None:
        """Trace the Layer with inputs that were remembered.

        Raises:
            ValueError: They are none, or it cannot be traced with them.
        """
        if self._roles.recall(inputs):
            self._is_attached = False

    @property
    def is_attached(self) -> bool:
        for held, name, was in self._links:
            if held.get(name) is not was:
                return False
        return self._is_attached and not self._roles.can_learn

    # -- a model that changes

    def follow(self) -> bool:
        """Know the params that the model has now: a parameter in the place of a pruned one gets its mask.

        Returns:
            Whether the model was changed since this was asked last.

        Raises:
            ValueError: It has another shape; nothing is changed.
        """
        held = _held(self.program)
        if len(held) == len(self._known) and all(map(is_, held, self._known)):
            return False
        now, before = _persistable(self.program), {name: self._tensors[name] for name in self._masked}
        new = {name: now[name] for name, tensor in before.items() if name in now and now[name] is not tensor}
        for name, tensor in new.items():
            if tensor.shape != before[name].shape:
                raise ValueError(
                    f"a pruned param must keep its shape, but another one stands in the place of {name}, of shape "
                    f"{[*tensor.shape]} where it was {[*before[name].shape]}; make a new pruner for the model as it is."
                )
        gone = {name: tensor for name, tensor in before.items() if name not in now}
        self._tensors, self._known = {**now, **gone}, held
        self._roles.follow(self._tensors, now)
        for name, tensor in new.items():
            if not hasattr(tensor, MASK):
                setattr(tensor, MASK, getattr(before[name], MASK).cast(tensor.dtype))
        self._apply([*new])
        if new:
            _log.warning("other parameters are in the places of %s now; the masks hold for these", ", ".join(new))
        if gone:
            _log.warning("%s: not in the model any more, and still counted by its pruner", ", ".join(gone))
        self._masked_are(self._masked)
        return True

    def _masked_are(self, names: Iterable[str]) -> None:
        self._masked, self._is_attached = [*names], False
        self._links = _links(self.program, self._masked_tensors())

    # -- what is there

    def params(self) -> list[Param]:
        if self._roles.can_learn and self._roles.learn():
            self._is_attached = False
        frozen = self._frozen()
        found = []
        for name, (role, readings) in self._roles.all().items():
            if is_range(name) and role.role not in WEIGHT_ROLES:  # of quantize_aware; a Program lists none either
                continue
            tensor, why = self._tensors[name], frozen.get(name, "")
            found.append(Param.of(name, tensor.shape, dtype_name(tensor.dtype), role, readings, frozen=why))
        return found

    def _frozen(self) -> dict[str, str]:
        """Params that are not trained while others are, by name, and why."""
        trained = [tensor for optimizer in self._optimizers for tensor in trained_by(optimizer)]
        stopped = {name for name, tensor in self._tensors.items() if tensor.stop_gradient}
        why = dict.fromkeys(stopped, "it is not trained (stop_gradient)")
        if trained:
            held = set(trained)
            lost = (name for name, tensor in self._tensors.items() if tensor not in held)
            why.update(dict.fromkeys(lost, "the optimizer does not train it"))
        parameters = {name for name, _ in self.program.named_parameters()}
        return why if parameters - why.keys() else {}

    def names_of(self, word: Any) -> list[str]:
        """Also of a layer's `full_name()`, as PaddleSlim's skip functions give it."""
        if not isinstance(word, str):
            return [name for name, tensor in self._tensors.items() if tensor is word] or [str(word)]
        if word in self._tensors:
            return [word]
        layers = [layer for layer in self.program.sublayers(include_self=True) if layer.full_name() == word]
        own = {tensor for layer in layers for tensor in layer.parameters(include_sublayers=False)}
        return [n for n, tensor in self._tensors.items() if tensor in own or tensor.name == word] or [word]

    def key_of(self, param: Param) -> int:
        return id(self._tensors[param.name])

    def tensor_name(self, param: Param) -> str:
        """What Paddle calls the param in the Programs that it traces."""
        return str(self._tensors[param.name].name)

    def tensor(self, name: str) -> Tensor:
        """The parameter or buffer of that name."""
        return self._tensors[name]

    def owners(self) -> dict[str, nn.Layer]:
        """The layer that holds a param, by its name."""
        layers = self.program.sublayers(include_self=True)
        own = (
            (layer, [*layer.parameters(include_sublayers=False), *layer.buffers(include_sublayers=False)])
            for layer in layers
        )
        holds = {tensor: layer for layer, tensors in own for tensor in tensors}
        return {name: holds[tensor] for name, tensor in self._tensors.items()}

    def norm_scale(self, param: Param) -> str | None:
        if self.trace is None:
            raise ValueError(
                f"what stands behind {param.name} is known once the model is traced, and NormScale has to know the "
                "norm there; give `input_spec`."
            )
        return self.trace.norm_scale(param)

    # -- optimizers

    def watch(self, optimizer: Any) -> None:
        """Let the next `wrap` or `attach` end every step of the optimizer with masks.

        Raises:
            TypeError: It is no optimizer of dynamic mode.
            ValueError: It trains no parameter of the Layer.
        """
        held = set(trained_by(optimizer))
        if not any(tensor in held for tensor in self._tensors.values()):
            raise ValueError(
                f"`optimizer` must train parameters of the model, and the {len(held)} of this "
                f"{type(optimizer).__name__} are none of them; make it with `parameters=model.parameters()`."
            )
        if not any(known is optimizer for known in self._optimizers):
            self._optimizers.append(optimizer)
            self._is_attached = False

    def unwatch(self) -> None:
        """Leave the optimizers as they were."""
        for optimizer in self._optimizers:
            unwatch(optimizer, self._after_step)
        self._optimizers, self._is_attached = [], False

    def wrap(self) -> None:
        """End every step of the watched optimizers with masks from now on."""
        for optimizer in self._optimizers:
            watch(optimizer, self._after_step)

    def attach(self) -> None:
        """Wrap optimizers that are new; zero what none of them trains, since nobody else would."""
        check_dynamic("an nn.Layer is pruned")
        if not self._is_attached:
            self.wrap()
            held = {tensor for optimizer in self._optimizers for tensor in trained_by(optimizer)}
            self._unwatched = [name for name in self._masked if self._tensors[name] not in held]
            self._is_attached = True
        self._apply(self._unwatched)

    def trainers(self, param: Param) -> list[Any]:
        """The watched optimizers that train a param."""
        tensor = self._tensors[param.name]
        return [one for one in self._optimizers if any(tensor is each for each in trained_by(one))]

    def _after_step(self, optimizer: Any) -> None:
        self._apply(self._masked, optimizer)

    def _apply(self, names: Sequence[str], optimizer: Any = None) -> None:
        """weight = weight * mask, for these params, their shadows, and what the optimizer keeps of them in float32."""
        with paddle.no_grad():
            for name in names:
                tensor, mask = self._tensors[name], self._mask(name)
                mask_(tensor, mask)
                master = master_weight(optimizer, tensor) if optimizer is not None else None
                if master is not None:
                    mask_(master, mask)
            for shadow, name in self._tied.items():
                if name in names:
                    mask_(self._others[shadow], self._mask(name))

    # -- masks

    def declare_masks(self, params: Sequence[Param]) -> list[Param]:
        """A mask that another pruner works on, or that the weights obey, stays as it is; all others become ones."""
        check_prunable(params)
        kept = [param for param in params if self._keeps_mask(param)]
        for param in params:
            if param not in kept:
                setattr(self._tensors[param.name], MASK, paddle.ones_like(self._tensors[param.name]).detach())
        self._masked_are(param.name for param in params)
        return kept

    def has_mask(self, param: Param) -> bool:
        """Whether the parameter is, or was, pruned by anyone."""
        tensor = self._tensors[param.name]
        mask = getattr(tensor, MASK, None)
        return mask is not None and mask.shape == tensor.shape

    def declared_masks(self, params: Sequence[Param]) -> list[str]:
        return [param.mask_name for param in params if self.has_mask(param)]

    def _keeps_mask(self, param: Param) -> bool:
        if not self.has_mask(param):
            return False
        tensor, mask = self._tensors[param.name], self._mask(param.name)
        if any(tensor in other._masked_tensors() for other in _alive if other is not self):
            return True
        return not bool(paddle.any((tensor.detach() != 0) & (mask == 0)))

    def _masked_tensors(self) -> set[Tensor]:
        return {self._tensors[name] for name in self._masked}

    def _mask(self, name: str) -> Tensor:
        mask: Tensor = getattr(self._tensors[name], MASK)
        return mask

    def let_go(self, params: Sequence[Param]) -> None:
        gone = {param.name for param in params}
        self._masked_are(name for name in self._masked if name not in gone)

    def shadow(self, shadow: Any) -> tuple[str, Any]:
        if not isinstance(shadow, Tensor):
            raise arguments.wrong_kind("shadow", "a Tensor that follows a weight of the model", shadow)
        name = f"shadow {id(shadow)}"
        self._others[name] = shadow
        return name, shadow

    def tie(self, shadow: str, param: Param) -> bool:
        is_new = shadow not in self._tied
        self._tied[shadow] = param.name
        return is_new

    def mask(self, param: Param) -> np.ndarray:
        return np.asarray(on_host(self._mask(param.name)) != 0)

    def set_mask(self, param: Param, mask: np.ndarray) -> None:
        own = self._mask(param.name)
        paddle.assign(paddle.to_tensor(np.asarray(mask, "float32"), place=own.place).cast(own.dtype), output=own)

    # -- values

    def persistables(self) -> dict[str, Tensor]:
        masks = {f"{name}_mask": self._mask(name) for name, tensor in self._tensors.items() if hasattr(tensor, MASK)}
        return {**self._tensors, **masks, **self._optimizer_state()}

    def _optimizer_state(self) -> dict[str, Tensor]:
        """What the optimizers keep that any pruner of this Layer watches."""
        watched = [one for graph in _alive if graph.program is self.program for one in graph._optimizers]
        return {_STATE + name: tensor for optimizer in watched for name, tensor in kept_by(optimizer)}

    @contextlib.contextmanager
    def tensors(self, names: Iterable[str]) -> Iterator[Mapping[str, Tensor]]:
        check_dynamic("tensors of an nn.Layer are asked for")
        with paddle.no_grad():
            yield {name: self._find(name) for name in names}

    def _find(self, name: str) -> Tensor:
        if name in self._tensors:
            return self._tensors[name]
        if name in self._others:
            return self._others[name]
        return self._optimizer_state()[name] if name.startswith(_STATE) else self._mask(name.removesuffix("_mask"))

    def hold(self, name: str, tensor: Tensor) -> None:
        """Know a further tensor by a name."""
        self._others[name] = tensor

    def held(self, name: str) -> Tensor:
        """A further tensor."""
        return self._others[name]

    def erase(self, names: Iterable[str]) -> None:
        """Forget further tensors."""
        for name in names:
            self._others.pop(name, None)

    def is_initialized(self, name: str) -> bool:
        return bool(self._find(name)._is_initialized())

    def array(self, name: str) -> np.ndarray:
        return on_host(self._find(name))

    def stored(self, name: str) -> np.ndarray:
        return np.asarray(self._find(name).numpy())

    def store(self, name: str, array: np.ndarray) -> None:
        """Set a tensor from what `stored` gave."""
        self._find(name).set_value(array)

    def load_params(self, path: StrPath, *, partial: bool = False) -> dict[str, str]:
        """Set all params from the file of `paddle.save(model.state_dict(), path)`."""
        file = pdparams.named(path)
        arrays = pdparams.load(file)
        faults = misfits(arrays, self._tensors, file, partial=partial)
        for name in self._tensors.keys() - faults.keys():
            self._tensors[name].set_value(arrays[name])
        return faults


_alive: weakref.WeakSet[LayerGraph] = weakref.WeakSet()


def _persistable(model: nn.Layer) -> dict[str, Tensor]:
    """Parameters, and the buffers that `state_dict()` has, by the names that it gives them; each tensor once."""
    saved = set(model.state_dict().values())
    buffers = [(name, tensor) for name, tensor in model.named_buffers() if tensor in saved]
    found: dict[Tensor, str] = {}
    for name, tensor in (*model.named_parameters(), *buffers):
        found.setdefault(tensor, name)
    return {name: tensor for tensor, name in found.items()}


def _held(model: nn.Layer) -> list[Any]:
    """The layers and parameters that a model holds, once for each place."""
    layers = model.sublayers(include_self=True)
    return [held for layer in layers for place in (layer._sub_layers, layer._parameters) for held in place.values()]


def _links(layer: nn.Layer, wanted: Collection[Tensor]) -> list[Link]:
    """(where it is held, its name there, what it is) of these parameters of a layer, and of what leads to them."""
    found: list[Link] = [(layer._parameters, name, own) for name, own in layer._parameters.items() if own in wanted]
    for name, child in layer._sub_layers.items():
        below = [] if child is None else _links(child, wanted)
        found += [(layer._sub_layers, name, child), *below] if below else []
    return found


def check_dynamic(doing: str) -> None:
    """Raise ValueError in static mode, where an operation on an eager tensor ends the process."""
    if not paddle.in_dynamic_mode():
        raise ValueError(f"Paddle is in static mode, and {doing}; call paddle.disable_static() first.")
