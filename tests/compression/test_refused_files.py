# SPDX-License-Identifier: Apache-2.0
"""Files that are damaged, or no compressed models, and words out of range."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from compressed import refused
from model_files import floats, write_model

from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed


def test_a_byte_that_flipped_anywhere_is_noticed(small):
    content = Path(small).read_bytes()
    for place in [*range(900), *range(900, len(content), 7), *range(len(content) - 5, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 0x04
        Path(small).write_bytes(damaged)
        with pytest.raises(ValueError, match="small"):
            read_compressed(small)
    refused(small, "is damaged: its checksum does not fit its content")


@pytest.mark.parametrize("size", [0, 4, 100, 600, -1])
def test_a_truncated_file_is_refused(small, size):
    Path(small).write_bytes(Path(small).read_bytes()[:size])
    refused(small, "is not a whole safetensors file")


def test_a_file_that_goes_on_is_refused(small):
    with open(small, "ab") as stream:
        stream.write(b"\0")
    refused(small, "is not a whole safetensors file")


def test_a_newer_version_is_refused_with_what_to_do(small):
    Path(small).write_bytes(Path(small).read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    refused(small, "has version 2, and this package reads up to 1; install a newer")


def test_another_safetensors_file_is_refused(tmp_path):
    for about in (None, {"format": "pt"}):
        Path(tmp_path / "other").write_bytes(safetensors.numpy.save({"w": np.ones(3)}, metadata=about))
        refused(str(tmp_path / "other"), "is not a compressed model, but")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x80\x04\x95" + bytes(40), b"{}" * 100])
def test_a_file_of_anything_else_is_refused(tmp_path, content):
    Path(tmp_path / "other").write_bytes(content)
    refused(str(tmp_path / "other"), "is not a whole safetensors file")


def test_a_missing_file_is_named(tmp_path):
    for door in (read_compressed, lambda file: decompress(file, str(tmp_path / "m"))):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            door(str(tmp_path / "nowhere"))
    for model in ("nowhere", "nowhere.pdparams", "nowhere.json"):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            compress(str(tmp_path / model), str(tmp_path / "small"))


def test_a_model_that_is_not_whole_is_refused_and_nothing_written(tmp_path):
    prefix = write_model(tmp_path / "m", floats(w=np.ones((3, 3))))
    Path(prefix + ".pdiparams").write_bytes(Path(prefix + ".pdiparams").read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut off within tensor 1 of 1, w"):
        compress(prefix, str(tmp_path / "small"))
    assert sorted(os.listdir(tmp_path)) == ["m.json", "m.pdiparams"]


def test_a_legacy_model_is_refused_with_what_to_do(tmp_path):
    for ending in (".pdmodel", ".pdiparams"):
        (tmp_path / f"m{ending}").write_bytes(b"")
    with pytest.raises(ValueError, match="legacy model .*m.pdmodel; save_model"):
        compress(str(tmp_path / "m"), str(tmp_path / "small"))


@pytest.mark.parametrize(
    "words, message",
    [
        ({"values": "fp8"}, "`values` must be one of fp32, bf16, fp16, int8, int4, got 'fp8'"),
        ({"level": 0}, r"`level` must be an int in \[1, 22\], got 0"),
        ({"level": 23}, "got 23"),
        ({"level": True}, "got True"),
        ({"level": 3.0}, "got 3.0"),
    ],
)
def test_words_out_of_range_are_refused(tmp_path, words, message):
    prefix = write_model(tmp_path / "m", floats(w=np.ones((3, 3))))
    with pytest.raises(ValueError, match=message):
        compress(prefix, str(tmp_path / "small"), **words)


@pytest.mark.parametrize("ending", [".json", ".pdiparams", ".pdparams", ".pdmodel"])
def test_a_model_is_not_overwritten_by_its_compressed_file(tmp_path, ending):
    prefix = write_model(tmp_path / "m", floats(w=np.ones((3, 3))))
    with pytest.raises(ValueError, match="`out` must not end as the files of a model do"):
        compress(prefix, prefix + ending)


def test_what_is_lacking_to_read_and_write_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for door in (
        read_compressed,
        lambda file: decompress(file, str(tmp_path / "out")),
        lambda file: compress(str(tmp_path / "m"), file),
    ):
        with pytest.raises(ImportError, match=r'pip install "paddle_unstructured\[compress\]"'):
            door(small)
