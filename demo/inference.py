"""Inference models on disk: export, and a load that refuses a parameter file that is not whole."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import paddle

from checkpoints import MODEL, BadCheckpoint, State, atomic_folder, check
from programs import Classifier, parameters

ITEM_SIZES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}  # Paddle's VarType numbers → bytes


def export(folder: Path, net: Classifier, exe: paddle.static.Executor, state: State) -> None:
    """Write image → probabilities as an inference model."""
    with atomic_folder(folder) as fresh:
        prefix = str(fresh / MODEL)
        paddle.static.save_inference_model(prefix, [net.image], [net.probabilities], exe, program=net.test)
        state.write(fresh)


def find_inference(path: Path) -> Path | None:
    """Return the prefix of the inference model that `path` means, or None."""
    for prefix in (path, path.with_suffix(""), path / MODEL):
        if Path(f"{prefix}.pdiparams").is_file() and Path(f"{prefix}.json").is_file():
            return prefix
    return None


def load_inference(prefix: Path, exe: paddle.static.Executor) -> list:
    """Load an inference model: [program, names to feed, values to fetch].

    Raises:
        BadCheckpoint: the parameter file does not hold every parameter; Paddle itself may go on with
            whatever lies in memory.
    """
    file = Path(f"{prefix}.pdiparams")
    try:
        program = paddle.load(f"{prefix}.json")
    except Exception as error:  # whatever Paddle's reader meets in a file that is not its own
        raise BadCheckpoint(f"{prefix}.json must be a Program of Paddle 3, but it cannot be read: {error}") from error
    wanted = dict(sorted(parameters(program).items()))  # the order of the file, which holds no names
    found = shapes(file)
    check(file, wanted, dict(zip(wanted, found)), "export the model again")
    if len(found) > len(wanted):
        raise BadCheckpoint(f"{file} must hold {len(wanted)} variables, but holds {len(found)}; export the model again")
    return paddle.static.load_inference_model(str(prefix), exe)


def shapes(file: Path) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors that are whole in a .pdiparams file.

    Each one is: version u32, LoD levels u64 (none here), tensor version u32, size of its description i32,
    description (protobuf: type, dimensions), values.
    """
    found, at, size = [], 0, file.stat().st_size
    with open(file, "rb") as stream:
        while at < size:
            stream.seek(at)
            try:
                length = struct.unpack("<IQIi", stream.read(20))[3]
                item, shape = read_description(stream.read(length))
            except (struct.error, KeyError):  # cut in the middle, or not such a file
                break
            at += 20 + length + item * int(np.prod(shape, dtype=np.int64))
            if at > size:
                break
            found.append(shape)
    return found


def read_description(raw: bytes) -> tuple[int, tuple[int, ...]]:
    """Read protobuf field 1 (type) and the repeated field 2 (dimensions): bytes per value, shape."""
    numbers, value, shift = [], 0, 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value, shift = 0, 0
    pairs = list(zip(numbers[::2], numbers[1::2]))  # (tag, value); a tag is field << 3 | 0
    return ITEM_SIZES[dict(pairs)[1 << 3]], tuple(value for tag, value in pairs if tag == 2 << 3)
