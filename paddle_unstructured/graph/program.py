# SPDX-License-Identifier: Apache-2.0
"""A static Program of Paddle 3 (PIR): its params, its masks, and its variables as eager tensors."""

from __future__ import annotations

import contextlib
from typing import Any, Iterable, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor
from paddle.base.libpaddle.pir import reset_insertion_point_to_end
from paddle.utils import dlpack

from ..arguments import StrPath
from ..formats import bfloat16, pdparams
from .base import Param, check_prunable
from .in_place import multiply_
from .op_facts import is_learning_rate, trainers, writers
from .roles import Roles


class PirGraph:
    """The seam between the pruner and one PIR Program.

    Args:
        program: The Program; it is changed only by `declare_masks` and `attach`.
        scope: Where its variables live.
        place: The device.
    """

    def __init__(self, program: Any, scope: Any, place: Any) -> None:
        self.program, self.scope, self.place = program, scope, place
        self._values = {value.name: value for value in program.global_block().all_parameters()}
        self._masks: dict[str, Any] = {}
        self._tied: list[tuple[Any, Any]] = []  # (shadow, mask)
        self._ops_seen = -1
        self._roles: tuple[int, Roles] | None = None  # and the number of ops that they were read off

    # -- what is there

    def params(self) -> list[Param]:
        """All parameters, in the order in which the Program first reads them."""
        placed, frozen = [], self._frozen()
        self._roles = None
        roles = self._read()  # once: counting a Program's ops takes as long as it has ops
        for i, (name, value) in enumerate(reversed(self._values.items())):  # PIR lists the newest parameter first
            if is_learning_rate(value):  # a scheduler's rate is listed among the parameters
                continue
            role, place, readings = roles.of(value)
            dtype, why = dtype_name(value.dtype), frozen.get(name, "")
            placed.append((place, i, Param.of(name, value.shape, dtype, role, readings, frozen=why)))
        return [param for *_, param in sorted(placed, key=lambda entry: entry[:2])]

    def _read(self) -> Roles:
        """What the ops make of values, read anew where ops have come or gone."""
        if self._roles is None or self._roles[0] != self.program.num_ops():
            self._roles = self.program.num_ops(), Roles(walk(self.program.global_block()))
        return self._roles[1]

    def _frozen(self) -> dict[str, str]:
        """Params that are not trained while others are, by name, and why; in an inference Program there are none."""
        trained = {name for name, value in self._values.items() if not is_learning_rate(value) and trainers(value)}
        if trained:
            return dict.fromkeys(self._values.keys() - trained, "the optimizer does not train it")
        if any(op.name() == "pd_op.fetch" for op in self.program.global_block().ops):
            return {}  # a saved inference model, which still says what was trained once
        stopped = {name for name, value in self._values.items() if value.stop_gradient}
        alive = {name for name in self._values.keys() - stopped if not is_learning_rate(self._values[name])}
        return dict.fromkeys(stopped, "it is not trained (stop_gradient)") if alive else {}

    def reader(self, param: Param) -> Any:
        """The first op that reads the param in its role, directly or behind ops that leave it a weight."""
        return self.readers(param)[0]

    def readers(self, param: Param) -> list[Any]:
        """All ops that read the param in its role, in their order: several where a weight is shared."""
        order = {op.id(): i for i, op in enumerate(walk(self.program.global_block()))}
        found = [op for op, role in self._read().readings(self._values[param.name]) if role.reader == param.reader]
        return sorted({op.id(): op for op in found}.values(), key=lambda op: order[op.id()])

    def norm_scale(self, param: Param) -> str | None:
        """Name of the scale of the norm that the layer's output goes into first; None if there is none."""
        value = self.reader(param).result(0)
        for _ in range(3):  # the norm, or the bias and then the norm
            following = [op for op in value.all_used_ops() if "_grad" not in op.name()]
            norm = next((op for op in following if "norm" in op.name()), None)
            if norm is not None:
                scale = norm.operand_source(norm.get_input_names().index("scale"))
                return next((name for name, v in self._values.items() if v.is_same(scale)), None)
            if len(following) != 1:
                return None
            value = following[0].result(0)
        return None

    def is_inner(self, op: Any) -> bool:
        """Whether the op stands in a block of its own: a branch or the body of a loop."""
        return all(op.id() != outer.id() for outer in self.program.global_block().ops)

    def is_made_of_params(self, value: Any) -> bool:
        """Whether a value is a parameter, or computed from parameters and constants alone."""
        return self._read().is_made_of_params(value)

    def declared_masks(self, params: Sequence[Param]) -> list[str]:
        """Masks of these params that are in the Program already."""
        wanted = {param.mask_name for param in params}
        return [name for name in map(_data_name, self.program.global_block().ops) if name in wanted]

    def names_of(self, word: Any) -> list[str]:
        return [word if isinstance(word, str) else str(word.name)]

    def key_of(self, param: Param) -> str:
        return param.mask_name

    # -- variables of the scope

    def is_initialized(self, name: str) -> bool:
        var = self.scope.find_var(name)
        return var is not None and var.get_tensor()._is_initialized()

    def array(self, name: str) -> np.ndarray:
        """A copy on the host: for reports and files, never for a training step. bfloat16 comes as float32."""
        array = self.stored(name)
        if dtype_name(self.scope.find_var(name).get_tensor()._dtype()) == "bfloat16":  # of another type: never equal
            return bfloat16.widened(array)
        return array

    def stored(self, name: str) -> np.ndarray:
        """A copy on the host as numpy has it: bfloat16 as its bits, uint16."""
        return np.array(self.scope.find_var(name).get_tensor())

    def store(self, name: str, array: np.ndarray) -> None:
        """Set a variable from what `stored` gave."""
        self.scope.var(name).get_tensor().set(np.asarray(array, order="C"), self.place)

    def put(self, name: str, numbers: np.ndarray) -> None:
        """Set a variable to numbers, rounded to its own type: the way back from `array`."""
        self.store(name, bfloat16.as_paddle(numbers, self.stored(name).dtype))

    def mask(self, param: Param) -> np.ndarray:
        """A copy of a mask on the host, bool."""
        return np.asarray(self.array(param.mask_name) != 0)

    def set_mask(self, param: Param, mask: np.ndarray) -> None:
        ones = np.uint16(0x3F80) if param.dtype == "bfloat16" else np.dtype(param.dtype).type(1)
        self.scope.find_var(param.mask_name).get_tensor().set(np.asarray(mask, order="C") * ones, self.place)

    def load_params(self, path: StrPath, *, partial: bool = False) -> dict[str, str]:
        """`set_params` from a `.pdparams` file."""
        file = pdparams.named(path)
        return self.set_params(pdparams.load(file), file, partial=partial)

    def set_params(self, arrays: Mapping[str, np.ndarray], file: str, *, partial: bool = False) -> dict[str, str]:
        """Set all params from arrays as `stored` gives them.

        Args:
            arrays: Arrays by name of param; further ones are left alone.
            file: Where they are from, for messages.
            partial: Leave a param that is missing, or does not fit, as it is.

        Returns:
            Why a param was not set, by its name; empty unless `partial`.

        Raises:
            ValueError: One is missing or does not fit, by its name and that of the file; with `partial`, all of them.
                Nothing is set.
        """
        params = {name: value for name, value in self._values.items() if not is_learning_rate(value)}
        faults = misfits(arrays, params, file, partial=partial)
        for name in (self._values.keys() & arrays.keys()) - faults.keys():
            self.store(name, arrays[name])
        return faults

    # -- masks

    def declare_masks(self, params: Sequence[Param]) -> list[Param]:
        """Give each param a mask: a persistable variable of the Program, of the param's shape and dtype.

        Masks that the Program has already stay as they are: another pruner works on it, or has. So do those that are
        only in the scope, if the weights obey all of them: another Program over the same weights is being pruned, or
        was, all of its layers or some. All others become ones. Weights need no value for that.

        Returns:
            The params whose masks stay as they are.

        Raises:
            ValueError: A param of integers: a quantized weight.
        """
        check_prunable(params)
        present = self.persistables()
        declared = set(present)
        with paddle.static.program_guard(self.program):
            reset_insertion_point_to_end()
            for param in params:
                if param.mask_name not in present:
                    present[param.mask_name] = persistable_data(param.mask_name, self._values[param.name])
                self._masks[param.name] = present[param.mask_name]
        there = [param for param in params if self.is_initialized(param.mask_name)]
        found = [param for param in there if param.mask_name not in declared]
        kept = there if all(map(self._obeys_mask, found)) else [param for param in there if param not in found]
        for param in params:  # not by a startup Program: one that reads masks of before would crash at its next run
            if param not in kept:
                self.scope.var(param.mask_name)
                self.set_mask(param, np.ones(param.shape, bool))
        return kept

    def _obeys_mask(self, param: Param) -> bool:
        if not self.is_initialized(param.name):
            return False
        mask = self.mask(param)
        return mask.shape == param.shape and not self.array(param.name)[~mask].any()

    @property
    def is_attached(self) -> bool:
        """Whether `attach` has seen the Program as it is."""
        return bool(self.program.num_ops() == self._ops_seen)

    def let_go(self, params: Sequence[Param]) -> None:
        """Forget masks that were declared; their variables stay, and nothing is multiplied by them."""
        for param in params:
            del self._masks[param.name]

    def attach(self) -> None:
        """End the Program with weight = weight * mask, after whatever writes weights in it.

        Idempotent, and nearly free while nobody appends ops. A Program that writes no weight (inference, or training
        before `minimize`) is left alone.
        """
        if self.is_attached:
            return
        if self._has_unmasked_writes():
            with paddle.static.program_guard(self.program):
                reset_insertion_point_to_end()
                for value, mask in self._masked():
                    _multiply_in_place(value, mask)
        self._ops_seen = self.program.num_ops()

    def shadow(self, shadow: Any) -> tuple[str, Any]:
        name = shadow if isinstance(shadow, str) else str(shadow.name)
        return name, self.persistable(name)

    def tie(self, shadow: str, param: Param) -> bool:
        """Let a persistable variable that follows a weight be masked as the weight is; whether that is new."""
        pair = (self.persistable(shadow), self._masks[param.name])
        if any(value.is_same(pair[0]) for value, _ in self._masked()):
            return False
        self._tied.append(pair)
        self._ops_seen = -1
        return True

    def persistables(self) -> dict[str, Any]:
        """All persistable variables by name: params, masks, what optimizers keep, learning rates."""
        made = [op for op in self.program.global_block().ops if _data_name(op) and op.result(0).persistable]
        return {**self._values, **{_data_name(op): op.result(0) for op in made}}

    def persistable(self, name: str) -> Any:
        """The Program's persistable variable of that name, or None."""
        if name in self._values:
            return self._values[name]
        return next((op.result(0) for op in self.program.global_block().ops if _data_name(op) == name), None)

    def _masked(self) -> list[tuple[Any, Any]]:
        return [(self._values[name], mask) for name, mask in self._masks.items()] + self._tied

    def _has_unmasked_writes(self) -> bool:
        """Whether an op writes a masked value and none of our products with its mask comes after it."""
        order = {op.id(): i for i, op in enumerate(walk(self.program.global_block()))}
        for value, mask in self._masked():
            found = writers(value)
            if found and not _is_mask_product(max(found, key=lambda op: order[op.id()]), mask):
                return True
        return False

    # -- eager work on what the Program computes with

    @contextlib.contextmanager
    def tensors(self, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
        """Variables of the scope as eager tensors on the same memory: what is written into them in place is stored.

        Inside the `with`, Paddle is in dynamic mode on the graph's device and records no gradients. No Program is built
        and none runs, so the first call is as fast as any. The tensors are not to be kept: a later run of a Program may
        give its variables other memory.

        Args:
            names: Initialised variables, each once.

        Yields:
            Tensors by name.
        """
        with paddle.base.dygraph.guard(self.place), paddle.no_grad():
            yield {name: self._shared(name) for name in names}

    def _shared(self, name: str) -> Tensor:
        stored = self.scope.find_var(name).get_tensor()
        if not stored._place()._equals(self.place):  # an op would move it, and write into the copy
            stored.set(self.stored(name), self.place)
        return dlpack.from_dlpack(stored._to_dlpack())


def _multiply_in_place(value: Any, mask: Any) -> None:
    # Some in-place ops mark their target as stop_gradient, and a later `minimize` would leave such a weight untrained.
    stop_gradient = value.stop_gradient
    multiply_(value, mask if mask.dtype == value.dtype else mask.cast(value.dtype))
    value.stop_gradient = stop_gradient


def _is_mask_product(op: Any, mask: Any) -> bool:
    if op.name() != "pd_op.multiply_":
        return False
    factor = op.operand_source(1)
    cast = factor.get_defining_op()
    return bool(factor.is_same(mask) or (cast.name() == "pd_op.cast" and cast.operand_source(0).is_same(mask)))


def persistable_data(name: str, like: Any) -> Any:
    value = paddle._pir_ops.data(name, list(like.shape), like.dtype, paddle.base.core.Place())
    value.persistable = True
    return value


def walk(block: Any) -> Iterator[Any]:
    for op in block.ops:
        yield op
        for inner in op.blocks():
            yield from walk(inner)


def _data_name(op: Any) -> str | None:
    return op.attrs()["name"] if op.name() == "pd_op.data" else None


def misfits(arrays: Mapping[str, np.ndarray], params: Mapping[str, Any], file: str, *, partial: bool) -> dict[str, str]:
    """Why arrays of a file cannot be the values of params, by name.

    Raises:
        ValueError: There is such a param; with `partial`, all are.
    """
    faults = {
        name: f"{_described(arrays[name])} there, {_described(value)} here" if name in arrays else "not there"
        for name, value in params.items()
        if not (name in arrays and _fits(arrays[name], value))
    }
    if faults and (not partial or len(faults) == len(params)):
        raise ValueError(
            f"{file} lacks {', '.join(faults)}, or has it in another shape or dtype; it is of another model."
            + ("" if partial else " `partial=True` loads the rest.")
        )
    return faults


def _described(tensor: Any) -> str:
    return f"{dtype_name(tensor.dtype)} {list(tensor.shape)}"


def _fits(array: Any, value: Any) -> bool:
    dtype = dtype_name(value.dtype).replace("bfloat16", "uint16")  # its bits, as numpy holds it
    return tuple(np.shape(array)) == tuple(value.shape) and np.asarray(array).dtype == np.dtype(dtype)


def dtype_name(dtype: Any) -> str:
    return str(dtype).split(".")[-1]
