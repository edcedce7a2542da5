# SPDX-License-Identifier: Apache-2.0
"""`.pdiparams` files: to the bit as Paddle writes them, and refused unless whole."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import paddle
import pytest
from model_files import floats, write_model
from nets import Net, convnet

from paddle_unstructured.formats import pdiparams

pytestmark = pytest.mark.usefixtures("static")

EVERY_DTYPE = [dtype for dtype in pdiparams.DTYPES if dtype not in ("float8_e4m3fn", "float8_e5m2", "complex128")]


def save(net: Net, prefix: Path, **kwargs: object) -> str:
    paddle.static.save_inference_model(str(prefix), [net.input], [net.output], net.exe, program=net.program, **kwargs)
    return str(prefix)


def contents(prefix: str) -> dict[str, np.ndarray]:
    file = prefix + ".pdiparams"
    return {tensor.name: pdiparams.read(file, tensor) for tensor in pdiparams.scan(file, prefix + ".json")}


def written_again(prefix: str) -> bytes:
    stream, file = io.BytesIO(), prefix + ".pdiparams"
    for tensor in pdiparams.scan(file, prefix + ".json"):
        pdiparams.write(stream, tensor.dtype, pdiparams.read(file, tensor))
    return stream.getvalue()


def every_dtype(x):
    for i, dtype in enumerate(EVERY_DTYPE):
        param = paddle.pir.core.create_parameter(
            dtype=getattr(paddle, dtype),
            shape=[3, 2][: i % 3],
            name=f"of_{dtype}",
            initializer=paddle.nn.initializer.Constant(1.0),
        )
        x = x + paddle.cast(param, "float32").sum()
    return x


# -- as Paddle writes them


def test_a_tensor_is_written_to_the_bit():
    stream = io.BytesIO()
    pdiparams.write(stream, "float32", np.array([[1.0, 2.0], [-0.0, 0.5]], np.float32)[:, :1])
    assert stream.getvalue() == bytes.fromhex("00000000000000000000000000000000060000000805100210010000803f00000080")


def test_a_dimension_above_127_takes_more_bytes(tmp_path):
    stream = io.BytesIO()
    pdiparams.write(stream, "int8", np.zeros(300, np.int8))
    assert stream.getvalue()[16:25] == bytes.fromhex("05000000081510ac02")
    prefix = write_model(tmp_path / "m", floats(w=np.zeros((128, 2)), v=np.zeros(40000)))
    assert {name: array.shape for name, array in contents(prefix).items()} == {"v": (40000,), "w": (128, 2)}


def test_a_model_of_paddle_is_read_by_name_and_written_to_the_bit(tmp_path):
    net = Net(convnet, [1, 2, 4, 4])
    prefix = save(net, tmp_path / "m")
    found = contents(prefix)
    assert list(found) == sorted(found) and "batch_norm2d_0.w_1" in found
    for name, array in found.items():
        np.testing.assert_array_equal(array, net.get(name))
    assert written_again(prefix) == Path(prefix + ".pdiparams").read_bytes()


def test_every_type_of_paddle_is_read_and_written_to_the_bit(tmp_path):
    net = Net(every_dtype, [1, 2])
    prefix = save(net, tmp_path / "m")
    found = pdiparams.scan(prefix + ".pdiparams", prefix + ".json")
    assert {tensor.name: tensor.dtype for tensor in found} == {f"of_{dtype}": dtype for dtype in EVERY_DTYPE}
    assert {len(tensor.shape) for tensor in found} == {0, 1, 2}
    for name, array in contents(prefix).items():
        np.testing.assert_array_equal(array, net.get(name))
        assert array.dtype == net.get(name).dtype
    assert written_again(prefix) == Path(prefix + ".pdiparams").read_bytes()


def test_variables_that_are_no_parameters_but_persistable_are_in_the_file(tmp_path):
    def shifted(x):
        value = paddle.pir.core.create_persistable_value(
            dtype=paddle.float32, shape=[1], name="A shift", initializer=paddle.nn.initializer.Constant(2.0)
        )
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        return paddle.nn.Linear(2, 2)(x) + value

    prefix = save(Net(shifted, [1, 2]), tmp_path / "m")
    assert list(contents(prefix)) == ["A shift", "linear_0.b_0", "linear_0.w_0"]
    assert contents(prefix)["A shift"] == [2.0]


def test_empty_tensors_and_strange_names_are_read(tmp_path):
    def joined(x):
        empty = paddle.pir.core.create_parameter(
            dtype=paddle.float32, shape=[0, 4], name='é "q"', initializer=paddle.nn.initializer.Constant(1.0)
        )
        return paddle.nn.Linear(4, 2)(paddle.concat([x, empty]))

    prefix = save(Net(joined, [1, 4]), tmp_path / "m")
    assert contents(prefix)['é "q"'].shape == (0, 4)
    assert written_again(prefix) == Path(prefix + ".pdiparams").read_bytes()


@pytest.mark.parametrize("kwargs", [{"trainable": False}, {"readable": True}])
def test_other_ways_to_save_are_read(tmp_path, kwargs):
    prefix = save(Net(convnet, [1, 2, 4, 4]), tmp_path / "m", **kwargs)
    assert contents(prefix)["conv2d_1.w_0"].shape == (4, 4, 1, 1)


def test_paddle_reads_what_is_written(tmp_path):
    net = Net(convnet, [1, 2, 4, 4])
    prefix = save(net, tmp_path / "m")
    Path(prefix + ".pdiparams").write_bytes(written_again(prefix))
    with paddle.static.scope_guard(paddle.static.Scope()):
        paddle.static.load_inference_model(prefix, net.exe)
        loaded = {name: np.array(paddle.static.global_scope().find_var(name).get_tensor()) for name in contents(prefix)}
    assert len(loaded) == 10
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, net.get(name))


# -- refused


@pytest.fixture
def pair(tmp_path) -> str:
    return write_model(tmp_path / "m", floats(a=[1, 2, 3], b=[[4, 5]], c=6))


def refused(prefix: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        pdiparams.scan(prefix + ".pdiparams", prefix + ".json")
    assert prefix in str(error.value)


def test_a_file_cut_anywhere_is_refused_with_the_tensor_that_is_not_whole(pair):
    file = Path(pair + ".pdiparams")
    content, ends = file.read_bytes(), {}
    for tensor in pdiparams.scan(str(file), pair + ".json"):
        ends[tensor.name] = tensor.offset + tensor.nbytes
    for size in range(len(content)):
        file.write_bytes(content[:size])
        refused(pair, f"is cut off within tensor . of 3, {next(name for name, end in ends.items() if size < end)}; ")


def test_a_file_that_goes_on_is_refused(pair):
    with open(pair + ".pdiparams", "ab") as stream:
        stream.write(b"\0")
    refused(pair, "must hold the 3 tensors of .*, but goes on for 1 bytes behind them")


@pytest.mark.parametrize(
    "tensors, message",
    [
        (floats(a=[1, 2, 3], b=[4, 5], c=6), r"b must be float32 \[1, 2\], but float32 \[2\] is in its place"),
        (
            {**floats(a=[1, 2, 3], c=6), "b": ("int32", np.ones((1, 2), np.int32))},
            r"but int32 \[1, 2\] is in its place",
        ),
        (floats(a=[1, 2, 3], b=[[4, 5]]), "cut off within tensor 3 of 3, c"),
        (floats(a=[1, 2, 3], b=[[4, 5]], c=6, d=7), "goes on for 26 bytes"),
    ],
)
def test_a_file_of_another_model_is_refused_with_what_differs(pair, tmp_path, tensors, message):
    other = write_model(tmp_path / "other", tensors)
    Path(pair + ".pdiparams").write_bytes(Path(other + ".pdiparams").read_bytes())
    refused(pair, message)


@pytest.mark.parametrize(
    "content",
    [
        b"hello, world, and all who live in it",
        b"\x80\x04\x95" + bytes(90),
        b"{}" * 50,
        bytes(16) + b"\xff\xff\xff\xff" + bytes(40),
        b"\1" + bytes(90),
        bytes(90),
    ],
)
def test_a_file_of_anything_else_is_refused(pair, content):
    Path(pair + ".pdiparams").write_bytes(content)
    refused(pair, "no .pdiparams file of Paddle, or of an unknown version: tensor 1 of 3, a does not begin at byte 0;")


@pytest.mark.parametrize("place", [0, 4, 12])
def test_another_version_and_sequence_levels_are_refused(pair, place):
    content = bytearray(Path(pair + ".pdiparams").read_bytes())
    content[place] = 1
    Path(pair + ".pdiparams").write_bytes(content)
    refused(pair, "or of an unknown version")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"program": 1}',
        json.dumps({"program": {"regions": []}}),
        '{"program": {"regions": [{"blocks": [{"ops": [{"#": "p"}]}]}]}}',
        "\udcff",
    ],
)
def test_a_json_that_is_no_program_is_refused(pair, text):
    Path(pair + ".json").write_bytes(text.encode(errors="surrogateescape"))
    refused(pair, "must be a Program as save_inference_model of Paddle 3 writes it")


@pytest.mark.parametrize("ending", [".json", ".pdiparams"])
def test_a_missing_file_is_named(pair, ending):
    Path(pair + ending).unlink()
    with pytest.raises(FileNotFoundError, match=ending):
        pdiparams.scan(pair + ".pdiparams", pair + ".json")


# -- one tensor at a time


def test_scanning_reads_no_values(tmp_path):
    prefix = write_model(tmp_path / "m", floats(**{f"w{i}": np.ones(1 << 18) for i in range(8)}))
    tracemalloc.start()
    found = pdiparams.scan(prefix + ".pdiparams", prefix + ".json")
    assert tracemalloc.get_traced_memory()[1] < 1 << 18
    pdiparams.read(prefix + ".pdiparams", found[3])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * (1 << 20)
