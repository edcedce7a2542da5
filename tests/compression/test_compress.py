# SPDX-License-Identifier: Apache-2.0
"""Compressed models: their layout, every bit back, all or nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tracemalloc
from pathlib import Path
from typing import Callable

import numpy as np
import paddle
import pytest
import safetensors.numpy
import zstandard
from compressed import LEVEL, a_stranger_reads, bits, saved_convnet, there_and_back
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from model_files import floats, write_model

from paddle_unstructured.compression import archive, byte_planes
from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed
from paddle_unstructured.formats import pdiparams, pdparams

# -- the layout


def test_a_sparse_tensor_is_a_bitmask_and_what_it_keeps(tmp_path):
    prefix = write_model(tmp_path / "m", floats(w=[[0, 1, 0, 0, 0], [0, 0, 0, 0, -2]]))
    compress(prefix, prefix + ".small")
    entries = safetensors.numpy.load_file(prefix + ".small")
    assert set(entries) == {"w.bitmask", "w.compressed", "w.shape", "index.json", "program.json"}
    assert zstandard.decompress(entries["w.bitmask"].tobytes()) == bytes([0b00000010, 0b10])
    assert entries["w.shape"].tolist() == [2, 5]
    planes = zstandard.ZstdDecompressor().stream_reader(entries["w.compressed"].tobytes(), read_across_frames=True)
    # 1.0 = 3f800000 and -2.0 = c0000000; rotated left by one bit 7f000000 and 80000001; byte by byte from the lowest
    assert planes.read() == bytes.fromhex("0001000000007f80")
    assert zstandard.decompress(entries["program.json"].tobytes()) == Path(prefix + ".json").read_bytes()
    assert json.loads(zstandard.decompress(entries["index.json"].tobytes())) == [
        {"name": "w", "dtype": "float32", "shape": [2, 5], "stored": "float32"}
    ]


def test_small_dense_tensors_share_an_entry_per_type(tmp_path):
    tensors = {
        **floats(a=np.arange(1, 7), c=np.ones((2, 3)), large=np.arange(1, 1026)),
        "b": ("int8", np.arange(5, dtype=np.int8)),
    }
    prefix = write_model(tmp_path / "m", tensors)
    compress(prefix, prefix + ".small")
    entries = safetensors.numpy.load_file(prefix + ".small")
    assert set(entries) == {"float32.together", "int8.together", "large.compressed", "index.json", "program.json"}
    assert {name: bits(array) for name, array in read_compressed(prefix + ".small")} == {
        name: bits(array) for name, (_, array) in tensors.items()
    }


def test_the_signs_of_zeros_are_kept_apart(tmp_path):
    prefix = write_model(tmp_path / "m", floats(w=[[0.0, -0.0, 3.0, 0.0], [-0.0, -4.0, 0.0, -0.0]]))
    found = there_and_back(prefix)["w"]
    entries = safetensors.numpy.load_file(prefix + ".small")
    assert zstandard.decompress(entries["w.bitmask"].tobytes()) == bytes([0b00100100])
    assert zstandard.decompress(entries["w.negative"].tobytes()) == bytes([0b101010])
    np.testing.assert_array_equal(np.signbit(found), [[0, 1, 0, 0], [1, 1, 0, 1]])


def test_names_that_look_like_entries_do_not_collide(tmp_path):
    names = [
        "w",
        "w.shape",
        "w.bitmask",
        "w.compressed",
        "w.scale",
        "w.shape.shape",
        "float32",
        "float32.together",
        "index.json",
        "index",
        "program.json",
        'é "sha256":"0',
        "../up",
        " ",
    ]
    tensors = floats(**{name: np.eye(4 + i) * i for i, name in enumerate(names)})
    found = there_and_back(write_model(tmp_path / "m", tensors), values="fp32")
    assert {name: bits(array) for name, array in found.items()} == {n: bits(a) for n, (_, a) in tensors.items()}


# -- fp32: every bit


def test_zeros_with_a_sign_subnormal_numbers_and_nans_survive(tmp_path):
    strange = np.array(
        [0x80000000, 1, 0x80000001, 0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 0xFF800000, 0, 0], np.uint32
    )
    tensors = {
        "dense": ("float32", np.tile(strange[:8], (200, 1)).view(np.float32)),
        "sparse": ("float32", np.tile(np.append(strange, np.zeros(30, np.uint32)), (50, 1)).view(np.float32)),
        "short": ("float32", strange.view(np.float32)),
    }
    found = there_and_back(write_model(tmp_path / "m", tensors))
    for name, (_, array) in tensors.items():
        assert bits(found[name]) == bits(array), name


@pytest.mark.usefixtures("static")
def test_a_pruned_model_comes_back_byte_for_byte_and_runs(tmp_path):
    prefix, net, x = saved_convnet(tmp_path)
    sizes = compress(prefix, str(tmp_path / "small"))
    decompress(str(tmp_path / "small"), str(tmp_path / "again" / "m"))
    for ending in (".json", ".pdiparams"):
        assert Path(f"{tmp_path}/again/m{ending}").read_bytes() == Path(prefix + ending).read_bytes()
    assert sizes.before == os.path.getsize(prefix + ".pdiparams") and sizes.after == os.path.getsize(tmp_path / "small")
    assert f"{sizes.before} -> {sizes.after} bytes" in str(sizes)
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, fetches = paddle.static.load_inference_model(f"{tmp_path}/again/m", net.exe)
        found = net.exe.run(program, feed={feeds[0]: x}, fetch_list=fetches)[0]
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, fetches = paddle.static.load_inference_model(prefix, net.exe)
        np.testing.assert_array_equal(net.exe.run(program, feed={feeds[0]: x}, fetch_list=fetches)[0], found)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    """(dtype, any bits), 0-d to 5-D or empty, of any density."""
    dtype = draw(st.sampled_from(list(pdiparams.DTYPES)))
    held = np.dtype(pdiparams.DTYPES[dtype].numpy)
    shape = draw(arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = int(np.prod(shape, dtype=int))
    raw = random.integers(0, 2 if dtype == "bool" else 256, (size, held.itemsize), np.uint8)
    raw[random.random(size) >= draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.0]))] = 0
    if dtype in ("float32", "bfloat16", "float64") and draw(st.booleans()):
        raw[random.random(size) < 0.3] = [0] * (held.itemsize - 1) + [0x80]
    return dtype, raw.reshape(-1).view(held).reshape(shape)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1, max_size=8), tensors(), min_size=1, max_size=5))
def test_any_tensors_come_back_to_the_bit_for_us_and_for_a_stranger(tmp_path, model):
    prefix = write_model(tmp_path / "m", model)
    compress(prefix, prefix + ".small", level=LEVEL)
    read = list(read_compressed(prefix + ".small"))
    assert [name for name, _ in read] == sorted(model)
    for (name, array), (_, same) in zip(read, a_stranger_reads(prefix + ".small")):
        assert (array.dtype, array.shape, bits(array)) == (
            model[name][1].dtype,
            model[name][1].shape,
            bits(model[name][1]),
        ), name
        assert bits(array) == bits(same), name
    decompress(prefix + ".small", prefix + "_again")
    assert Path(prefix + "_again.pdiparams").read_bytes() == Path(prefix + ".pdiparams").read_bytes()
    assert Path(prefix + "_again.json").read_bytes() == Path(prefix + ".json").read_bytes()


# -- all or nothing, and little memory


@pytest.mark.parametrize("failing", ["os.replace", "os.fsync"])
def test_a_failing_write_leaves_the_old_files_and_no_draft(small, tmp_path, monkeypatch, failing):
    decompress(small, str(tmp_path / "out" / "m"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(failing, fail)
    for door in (
        lambda: decompress(small, str(tmp_path / "out" / "m")),
        lambda: compress(str(tmp_path / "m"), small, values="fp32", level=3),
    ):
        with pytest.raises(OSError, match="no space left"):
            door()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_endings_of_the_restored_model_are_left_off(small, tmp_path):
    for name in ("a", "b.json", "c.pdiparams"):
        decompress(small, str(tmp_path / "out" / name))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{stem}{ending}" for stem in "abc" for ending in (".json", ".pdiparams")
    }


def peak(run: Callable[[], object]) -> int:
    """Bytes of Python and numpy that were alive at once."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("density", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("values", ["fp32", "bf16", "int8"])
