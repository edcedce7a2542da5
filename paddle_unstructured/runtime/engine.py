# SPDX-License-Identifier: Apache-2.0
"""The C library seen from Python: a plan and its arrays in, numpy in and out. Needs no Paddle."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import warnings
from typing import Any, Mapping, Sequence
from urllib.parse import unquote

import numpy as np

from ..arguments import whole
from .border import DTYPES, Input, in_order
from .build import kernel_library

_DTYPES = {"float32": 0, "int16": 1, "int32": 2, "int8": 3}  # of parameters
_NAMES = {number: name for name, number in DTYPES.items()}
_ERROR_SIZE = 2048
MOST_THREADS = 256  # of one run
_FIRST_LINE_OF_VERSION_1 = "paddle_unstructured plan 1\n"

_logger = logging.getLogger(__name__)


class _Array(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int32), ("count", ctypes.c_int64), ("data", ctypes.c_void_p)]


class _Tensor(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int32), ("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * 8)]


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernels, loaded once per process."""
    lib = ctypes.CDLL(str(kernel_library()))
    size, pointer, text = ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
    pointers, tensors = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_Tensor)
    for name, result, arguments in [
        ("pu_model_create", pointer, [text, ctypes.POINTER(_Array), ctypes.c_int32, ctypes.c_int32, text, size]),
        ("pu_model_free", None, [pointer]),
        ("pu_model_isa", text, [pointer]),
        ("pu_model_isa_int8", text, [pointer]),
        ("pu_model_isa_bf16", text, [pointer]),
        ("pu_model_input_count", ctypes.c_int32, [pointer]),
        ("pu_model_input_name", text, [pointer, ctypes.c_int32]),
        ("pu_model_input_axes", text, [pointer, ctypes.c_int32]),
        ("pu_model_input", _Tensor, [pointer, ctypes.c_int32]),
        ("pu_model_output_count", ctypes.c_int32, [pointer]),
        ("pu_model_infer", ctypes.c_int32, [pointer, tensors, ctypes.c_int32, tensors, text, size]),
        ("pu_model_run", ctypes.c_int32, [pointer, tensors, pointers, ctypes.c_int32, pointers, text, size]),
        ("pu_model_step_count", ctypes.c_int32, [pointer]),
        (
            "pu_model_profile",
            ctypes.c_int32,
            [pointer, tensors, pointers, ctypes.c_int32, pointers, ctypes.POINTER(size), text, size],
        ),
        ("pu_digest", ctypes.c_uint64, [text, ctypes.POINTER(_Array), ctypes.c_int32, text, size]),
    ]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def signed(plan: str, arrays: Sequence[np.ndarray]) -> str:
    """The plan with the digest that it must have: over all its lines but the first two, and over the arrays.

    Raises:
        ValueError: The plan cannot be read.
    """
    first, _, lines = plan.split("\n", 2)
    kept, described = _described(arrays)
    error = ctypes.create_string_buffer(_ERROR_SIZE)
    found = library().pu_digest(plan.encode(), described, len(kept), error, _ERROR_SIZE)
    if error.value:
        raise ValueError(error.value.decode())
    return f"{first}\ncontents digest={found:016x}\n{lines}"


def warn_of_old_names() -> None:
    """Warn of an environment variable that has another name now."""
    if os.environ.get("PADDLE_UNSTRUCTURED_ISA8"):
        warnings.warn(
            "PADDLE_UNSTRUCTURED_ISA8 is PADDLE_UNSTRUCTURED_ISA_INT8 now; the old name works for this release.",
            FutureWarning,
            stacklevel=3,
        )


