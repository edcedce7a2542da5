# SPDX-License-Identifier: Apache-2.0
"""Small files that ask for much: refused in a moment, by name, and in little memory."""

from __future__ import annotations

import io
import json
import pickle
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import zstandard
from model_files import floats, write_model

from paddle_unstructured import checkpoint, cli
from paddle_unstructured.compression import archive
from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed
from paddle_unstructured.formats import pdiparams, pdparams
from paddle_unstructured.formats.yaml import read_yaml

GIGABYTE = 1 << 30


@pytest.fixture(autouse=True)
def little_memory():
    """What asks for two gigabytes more than there are now is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2 * GIGABYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# -- zstd


def frame_of_zeros(size: int) -> np.ndarray:
    """One frame of `size` zeros, made in pieces: about size / 30,000 bytes."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor(level=3).stream_writer(out, size=size, closefd=False) as writer:
        for _ in range(size >> 24):
            writer.write(bytes(1 << 24))
    return np.frombuffer(out.getvalue(), np.uint8)


@pytest.fixture(scope="module")
def bomb() -> np.ndarray:
    return frame_of_zeros(4 * GIGABYTE)


def crafted(path: Path, **changed: np.ndarray) -> str:
    """A compressed model whose digest is right, with other entries."""
    weight = np.where(np.arange(8192) % 2, np.arange(8192), 0).reshape(64, 128)
    compress(write_model(path / "m", floats(w=weight)), path / "good")
    about = archive.check(str(path / "good"))
    entries = {name: np.array(entry) for name, entry in archive.entries(str(path / "good")).items()}
    for name, entry in changed.items():
        assert name.replace("__", ".") in entries
        entries[name.replace("__", ".")] = entry
    about = {key: value for key, value in about.items() if key in ("values", "kind")}
    archive.write(str(path / "bomb"), entries, about)
    return str(path / "bomb")


@pytest.mark.parametrize("entry", ["index__json", "program__json", "w__bitmask", "w__compressed"])
def test_a_frame_of_four_gigabytes_is_not_unpacked(tmp_path, bomb, entry):
    file = crafted(tmp_path, **{entry: bomb})
    assert Path(file).stat().st_size < 300_000
    with pytest.raises(ValueError, match="bytes"):
        decompress(file, tmp_path / "out")
        list(read_compressed(file))
    assert not (tmp_path / "out.json").exists()


def index(*items: object) -> np.ndarray:
    return np.frombuffer(zstandard.ZstdCompressor().compress(json.dumps(items).encode()), np.uint8)


@pytest.mark.parametrize(
    "item",
    [
        {"name": "w", "dtype": "float32", "shape": [1 << 40, 1 << 40], "stored": "float32"},
        {"name": "w", "dtype": "float32", "shape": [1 << 33], "stored": "float32"},
        {"name": "w", "dtype": "float32", "shape": [-1, -8192], "stored": "float32"},
        {"name": "w", "dtype": "float32", "shape": [8192.0], "stored": "float32"},
        {"name": "w", "dtype": "object", "shape": [8192], "stored": "float32"},
        {"name": "w", "dtype": "float32", "shape": [8192]},
        "w",
        None,
    ],
)
def test_an_index_that_claims_what_is_not_there_is_refused(tmp_path, item):
    with pytest.raises(ValueError, match="index|values|bytes"):
        list(read_compressed(crafted(tmp_path, index__json=index(item))))


# -- YAML


BILLION = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text, message",
    [
        (BILLION, "its aliases make"),
        ("&a [*a]", "nested too deep"),
        ("[" * 50_000, "nested too deep"),
        ("- {sparsity: 0.5", "must be a YAML file, but cannot be read"),
        ("a: b: c", "must be a YAML file, but cannot be read: mapping values are not allowed here.*line 1"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("\x00", "cannot be read"),
        ("#" * (1 << 24) + "\n", "16 MiB at most"),
    ],
)
def test_yaml_that_is_none_or_too_much_is_refused(tmp_path, text, message):
    pytest.importorskip("yaml")
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_yaml(tmp_path / "rules.yaml")


def test_aliases_that_people_write_are_read(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "rules.yaml").write_text("- &a {sparsity: 0.5}\n- *a\n")
    assert read_yaml(tmp_path / "rules.yaml") == [{"sparsity": 0.5}, {"sparsity": 0.5}]


# -- shapes that are only claimed


def test_a_checkpoint_of_masks_that_are_only_claimed_is_refused(tmp_path):
    for shape in ([1 << 40], [1 << 32, 1 << 32], [-8, -1], [16]):
        header = {
            "format": checkpoint.FORMAT,
            "version": str(checkpoint.VERSION),
            "progress": "{}",
            "shapes": json.dumps({"w": shape}),
            "gathered": "[]",
        }
        tensors = {"w": np.zeros(1, np.uint8)}
        header["sha256"] = checkpoint._digest(tensors, header)
        (tmp_path / "masks").write_bytes(safetensors.numpy.save(tensors, metadata=header))
        with pytest.raises(ValueError, match="masks is not the whole state of a pruner"):
            checkpoint.load(str(tmp_path / "masks"))


class Claims:
    """Pickles as an array of a terabyte that nothing fills."""

    def __reduce__(self):
        return np.empty(0).__reduce__()[0], (np.ndarray, (1 << 38,), b"f4")


def test_a_pickle_that_begins_with_a_large_array_is_refused(tmp_path):
    (tmp_path / "m.pdparams").write_bytes(pickle.dumps({"w": Claims()}))
    with pytest.raises(ValueError, match=r"begins an array of shape \(274877906944,\)"):
        pdparams.load(str(tmp_path / "m.pdparams"))


def test_a_tensor_that_is_only_claimed_is_cut_off(tmp_path):
    prefix = write_model(tmp_path / "m", floats(w=np.zeros(4)))
    program = Path(prefix + ".json").read_text().replace("[4]", f"[{1 << 31}, {1 << 31}, 16]")
    Path(prefix + ".json").write_text(program)
    described = pdiparams._described("float32", (1 << 31, 1 << 31, 16))
    Path(prefix + ".pdiparams").write_bytes(pdiparams._HEAD.pack(0, 0, 0, len(described)) + described + bytes(16))
    with pytest.raises(ValueError, match="cut off within tensor 1 of 1, w"):
        pdiparams.scan(prefix + ".pdiparams", prefix + ".json")


# -- what never ends


@pytest.mark.parametrize(
    "words",
    [
        "report /dev/zero",
        "report zero.json",
        "decompress /dev/zero -o out",
        "compress zero.pdparams -o out",
        "prune m --rules /dev/zero -o out",
        "export m --masks /dev/zero -o out",
        "export m --recalibrate /dev/zero -o out",
        "accelerate m --int8 --calibrate /dev/zero -o out",
        "benchmark m m --data /dev/zero",
    ],
)
def test_a_device_is_not_read(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m", floats(w=np.zeros(4)))
    for ending in (".json", ".pdparams"):
        (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    signal.alarm(60)  # kills what reads on and on
    assert cli.main(words.split()) == 2
    signal.alarm(0)
    out, err = capsys.readouterr()
    assert out == "" and f"paddle_unstructured {words.split()[0]}: error: " in err
    assert not (tmp_path / "out").exists()
