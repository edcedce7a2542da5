# SPDX-License-Identifier: Apache-2.0
"""Two files, one model: the last words of a `.json` say which `.pdiparams` was written with it. Paddle skips them.

…,"paddle_unstructured":{"pdiparams_sha256":"64 hex digits"}}
"""

from __future__ import annotations

import hashlib
import os
import re

SHA256_OF_PARAMS = "pdiparams_sha256"  # the word for it, in files that belong to a model
_STAMP = re.compile(rb',"paddle_unstructured":\{"pdiparams_sha256":"([0-9a-f]{64})"\}\}\s*\Z')
_LONGEST = 256  # bytes from the end that hold it


def stamp(program: str, params: str) -> None:
    """Write into a `.json` file which `.pdiparams` belongs to it, in place of what it said before."""
    with open(program, "rb") as stream:
        text = stream.read().rstrip()
    found = _STAMP.search(text, max(0, len(text) - _LONGEST))
    text = text[: found.start()] if found else text[:-1]  # without the last brace
    with open(program, "wb") as stream:
        stream.write(text + b',"paddle_unstructured":{"pdiparams_sha256":"' + sha256(params).encode() + b'"}}')


def is_stamped(program: str) -> bool:
    """Whether a `.json` file says which `.pdiparams` belongs to it."""
    return _stamped(program) is not None


def check(program: str, params: str) -> None:
    """Raise ValueError if the `.json` says that another `.pdiparams` belongs to it; says which of the two is older."""
    stamped = _stamped(program)
    if stamped is None or stamped == sha256(params):
        return
    apart = os.stat(program).st_mtime_ns - os.stat(params).st_mtime_ns
    older = f"{params if apart > 0 else program} is the older of the two" if apart else "they are of one age"
    raise ValueError(
        f"{params} does not hold the weights that {program} was written with, or is damaged ({older}); write or copy "
        "both files again."
    )


def _stamped(program: str) -> str | None:
    with open(program, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LONGEST))
        found = _STAMP.search(stream.read())
    return found[1].decode() if found else None


def sha256(file: str) -> str:
    """The digest of a file, in 64 hex digits."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
