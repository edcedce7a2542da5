# SPDX-License-Identifier: Apache-2.0
"""Our own safetensors files: the header is read, and the file refused unless it is of our format and not too new."""

from __future__ import annotations

import safetensors

from .atomic import check_readable

_BEGIN = 9  # bytes: how long the header is, in eight, and its first


def read_header(path: str, *, what: str, writer: str, format: str, version: int, advice: str) -> dict[str, str]:
    """The metadata of a file; its checksum is the caller's to compare.

    Args:
        path: the file.
        what: what it should be, for the error: "a compressed model".
        writer: what writes such files.
        format: the word of our format.
        version: the newest version that can be read.
        advice: what to do about a file that is not whole.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, a newer version, or not a whole safetensors file.
    """
    check_readable(path)
    with open(path, "rb") as file:
        begin = file.read(_BEGIN)
    if len(begin) == _BEGIN and not begin.endswith(b"{"):
        raise ValueError(
            f"{path} is not {what}: it is not a whole safetensors file, and does not begin as one; "
            f"give what `{writer}` has written."
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); {advice}.") from error
    if header.get("format") != format:
        raise ValueError(f"{path} is not {what}, but {header.get('format', 'something else')}.")
    found = header.get("version", "")
    if found.isdigit() and int(found) > version:
        raise ValueError(
            f"{path} has version {found}, and this package reads up to {version}; install a newer paddle_unstructured."
        )
    return header


def damaged(path: str, advice: str) -> ValueError:
    """The refusal of a file whose checksum is wrong."""
    return ValueError(f"{path} is damaged: its checksum does not fit its content; {advice}.")
