# SPDX-License-Identifier: Apache-2.0
"""The C library seen from Python: a plan and its arrays in, numpy in and out. Needs no Paddle."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import warnings
from typing import Any, Sequence

import numpy as np

from ..arguments import WrongKind, shown, whole
from .build import kernel_library

_DTYPES = {"float32": 0, "int16": 1, "int32": 2, "int8": 3}
_ERROR_SIZE = 2048
_LARGEST = float(np.finfo(np.float32).max)
MOST_THREADS = 256  # of one run
_FIRST_LINE_OF_VERSION_1 = "paddle_unstructured plan 1\n"

_logger = logging.getLogger(__name__)


class _Array(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int32), ("count", ctypes.c_int64), ("data", ctypes.c_void_p)]


class _Shape(ctypes.Structure):
    _fields_ = [
        ("channels", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("rank", ctypes.c_int32),
    ]


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernels, loaded once per process."""
    lib = ctypes.CDLL(str(kernel_library()))
    size, pointer, text = ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in [
        ("pu_model_create", pointer, [text, ctypes.POINTER(_Array), ctypes.c_int32, ctypes.c_int32, text, size]),
        ("pu_model_free", None, [pointer]),
        ("pu_model_isa", text, [pointer]),
        ("pu_model_isa_int8", text, [pointer]),
        ("pu_model_input", _Shape, [pointer]),
        ("pu_model_output_count", ctypes.c_int32, [pointer]),
        ("pu_model_infer", ctypes.c_int32, [pointer, size, size, ctypes.POINTER(_Shape), text, size]),
        ("pu_model_run", ctypes.c_int32, [pointer, pointer, size, size, size, ctypes.POINTER(pointer), text, size]),
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
        shape = self._library.pu_model_input(self._model)
        self.isa: str = self._library.pu_model_isa(self._model).decode()
        self.isa_int8: str = self._library.pu_model_isa_int8(self._model).decode()
        self.rank, self.channels = int(shape.rank), int(shape.channels)
        self._outputs = int(self._library.pu_model_output_count(self._model))

    def __del__(self) -> None:
        if self._model:
            self._library.pu_model_free(self._model)

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """From [n, channels, height, width] (or [n, channels]) to the outputs; from any number of threads at once.

        Raises:
            ValueError: The input does not fit, or has a number that float32 does not hold.
            TypeError: It is not an array of real numbers.
        """
        x = self._checked(x)
        height, width = x.shape[2:] if self.rank == 4 else (1, 1)
        outputs = [np.empty((len(x), *shape), np.float32) for shape in self._shapes(height, width)]
        pointers = (ctypes.c_void_p * len(outputs))(*[output.ctypes.data for output in outputs])
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        if self._library.pu_model_run(self._model, x.ctypes.data, len(x), height, width, pointers, error, _ERROR_SIZE):
            raise ValueError(error.value.decode())
        return outputs

    def _checked(self, x: Any) -> np.ndarray:
        x = _as_float32(x)
        if x.ndim != self.rank or x.shape[1] != self.channels or 0 in x.shape:
            wanted = [f"{self.channels}"] + ["height", "width"] * (self.rank == 4)
            raise ValueError(f"the input must be float32 of shape [n, {', '.join(wanted)}], got {list(x.shape)}.")
        return np.asarray(x)

    def _shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        shapes = (_Shape * self._outputs)()
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        if self._library.pu_model_infer(self._model, height, width, shapes, error, _ERROR_SIZE):
            raise ValueError(error.value.decode())
        return [(s.channels, s.height, s.width) if s.rank == 4 else (s.channels,) for s in shapes]


def _as_float32(x: Any) -> np.ndarray:
    """Real numbers of any type as float32 in C order."""
    if isinstance(x, np.ma.MaskedArray):
        raise WrongKind("the input must be numbers everywhere, got a masked array; give x.filled(...).")
    try:
        given = np.asarray(x)
    except Exception as error:
        raise WrongKind(f"the input must be an array of numbers, got {shown(x)}: {error}.") from error
    if given.dtype.kind not in "fiub":
        raise WrongKind(f"the input must be real numbers, got an array of {given.dtype}; convert it to float32.")
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(given, np.float32)
    if given.dtype.itemsize > 4 and given.dtype.kind == "f":
        lost = np.isinf(numbers) & np.isfinite(given)
        if lost.any():
            raise ValueError(f"the input must fit float32, at most {_LARGEST:.3g}, got {given[lost][0]:g}; scale it.")
    return np.asarray(numbers)


def _described(arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], Any]:
    """The arrays laid out in C order, kept alive by the caller, and their description for the library."""
    kept = [np.ascontiguousarray(array) for array in arrays]
    for array in kept:
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"parameters must be float32, int8, int16 or int32, got {array.dtype}.")
    return kept, (_Array * len(kept))(*[_Array(_DTYPES[a.dtype.name], a.size, a.ctypes.data) for a in kept])
