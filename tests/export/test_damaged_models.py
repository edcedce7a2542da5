# SPDX-License-Identifier: Apache-2.0
"""Saved models that are damaged, foreign or of another model are refused, and no code in them is run."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import paddle
import pytest
from exported import checkpointed, saved

from paddle_unstructured.export import open_model

pytestmark = pytest.mark.usefixtures("static")

TWO = {"linear_0.w_0", "linear_0.b_0", "linear_1.w_0", "linear_1.b_0"}


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        open_model(str(path))
    assert str(path.parent) in str(error.value)


def cut(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])


@pytest.mark.parametrize("kept", [0, 3, 30, -80, -1])
def test_weights_that_are_cut_off_are_refused(tmp_path, kept):
    saved(tmp_path / "model")
    cut(tmp_path / "model.pdiparams", kept)
    refused(tmp_path / "model", r"model.pdiparams is cut off within tensor \d of 4, linear_")


@pytest.mark.parametrize("kept", [0, 3, -1])
def test_legacy_weights_that_are_cut_off_are_refused(legacy, tmp_path, kept):
    for ending in (".pdmodel", ".pdiparams"):
        shutil.copy(legacy / f"loop{ending}", tmp_path / f"m{ending}")
    cut(tmp_path / "m.pdiparams", kept)
    refused(tmp_path / "m", r"m.pdiparams is cut off within tensor \d of 2, linear_0.")


def test_weights_that_go_on_are_refused(tmp_path):
    saved(tmp_path / "model")
    with open(tmp_path / "model.pdiparams", "ab") as file:
        file.write(b"\0")
    refused(tmp_path / "model", r"goes on for 1 bytes behind them")


def test_weights_of_another_model_are_refused_by_the_first_that_does_not_fit(tmp_path, legacy):
    saved(tmp_path / "model")
    saved(tmp_path / "other", dtype="float64")
    shutil.copy(tmp_path / "other.pdiparams", tmp_path / "model.pdiparams")
    refused(tmp_path / "model", r"linear_0.b_0 must be float32 \[6\], but float64 \[6\] is in its place")
    shutil.copy(legacy / "plain.pdmodel", tmp_path / "old.pdmodel")
    shutil.copy(legacy / "loop.pdiparams", tmp_path / "old.pdiparams")
    refused(tmp_path / "old", "old.pdiparams does not belong to .*old.pdmodel")


@pytest.mark.parametrize("content", [b"hello, world", bytes(40), b"\x80\x04}."])
def test_weights_that_are_something_else_are_refused(tmp_path, content):
    saved(tmp_path / "model")
    (tmp_path / "model.pdiparams").write_bytes(content)
    refused(tmp_path / "model", "is no .pdiparams file of Paddle|is cut off")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"hello", b'{"base_code": {"magic": "pir", "version": 1}}', b"\x80\x04}."]
)
def test_a_program_that_is_something_else_is_refused(tmp_path, content):
    saved(tmp_path / "model")
    (tmp_path / "model.json").write_bytes(content)
    refused(tmp_path / "model", "model.json cannot be read as a Program of Paddle 3")


def test_a_program_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    saved(tmp_path / "model")

    def refuse(file, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)

    monkeypatch.setattr("paddle_unstructured.saved_model.open", refuse, raising=False)
    with pytest.raises(PermissionError, match="Permission denied: .*model.json"):
        open_model(str(tmp_path / "model"))


@pytest.mark.parametrize("kept", [100, -1])
def test_a_program_that_is_cut_off_is_refused(tmp_path, kept):
    saved(tmp_path / "model")
    cut(tmp_path / "model.json", kept)
    refused(tmp_path / "model", "model.json cannot be read as a Program of Paddle 3")


@pytest.mark.parametrize("change", [(b'"regions"', b'"legions"'), (b'"I"', b'"J"'), (b"0.t_f32", b"0.t_f99")])
def test_a_program_that_was_changed_is_refused(tmp_path, change):
    saved(tmp_path / "model")
    text = (tmp_path / "model.json").read_bytes()
    assert change[0] in text
    (tmp_path / "model.json").write_bytes(text.replace(*change))
    refused(tmp_path / "model", "model.json cannot be read as a Program of Paddle 3")


def test_a_program_with_ops_of_a_newer_paddle_is_refused(tmp_path):
    saved(tmp_path / "model")
    text = (tmp_path / "model.json").read_bytes()
    (tmp_path / "model.json").write_bytes(text.replace(b'"1.tanh"', b'"1.tahn"'))
    refused(tmp_path / "model", "has ops that Paddle .* does not know")


def test_a_converted_model_is_refused_with_the_way_out(tmp_path):
    saved(tmp_path / "model")
    text = (tmp_path / "model.json").read_bytes()
    (tmp_path / "model.json").write_bytes(text.replace(b'"1.tanh"', b'"3.paddle_unstructured_run_unloaded"'))
    refused(tmp_path / "model", "written by `accelerate`.*; give the model that it was made from")


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("ending", [".json", ".pdparams"])
def test_no_code_in_a_file_is_run(tmp_path, ending):
    checkpointed(tmp_path / "model")
    (tmp_path / f"model{ending}").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    refused(tmp_path / "model", f"model{ending} ")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"hello, world", bytes(100)])
def test_a_legacy_program_that_is_something_else_is_refused(legacy, tmp_path, content):
    shutil.copy(legacy / "plain.pdiparams", tmp_path / "m.pdiparams")
    (tmp_path / "m.pdmodel").write_bytes(content)
    refused(tmp_path / "m", "m.pdmodel cannot be translated")


@pytest.mark.parametrize("kept", [0, 50, -1])
def test_a_checkpoint_that_is_cut_off_is_refused(tmp_path, kept):
    checkpointed(tmp_path / "model")
    cut(tmp_path / "model.pdparams", kept)
    refused(tmp_path / "model", "model.pdparams must be a .pdparams file .* cannot be read")


@pytest.mark.parametrize("change", ["lacking", "shape", "dtype"])
def test_a_checkpoint_of_another_model_is_refused_with_the_param(tmp_path, change):
    net = checkpointed(tmp_path / "model")
    arrays = {name: net.get(name) for name in TWO}
    weight = arrays.pop("linear_1.w_0")
    if change != "lacking":
        arrays["linear_1.w_0"] = weight.T.copy() if change == "shape" else weight.astype("float64")
    paddle.save(arrays, str(tmp_path / "model.pdparams"))
    refused(tmp_path / "model", "lacks linear_1.w_0, or has it in another shape or dtype")
