# SPDX-License-Identifier: Apache-2.0
"""Small files: nothing lost that is not asked for, nothing read that is not whole."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tracemalloc
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import paddle
import pytest
import safetensors.numpy
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from model_files import floats, write_model
from nets import Net, convnet

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.compression import archive, byte_planes, precision
from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed
from paddle_unstructured.formats import pdiparams, pdparams

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


# -- fewer bits


def test_bfloat16_rounds_to_nearest_and_ties_to_even():
    words = {
        0x3F800000: 0x3F80,
        0x3F807FFF: 0x3F80,
        0x3F808000: 0x3F80,
        0x3F808001: 0x3F81,
        0x3F818000: 0x3F82,
        0xBF818000: 0xBF82,
        0x00000001: 0,
        0x80000001: 0,
        0x00008000: 0,
        0x00008001: 1,
        0x80000000: 0,
        0x7F800000: 0x7F80,
        0x7F800001: 0x7FC0,
        0xFFFFFFFF: 0xFFFF,
        0x7F7F7FFF: 0x7F7F,
    }
    weight = np.array(list(words), np.uint32).view(np.float32)
    found, scale = precision.rounded(weight, "bf16", "w", None)
    assert [hex(word) for word in found] == [hex(word) for word in words.values()] and scale is None


def test_int8_is_symmetric_per_channel_and_keeps_zeros():
    weight = np.float32([[0.0, 1.0, -2.0], [0.0, 0.0, -0.0], [127.0, -63.4, 0.4]])
    found, scale = precision.rounded(weight, "int8", "w", 0)
    np.testing.assert_array_equal(scale, np.float32([2 / 127, 1, 1]))
    np.testing.assert_array_equal(found, [[0, 64, -127], [0, 0, 0], [127, -63, 0]])
    _, scale = precision.rounded(weight, "int8", "w", 1)
    np.testing.assert_array_equal(scale, np.float32([127, 63.4, 2]) / np.float32(127))
    _, scale = precision.rounded(weight, "int8", "w", None)
    np.testing.assert_array_equal(scale, np.float32([1]))


def test_int8_of_the_largest_and_the_smallest_numbers_stays_finite():
    for extreme in (np.finfo(np.float32).max, 2e-43, 1e-45):
        stored, scale = precision.rounded(np.float32([extreme, -extreme, 0]), "int8", "w", None)
        assert stored[0] == -stored[1] and stored[2] == 0
        assert np.isfinite(precision.restored(stored, "int8", scale, None)).all()


@settings(max_examples=200, deadline=None)
@given(
    arrays_of.arrays(
        np.float32,
        arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
        elements=st.one_of(st.just(0.0), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    ),
    st.sampled_from(["bf16", "fp16", "int8"]),
    st.data(),
)
def test_rounding_keeps_zeros_and_is_near_or_says_that_it_cannot(weight, values, data):
    axis = data.draw(st.sampled_from([None, *range(weight.ndim)]))
    largest = {"bf16": 3.3895e38, "fp16": 65519, "int8": np.inf}[values]
    if (np.abs(weight) > largest).any():
        with pytest.raises(ValueError, match="of some weight become infinite"):
            precision.rounded(weight, values, "some weight", axis)
        return
    stored, scale = precision.rounded(weight, values, "some weight", axis)
    found = precision.restored(stored, precision.STORED[values], scale, axis)
    assert found.shape == weight.shape and found.dtype == np.float32 and np.isfinite(found).all()
    assert bits(found[weight == 0]) == bits(np.zeros_like(found[weight == 0]))
    others = tuple(i for i in range(weight.ndim) if i != axis)
    step = {
        "bf16": np.abs(weight) * 2.0**-8 + 2.0**-134,
        "fp16": np.abs(weight) * 2.0**-11 + 2.0**-25,
        "int8": np.max(np.abs(weight), axis=others, keepdims=True, initial=0) * np.float64(0.504 / 127) + 1e-43,
    }[values]
    assert (np.abs(found.astype("float64") - weight) <= step + 1e-45).all()


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("values, error", [("bf16", 2.0**-8), ("fp16", 2.0**-11), ("int8", 0.5 / 127)])
def test_weights_are_rounded_and_norms_and_biases_are_not(tmp_path, values, error):
    prefix, net, _ = saved_convnet(tmp_path)
    exact, found = there_and_back(prefix), there_and_back(prefix, values=values)
    weights = {"conv2d_0.w_0": (1, 2, 3), "conv2d_1.w_0": (1, 2, 3), "linear_0.w_0": (0,)}
    for name, array in found.items():
        if name in weights:
            largest = np.abs(exact[name]).max(axis=weights[name], keepdims=True)  # of each output channel
            assert (np.abs(array - exact[name]) <= 1.001 * error * largest).all() and (array != exact[name]).any()
            assert (array[exact[name] == 0] == 0).all() and (array != 0).any()
        else:
            assert bits(array) == bits(exact[name]), name
    assert {n: bits(a) for n, a in a_stranger_reads(prefix + ".small")} == {n: bits(a) for n, a in found.items()}
    decompress(prefix + ".small", prefix + "_again")
    again = pdiparams.scan(prefix + "_again.pdiparams", prefix + "_again.json")
    assert {t.name: bits(pdiparams.read(prefix + "_again.pdiparams", t)) for t in again} == {
        n: bits(a) for n, a in found.items()
    }


@pytest.mark.usefixtures("static")
def test_compressing_works_in_dynamic_mode_and_leaves_it_on(tmp_path):
    prefix, *_ = saved_convnet(tmp_path)
    paddle.disable_static()
    compress(prefix, str(tmp_path / "small"), values="int8")
    decompress(str(tmp_path / "small"), str(tmp_path / "again"))
    assert paddle.in_dynamic_mode()
    paddle.enable_static()


def checkpoint_of(tmp_path: Path, **arrays: object) -> str:
    file = str(tmp_path / "net.pdparams")
    with open(file, "wb") as stream:
        pickle.dump({name: np.asarray(array) for name, array in arrays.items()}, stream, protocol=4)
    return file


@pytest.mark.parametrize(
    "values, weight, message",
    [
        ("fp16", 65520.0, r'got "fp16", in which 1 of w become infinite, 65520 for one; choose "bf16" or "fp32"'),
        ("bf16", 3.4e38, r'got "bf16", in which 1 of w become infinite, 3.4e\+38 for one; choose "fp32"'),
        ("fp16", np.nan, 'got "fp16" and 1 such values in w'),
        ("int8", np.nan, 'got "int8" and 1 such values in w'),
        ("int8", -np.inf, 'got "int8" and 1 such values in w'),
    ],
)
def test_a_weight_that_does_not_fit_is_refused_by_name_and_nothing_written(tmp_path, values, weight, message):
    file = checkpoint_of(tmp_path, v=np.ones((2, 2), "float32"), w=np.float32([[1, 2], [weight, 0]]))
    with pytest.raises(ValueError, match=message):
        compress(file, str(tmp_path / "out" / "small"), values=values)
    assert os.listdir(tmp_path) == ["net.pdparams"]


def test_a_value_that_rounds_to_zero_becomes_one(tmp_path):
    file = checkpoint_of(tmp_path, w=np.float32([[1e-9, 1.0, 0, 0]]))
    assert [compress(file, file + ".small", values=values).zeros for values in ("fp32", "bf16", "fp16", "int8")] == [
        2,
        2,
        3,
        2,
    ]  # int8 has the last axis as its channels here
    np.testing.assert_array_equal(dict(read_compressed(file + ".small"))["w"], np.float32([[1e-9, 1.0, 0, 0]]))


# -- training checkpoints


@pytest.mark.usefixtures("static")
def test_a_checkpoint_comes_back_as_paddle_reads_it(tmp_path):
    net = Net(convnet, [1, 2, 4, 4])
    paddle.static.save(net.program, str(tmp_path / "net"))
    sizes = compress(str(tmp_path / "net.pdparams"), str(tmp_path / "small"))
    before = net.everything()
    (tmp_path / "net.pdparams").unlink()
    decompress(str(tmp_path / "small"), str(tmp_path / "net"))
    with paddle.static.scope_guard(paddle.static.Scope()):
        other = Net(convnet, [1, 2, 4, 4], seed=5)
        paddle.static.load(other.program, str(tmp_path / "net"))
        for name, array in other.everything().items():
            assert bits(array) == bits(before[name])
    assert sizes.weights == sum(array.size for array in before.values())
    os.remove(tmp_path / "net.json")
    compress(tmp_path / "net.pdparams", tmp_path / "small")  # the Program is not needed


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_checkpoints_of_every_pickle_protocol_of_paddle_are_read(tmp_path, protocol):
    arrays = {
        "w": np.arange(6, dtype="float32").reshape(2, 3).T,
        "n": np.array(3),
        "b": np.array([True, False]),
        "h": np.arange(3, dtype="uint16"),
        "e": np.empty((0, 2), "float64"),
    }
    file = str(tmp_path / "net.pdparams")
    Path(file).write_bytes(pickle.dumps(arrays, protocol=protocol))
    compress(file, file + ".small")
    decompress(file + ".small", str(tmp_path / "again"))
    again = pickle.loads(Path(tmp_path / "again.pdparams").read_bytes())
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype and again[name].shape == array.shape


def test_without_a_program_the_channels_are_first_or_last_of_two(tmp_path):
    random = np.random.default_rng(0)
    shapes = {"bias": (5,), "linear": (2, 5), "conv1d": (5, 2, 3), "conv": (5, 2, 3, 3), "conv3d": (5, 2, 1, 2, 3)}
    file = checkpoint_of(tmp_path, **{name: random.normal(size=s).astype("float32") for name, s in shapes.items()})
    compress(file, file + ".small", values="int8")
    entries = safetensors.numpy.load_file(file + ".small")
    assert {name: entries[name + ".scale"].size for name in shapes if name + ".scale" in entries} == dict.fromkeys(
        ["linear", "conv1d", "conv", "conv3d"], 5
    )


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("it_ran",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.pdparams").write_bytes(pickle.dumps({"w": _Evil()}))
    with pytest.raises(ValueError, match="it wants posix.mkdir"):
        compress("net.pdparams", "small")
    assert os.listdir() == ["net.pdparams"]


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps([1]), "a list"),
        (pickle.dumps({"w": 1}), "it holds 'w'"),
        (b"", "EOFError"),
        (b"hello", "cannot be read"),
        (pickle.dumps({"w": np.ones(3)})[:-9], "cannot be read"),
        (pickle.dumps({}) + b".", "more than that"),
        (pickle.dumps({"w": np.array(["a"])}), "must hold types of Paddle, but holds w"),
    ],
)
def test_a_checkpoint_of_anything_else_is_refused(tmp_path, content, message):
    file = tmp_path / "net.pdparams"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        compress(str(file), str(tmp_path / "small"))
    assert str(file) in str(error.value) and os.listdir(tmp_path) == ["net.pdparams"]


# -- refused


@pytest.fixture
def small(tmp_path) -> str:
    random = np.random.default_rng(0)
    weight = random.normal(size=(40, 30)) * (random.random((40, 30)) < 0.3)
    compress(write_model(tmp_path / "m", floats(w=weight, b=np.ones(3))), str(tmp_path / "small"))
    return str(tmp_path / "small")


def refused(file: str, message: str) -> None:
    """Both doors refuse with the message, at once, and write nothing."""
    folder = os.path.dirname(file)
    before = sorted(os.listdir(folder))
    for door in (read_compressed, lambda file: decompress(file, os.path.join(folder, "out", "m"))):
        with pytest.raises(ValueError, match=message) as error:
            door(file)
        assert file in str(error.value)
    assert sorted(os.listdir(folder)) == before


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
        with pytest.raises(ImportError, match=r"pip install paddle_unstructured\[compress\]"):
            door(small)


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