def test_memory_stays_below_the_model_and_one_tensor(tmp_path, density, values):
    random, megabyte = np.random.default_rng(0), 1 << 20
    weight = random.normal(size=(512, 512)).astype("float32")  # one megabyte, and twelve of them
    weight[random.random(weight.shape) >= density] *= -0.0  # zeros of both signs
    file, small, again = str(tmp_path / "net.pdparams"), str(tmp_path / "small"), str(tmp_path / "again")
    with open(file, "wb") as stream:
        pdparams.dump(stream, {f"w{i}": weight for i in range(12)})
    compress(file, small, values=values, level=LEVEL)
    assert peak(lambda: list(read_compressed(small))) < 13.1 * megabyte
    assert peak(lambda: decompress(small, again)) < 13.1 * megabyte
    assert peak(lambda: compress(file, small, values=values, level=LEVEL)) < 16.5 * megabyte  # lets go what it has done
    if values == "fp32":
        prefix = write_model(tmp_path / "m", {f"w{i}": ("float32", weight) for i in range(12)})
        compress(prefix, small, level=LEVEL)
        assert peak(lambda: decompress(small, again)) < 2.1 * megabyte
        assert peak(lambda: compress(prefix, small, level=LEVEL)) < os.path.getsize(small) + 4.5 * megabyte


