# SPDX-License-Identifier: Apache-2.0
"""Compressed models as we read them, and as a stranger does who has the format alone."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Iterator

import numpy as np
import paddle
import pytest
import safetensors.numpy
import zstandard
from nets import Net, convnet

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed

LEVEL = 1  # what is tested does not depend on it


def bits(array: np.ndarray) -> bytes:
    return np.asarray(array, order="C").tobytes()


def there_and_back(prefix: str, **kwargs: object) -> dict[str, np.ndarray]:
    compress(prefix, prefix + ".small", level=LEVEL, **kwargs)
    return dict(read_compressed(prefix + ".small"))


def a_stranger_reads(file: str) -> Iterator[tuple[str, np.ndarray]]:
    """Written from the docstring of `packing` alone: value by value, with nothing of the package."""
    entries, begun = safetensors.numpy.load_file(file), {}

    def content(name):
        return zstandard.ZstdDecompressor().stream_reader(entries[name].tobytes(), read_across_frames=True).read()

    def number(planes, i, count, width, is_float):
        value = int.from_bytes(bytes(planes[plane * count + i] for plane in range(width)), "little")
        return (value >> 1 | (value & 1) << 8 * width - 1) if is_float else value

    for item in json.loads(content("index.json")):
        name, stored, size = item["name"], item["stored"], int(np.prod(item["shape"], dtype=int))
        held = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}.get(stored, stored)
        width, numbers = np.dtype(held).itemsize, [0] * size
        is_float = stored in ("float16", "bfloat16", "float32", "float64")
        if name + ".compressed" in entries:
            places = list(range(size))
            if name + ".bitmask" in entries:
                mask = content(name + ".bitmask")
                places = [i for i in places if mask[i // 8] >> i % 8 & 1]
                assert entries[name + ".shape"].tolist() == item["shape"]
            planes, first, count = content(name + ".compressed"), 0, len(places)
        else:
            places, planes, first = range(size), content(stored + ".together"), begun.get(stored, 0)
            begun[stored], count = first + size, len(planes) // width
        for i, place in enumerate(places):
            numbers[place] = number(planes, first + i, count, width, is_float)
        if name + ".negative" in entries:
            signs = content(name + ".negative")
            for i, place in enumerate(sorted(set(range(size)) - set(places))):
                numbers[place] = (signs[i // 8] >> i % 8 & 1) << 8 * width - 1
        raw = b"".join(n.to_bytes(width, "little") for n in numbers)
        array = np.frombuffer(raw, held).reshape(item["shape"])
        if "axis" in item:
            scale = entries[name + ".scale"]
            array = array.astype("float32") * scale.reshape([-1 if i == item["axis"] else 1 for i in range(array.ndim)])
        elif stored != item["dtype"]:
            array = (array.astype("uint32") << 16).view("float32") if stored == "bfloat16" else array.astype("float32")
        yield name, array


def saved_convnet(folder: Path) -> tuple[str, Net, np.ndarray]:
    net = Net(convnet, [1, 2, 4, 4])
    random = np.random.default_rng(0)
    for name, array in net.everything().items():  # norms and biases that int8 would change
        net.put(name, array + 0.1 * random.random(array.shape))
    pruner = UnstructuredPruner(net.program, mode="ratio", ratio=0.6)
    pruner.step()
    prefix = str(folder / "m")
    paddle.static.save_inference_model(prefix, [net.input], [net.output], net.exe, program=net.program)
    return prefix, net, np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype("float32")


def checkpoint_of(tmp_path: Path, **arrays: object) -> str:
    file = str(tmp_path / "net.pdparams")
    with open(file, "wb") as stream:
        pickle.dump({name: np.asarray(array) for name, array in arrays.items()}, stream, protocol=4)
    return file


def refused(file: str, message: str) -> None:
    """Both doors refuse with the message, at once, and write nothing."""
    folder = os.path.dirname(file)
    before = sorted(os.listdir(folder))
    for door in (read_compressed, lambda file: decompress(file, os.path.join(folder, "out", "m"))):
        with pytest.raises(ValueError, match=message) as error:
            door(file)
        assert file in str(error.value)
    assert sorted(os.listdir(folder)) == before