class Engine:
    """A net that is loaded and checked.

    Args:
        plan: What it computes, in the language of csrc/README.md.
        arrays: Its parameters: float32, int8, int16 and int32. They are copied.
        threads: threads of one run, 1 to 256.

    Raises:
        ValueError: The plan or the arrays are damaged, or `threads` is out of range; nothing has run then.
        TypeError: `threads` is no int.
    """

    def __init__(self, plan: str, arrays: Sequence[np.ndarray], *, threads: int = 1) -> None:
        self._model = None
        self._library = library()
        warn_of_old_names()
        threads = whole("threads", threads, least=1, most=MOST_THREADS)
        kept, described = _described(arrays)
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        self._model = self._library.pu_model_create(plan.encode(), described, len(kept), threads, error, _ERROR_SIZE)
        if not self._model:
            raise ValueError(error.value.decode())
        if plan.startswith(_FIRST_LINE_OF_VERSION_1):
            _logger.warning(
                "this model was converted by an earlier version: whether its plan was changed since cannot be told; "
                "convert it again"
            )
        self.isa: str = self._library.pu_model_isa(self._model).decode()
        self.isa_int8: str = self._library.pu_model_isa_int8(self._model).decode()
        self.isa_bf16: str = self._library.pu_model_isa_bf16(self._model).decode()
        self.inputs = tuple(self._input(i) for i in range(self._library.pu_model_input_count(self._model)))
        self._outputs = int(self._library.pu_model_output_count(self._model))

    def __del__(self) -> None:
        if self._model:
            self._library.pu_model_free(self._model)

    def run(self, *inputs: np.ndarray | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """From the inputs, in order or in one dict by name, to the outputs; from any number of threads at once.

        Raises:
            ValueError: An input does not fit, or has a number that its dtype does not hold.
            TypeError: It is not an array of real numbers.
        """
        return self._outputs_of(inputs)

    def profile(self, *inputs: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
        """One run: seconds that each step took, one for each node of the plan; 0 where a later step did its work too.

        Raises:
            ValueError, TypeError: as `run`.
        """
        taken = np.zeros(self._library.pu_model_step_count(self._model), np.int64)
        self._outputs_of(inputs, taken)
        return np.asarray(taken * 1e-9)

    def _outputs_of(self, inputs: Sequence[Any], taken: np.ndarray | None = None) -> list[np.ndarray]:
        arrays = in_order(self.inputs, inputs)
        given = (_Tensor * len(arrays))(*[_described_tensor(array) for array in arrays])
        made = (_Tensor * self._outputs)()
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        if self._library.pu_model_infer(self._model, given, len(arrays), made, error, _ERROR_SIZE):
            raise ValueError(error.value.decode())
        outputs = [np.empty(each.dims[: each.rank], _NAMES[each.dtype]) for each in made]
        sources, targets = (
            (ctypes.c_void_p * len(each))(*[array.ctypes.data for array in each]) for each in (arrays, outputs)
        )
        words = (self._model, given, sources, len(arrays), targets)
        if taken is None:
            failed = self._library.pu_model_run(*words, error, _ERROR_SIZE)
        else:
            pointer = taken.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))
            failed = self._library.pu_model_profile(*words, pointer, error, _ERROR_SIZE)
        if failed:
            raise ValueError(error.value.decode())
        return outputs

    def _input(self, i: int) -> Input:
        tensor = self._library.pu_model_input(self._model, i)
        name = unquote(self._library.pu_model_input_name(self._model, i).decode())
        axes = self._library.pu_model_input_axes(self._model, i).decode()
        return Input(name, _NAMES[tensor.dtype], tuple(axes), tuple(tensor.dims[: tensor.rank]))


def _described_tensor(array: np.ndarray) -> _Tensor:
    return _Tensor(DTYPES[array.dtype.name], array.ndim, (ctypes.c_int64 * 8)(*array.shape))


def _described(arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], Any]:
    """The arrays laid out in C order, kept alive by the caller, and their description for the library."""
    kept = [np.ascontiguousarray(array) for array in arrays]
    for array in kept:
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"parameters must be float32, int8, int16 or int32, got {array.dtype}.")
    return kept, (_Array * len(kept))(*[_Array(_DTYPES[a.dtype.name], a.size, a.ctypes.data) for a in kept])
