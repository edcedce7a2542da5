# SPDX-License-Identifier: Apache-2.0
"""Which `.pdiparams` belongs to a `.json`: said in the `.json`, checked by every reader of ours, skipped by Paddle."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from nets import Net, convnet

from paddle_unstructured.compression.compress import compress
from paddle_unstructured.export import open_model, save_model
from paddle_unstructured.formats import pair
from paddle_unstructured.runtime import Session, convert, create_predictor

pytestmark = pytest.mark.usefixtures("static")


@pytest.fixture
def two(static, tmp_path) -> Path:
    """A folder with `a` and `b`: one net, two sets of weights, both written by `save_model`."""
    net = Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save_inference_model(str(tmp_path / "p"), [net.input], [net.output], net.exe, program=net.program)
    for name, factor in (("a", 1), ("b", 2)):
        model = open_model(tmp_path / "p")
        model.graph.store("linear_0.w_0", model.graph.array("linear_0.w_0") * factor)
        save_model(model, tmp_path / name)
    return tmp_path


def mixed(folder: Path, newer: str) -> str:
    """`a.json` over the weights of `b`; returns the prefix."""
    shutil.copy(folder / "b.pdiparams", folder / "a.pdiparams")
    for ending in (".json", ".pdiparams"):
        os.utime(folder / f"a{ending}", (2, 2) if ending == newer else (1, 1))
    return str(folder / "a")


@pytest.mark.parametrize("older, newer", [(".json", ".pdiparams"), (".pdiparams", ".json")])
@pytest.mark.parametrize("read", [open_model, create_predictor, lambda path: compress(path, path + ".small")])
def test_two_halves_of_two_models_are_refused_and_the_older_is_named(two, older, newer, read):
    message = rf"a\.pdiparams does not hold the weights that .*a\.json.*a\{older} is the older"
    with pytest.raises(ValueError, match=message):
        read(mixed(two, newer))


def test_a_session_refuses_them_too(two):
    fast = two / "fast"
    fast.mkdir()
    for name in ("a", "b"):
        convert(str(two / name), str(fast / name))
    Session(str(fast / "a"))
    with pytest.raises(ValueError, match="is the older of the two"):
        Session(mixed(fast, ".json"))


def test_a_pair_that_says_nothing_is_read(two):
    assert not pair.is_stamped(str(two / "p.json")) and pair.is_stamped(str(two / "a.json"))
    open_model(two / "p")


def test_paddle_reads_what_is_stamped(two):
    x = np.ones((2, 2, 4, 4), "float32")
    wanted = open_model(two / "b").run(x=x)[0]
    config = paddle.inference.Config(str(two / "b.json"), str(two / "b.pdiparams"))
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(x)
    predictor.run()
    found = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, feeds, fetches = paddle.static.load_inference_model(str(two / "b"), executor)
    np.testing.assert_array_equal(executor.run(program, feed={feeds[0]: x}, fetch_list=fetches)[0], wanted)


def test_stamping_again_replaces_what_was_said(two):
    program, params = str(two / "a.json"), str(two / "a.pdiparams")
    before = Path(program).read_bytes()
    pair.stamp(program, params)
    assert Path(program).read_bytes() == before
    pair.stamp(program, str(two / "b.pdiparams"))
    assert len(Path(program).read_bytes()) == len(before) and Path(program).read_bytes() != before


def test_half_a_model_is_named(two):
    os.remove(two / "a.pdiparams")
    with pytest.raises(FileNotFoundError, match=r"no model at .*; only .*a\.json is there"):
        open_model(two / "a")
