# SPDX-License-Identifier: Apache-2.0
"""Paddle's `.pdparams` files: a pickled dict of arrays, read without running what it says."""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO, Mapping

import numpy as np

from .. import arguments
from ..arguments import StrPath
from .atomic import check_readable

_NAMES = "StructuredToParameterName@@"  # what paddle.save adds to a state_dict: Paddle's own names of its tensors
_MAKE: Any = np.empty(0).__reduce__()[0]  # numpy has moved it over the years


def _reconstruct(kind: Any, shape: Any, dtype: Any) -> Any:
    """An empty array, as pickles begin one: what they say of another shape would be memory that nothing fills."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError(f"it begins an array of shape {shape!r}, and not of (0,)")
    return _MAKE(kind, shape, dtype)


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("__builtin__", "bytes"): bytes,
}  # no bytes, in protocol 2


class _Unpickler(pickle.Unpickler):
    """Makes arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # bytes, as protocol 2 writes them
            return lambda text, encoding="latin1": text.encode("latin1")
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return _ALLOWED[module, name]


def named(path: StrPath) -> str:
    """The name of a `.pdparams` file that may be given without its ending."""
    file = arguments.path("path", path)
    return file if file.endswith(".pdparams") else file + ".pdparams"


def load(file: str) -> dict[str, np.ndarray]:
    """The arrays of a `.pdparams` file of `paddle.static.save`, or of `paddle.save(model.state_dict())`, by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no dict of arrays, or damaged. No code in it is run.
    """
    check_readable(file)
    with open(file, "rb") as stream:
        try:
            loaded = _Unpickler(stream, encoding="latin1").load()
        except Exception as error:  # whatever the unpickler meets in a file that is not whole
            raise ValueError(
                f"{file} must be a .pdparams file as paddle.static.save writes it, but cannot be read: "
                f"{error!r}; use an older checkpoint."
            ) from error
        more = stream.read(1)
    strange = [f"a {type(loaded).__name__}"]
    if isinstance(loaded, dict):
        if isinstance(loaded.get(_NAMES), dict):
            del loaded[_NAMES]
        strange = [
            name for name, array in loaded.items() if not isinstance(name, str) or not isinstance(array, np.ndarray)
        ]
    if strange or more:
        raise ValueError(
            f"{file} must be a .pdparams file as paddle.static.save writes it: a dict of arrays by name, "
            f"but it holds {', '.join(map(repr, strange[:3])) or 'more than that'}; save it with "
            "paddle.static.save."
        )
    return dict(loaded)


def dump(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as `paddle.static.save` does; no second copy of them is made."""
    pickler = pickle.Pickler(stream, protocol=4)
    pickler.fast = True  # without a memo, which would hold the bytes of every array until the end
    pickler.dump(dict(arrays))