def test_byte_planes_of_another_number_of_values_are_refused():
    frames = np.frombuffer(byte_planes.encode(np.arange(5, dtype="int16"), "int16", LEVEL), np.uint8)
    assert byte_planes.decode(frames, "int16", "int16", 5).tolist() == [0, 1, 2, 3, 4]
    for count in (6, 4):
        with pytest.raises(ValueError, match=f"a byte plane of {count} values holds 5 bytes"):
            byte_planes.decode(frames, "int16", "int16", count)


def test_the_pickler_writes_what_paddle_reads(tmp_path):
    stream, array = io.BytesIO(), np.arange(6, dtype="float32").reshape(2, 3)
    pdparams.dump(stream, {"a": array, "b": array})
    assert {name: found.tolist() for name, found in pickle.loads(stream.getvalue()).items()} == dict.fromkeys(
        "ab", array.tolist()
    )


def test_a_container_maps_entries_of_every_type(tmp_path):
    entries = {"a": np.arange(5, dtype=np.uint8), "b": np.array([1.5], np.float32), "c": np.array([], np.int64)}
    archive.write(str(tmp_path / "f"), entries, {"kind": "test"})
    assert archive.check(str(tmp_path / "f"))["kind"] == "test"
    for name, array in archive.entries(str(tmp_path / "f")).items():
        assert (array.dtype, array.tolist()) == (entries[name].dtype, entries[name].tolist())


@pytest.mark.slow
def test_the_table_of_sizes_keeps_its_promise(tmp_path, static):
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from sizes import sizes

    for sparsity, promised in ((0.75, {"fp32": 4.2, "bf16": 8}), (0.9, {"fp32": 9, "bf16": 15})):
        found = sizes(tmp_path / str(sparsity), sparsity, 19)
        for values, least in promised.items():
            assert found["as it is"] / found[f'compress(values="{values}")'] >= least
            assert found[f'compress(values="{values}")'] < found["`zstd -19` of that file"]
