# SPDX-License-Identifier: Apache-2.0
"""Saved models in memory and back on the disk: every kind of file, and refusal of what is damaged or foreign."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from exported import checkpointed, momentum, saved
from legacy_models import data
from nets import Net, branches, loop, two_linears

from paddle_unstructured import UnstructuredPruner, sparsity_report
from paddle_unstructured.export import open_model, save_checkpoint, save_model
from paddle_unstructured.graph.values import exists
from paddle_unstructured.reconstruction.reconstruct import reconstruct
from paddle_unstructured.saved_model import drafts, find_model

pytestmark = pytest.mark.usefixtures("static")

TWO = {"linear_0.w_0", "linear_0.b_0", "linear_1.w_0", "linear_1.b_0"}


def everything(model) -> dict[str, bytes]:
    return {name: model.graph.stored(name).tobytes() for name in model.param_names}


# -- which model a path means


def test_a_prefix_a_file_and_a_folder_mean_the_same_model(tmp_path):
    saved(tmp_path / "model.v1")
    prefix = str(tmp_path / "model.v1")
    for path in (prefix, prefix + ".json", prefix + ".pdiparams", str(tmp_path), str(tmp_path) + os.sep):
        found = find_model(path)
        assert (found.kind, found.prefix) == ("inference", prefix)
        assert (found.program, found.params) == (prefix + ".json", prefix + ".pdiparams")


def test_each_kind_is_told_by_its_files(tmp_path, legacy):
    for folder in ("i", "c"):
        (tmp_path / folder).mkdir()
    saved(tmp_path / "i" / "model")
    checkpointed(tmp_path / "c" / "model")
    for kind, path in (
        ("inference", tmp_path / "i"),
        ("checkpoint", tmp_path / "c"),
        ("legacy", legacy / "plain"),
        ("legacy", legacy / "plain.pdmodel"),
        ("legacy", legacy / "plain.pdiparams"),
        ("checkpoint", tmp_path / "c" / "model.pdparams"),
        ("checkpoint", tmp_path / "c/model.json"),
    ):
        assert find_model(str(path)).kind == kind


def test_where_kinds_share_a_prefix_the_named_file_decides(tmp_path, legacy):
    shutil.copy(legacy / "plain.pdmodel", tmp_path / "m.pdmodel")
    for ending in (".json", ".pdiparams", ".pdparams"):
        (tmp_path / f"m{ending}").touch()
    assert [find_model(str(tmp_path / "m") + ending).kind for ending in ("", ".json", ".pdmodel", ".pdparams")] == [
        "inference",
        "inference",
        "legacy",
        "checkpoint",
    ]


def test_a_folder_beside_a_model_of_the_same_name_does_not_hide_it(tmp_path):
    saved(tmp_path / "model")
    (tmp_path / "model").mkdir()
    assert find_model(str(tmp_path / "model")).prefix == str(tmp_path / "model")


def test_a_model_in_a_folder_and_one_beside_it_of_its_name_are_refused_with_both(tmp_path):
    (tmp_path / "model").mkdir()
    saved(tmp_path / "model")
    saved(tmp_path / "model" / "a")
    with pytest.raises(ValueError, match=r"one model, but there are .*model/a.json, in .*, and .*model.json, beside"):
        find_model(str(tmp_path / "model"))
    assert find_model(str(tmp_path / "model.json")).prefix == str(tmp_path / "model")


def test_a_folder_with_two_models_is_refused_with_both(tmp_path):
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    with pytest.raises(ValueError, match=r"must hold one model, but holds .*a.pdiparams, .*b.pdiparams; name one"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("left", [[], [".json"], [".pdiparams"], [".pdparams"], [".pdmodel"]])
def test_half_a_model_is_no_model_and_the_error_says_what_was_looked_for(tmp_path, left):
    for ending in left:
        (tmp_path / f"model{ending}").touch()
    for path in (tmp_path, tmp_path / "model", tmp_path / "model.json", tmp_path / "nowhere" / "model"):
        with pytest.raises(FileNotFoundError, match=r"no model at .*\.pdmodel with \.pdiparams \(legacy\)"):
            find_model(str(path))


# -- what is opened


def test_an_inference_model_has_its_weights_inputs_and_outputs(tmp_path):
    net = saved(tmp_path / "model")
    model = open_model(str(tmp_path / "model"))
    assert model.feeds == ("x",) and len(model.fetches) == 1 and model.param_names == TWO
    for name in TWO:
        np.testing.assert_array_equal(model.graph.stored(name), net.get(name))
    (expected,) = net.exe.run(net.program, feed={"x": data(3, 4)}, fetch_list=[net.output], scope=net.scope)
    np.testing.assert_array_equal(model.run(x=data(3, 4))[0], expected)


@pytest.mark.parametrize(
    "name, shape", [("plain", (3, 4)), ("conv", (3, 4, 2, 2)), ("loop", (3, 4)), ("norms", (3, 4, 2, 2))]
)
def test_a_legacy_model_is_translated_and_returns_the_same(legacy, name, shape):
    model = open_model(str(legacy / name))
    assert model.files.kind == "legacy" and model.feeds == ("x",)
    np.testing.assert_allclose(model.run(x=data(*shape))[0], np.load(legacy / f"{name}.npy"), rtol=1e-6)


@pytest.mark.parametrize("name", ["conv", "norms"])
def test_a_legacy_model_can_be_trained_although_it_was_saved_without_what_training_reads(legacy, name):
    """Else the process ends: batch norm's reserve space, an instance norm's statistics, masks of dropout."""
    model = open_model(legacy / name)
    assert all(exists(value) for op in model.program.global_block().ops for value in op.results())
    x = np.random.default_rng(1).normal(size=(32, 4, 2, 2)).astype(np.float32)
    done = reconstruct(legacy / name, [{"x": x}], ratio=0.5, steps=5)
    assert done.pruner.sparsity() == 0.5 and np.isfinite(done.model.run(x=x)[0]).all()


def test_a_legacy_model_is_pruned_and_saved_as_a_model_of_paddle_3(legacy, tmp_path):
    model = open_model(str(legacy / "conv"))
    UnstructuredPruner(model.program, ratio=0.5, scope=model.scope).step()
    save_model(model, str(tmp_path / "new"))
    again = open_model(str(tmp_path / "new"))
    assert again.files.kind == "inference" and again.param_names < model.param_names  # which has masks now
    assert everything(again) == {name: everything(model)[name] for name in again.param_names}
    assert sparsity_report(again.program, again.scope).counts["selected"] == (40, 80)
    np.testing.assert_array_equal(again.run(x=data(3, 4, 2, 2))[0], model.run(x=data(3, 4, 2, 2))[0])


def test_a_checkpoint_is_its_training_program_with_its_weights(tmp_path):
    net = checkpointed(tmp_path / "model")
    model = open_model(str(tmp_path / "model"))
    assert model.fetches == () and model.feeds == ("x",)
    for name in TWO:
        np.testing.assert_array_equal(model.graph.stored(name), net.get(name))
    assert sparsity_report(model.program, model.scope).counts["selected"] == (0, 36)


@pytest.mark.parametrize("layers", [loop, branches])
def test_layers_inside_loops_and_branches_come_along(tmp_path, layers):
    net = saved(tmp_path / "model", layers)
    model = open_model(str(tmp_path / "model"))
    save_model(model, str(tmp_path / "again"))
    again = open_model(str(tmp_path / "again"))
    assert everything(again) == everything(model)
    assert "linear_0.w_0" in {row.name for row in sparsity_report(model.program, model.scope).rows if row.pruned}
    x = data(3, 4) + 1  # the branch without dropout, which Paddle leaves in training mode inside branches
    (expected,) = net.exe.run(net.program, feed={"x": x}, fetch_list=[net.output], scope=net.scope)
    for found in (model, again):
        np.testing.assert_array_equal(found.run(x=x)[0], expected)


def test_two_models_with_the_same_names_do_not_disturb_each_other(tmp_path):
    saved(tmp_path / "a", seed=1)
    saved(tmp_path / "b", seed=2)
    a, b = open_model(str(tmp_path / "a")), open_model(str(tmp_path / "b"))
    before, (out,) = everything(b), b.run(x=data(3, 4))
    UnstructuredPruner(a.program, ratio=1.0, scope=a.scope).step()
    assert not a.graph.stored("linear_0.w_0").any()
    assert everything(b) == before
    np.testing.assert_array_equal(b.run(x=data(3, 4))[0], out)
    assert paddle.static.global_scope().find_var("linear_0.w_0") is None


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_dtypes_are_read_and_written_to_the_bit(tmp_path, dtype):
    saved(tmp_path / "model", stored_as(dtype))
    model = open_model(str(tmp_path / "model"))
    save_model(model, str(tmp_path / "again"))
    assert (tmp_path / "again.pdiparams").read_bytes() == (tmp_path / "model.pdiparams").read_bytes()
    assert {param.dtype for param in model.graph.params()} == {dtype}
    assert model.graph.array("weight").any()


def stored_as(dtype: str):
    """A product with a weight [4, 3] that is stored in a dtype, and computed in float32."""

    def layers(x):
        weight = paddle.create_parameter(
            [4, 3], dtype, name="weight", default_initializer=paddle.nn.initializer.Constant(0.3)
        )
        return paddle.matmul(x, weight.cast("float32"))

    return layers


def test_a_model_without_params_is_opened(tmp_path):
    net = Net(lambda x: x * 2.0, [3, 4], own_scope=True)
    with pytest.warns(UserWarning, match="no variable in your model"):
        paddle.static.save_inference_model(
            str(tmp_path / "model"), [net.input], [net.output], net.exe, program=net.program
        )
    with pytest.raises(FileNotFoundError, match="no model at"):  # Paddle writes no .pdiparams
        open_model(str(tmp_path / "model"))


def test_dynamic_mode_is_refused_with_the_way_out(tmp_path):
    saved(tmp_path / "model")
    paddle.disable_static()
    try:
        with pytest.raises(ValueError, match=r"dynamic mode.*paddle.enable_static\(\)"):
            open_model(str(tmp_path / "model"))
    finally:
        paddle.enable_static()


# -- writing


def test_a_checkpoint_is_written_again_with_its_new_weights_and_all_else_as_it_was(tmp_path):
    net = checkpointed(tmp_path / "model")
    model = open_model(str(tmp_path / "model"))
    UnstructuredPruner(model.program, ratio=0.5, scope=model.scope).step()
    save_checkpoint(model, str(tmp_path / "out" / "pruned"))
    assert sorted(os.listdir(tmp_path / "out")) == ["pruned.json", "pruned.pdopt", "pruned.pdparams"]
    for ending in (".json", ".pdopt"):
        assert (tmp_path / "out" / f"pruned{ending}").read_bytes() == (tmp_path / f"model{ending}").read_bytes()
    again = Net(two_linears, [3, 4], momentum, own_scope=True, seed=2)
    with paddle.static.scope_guard(again.scope):
        paddle.static.load(again.program, str(tmp_path / "out" / "pruned"), again.exe)
    assert again.zeros("linear_0.w_0", "linear_1.w_0") == 18
    for name, value in net.everything().items():  # accumulators are as they were
        found = again.get(name)
        np.testing.assert_array_equal(found, np.where(found == 0, 0, value) if name.endswith(".w_0") else value)
    reopened = open_model(str(tmp_path / "out"))
    for name in TWO:
        np.testing.assert_array_equal(reopened.graph.stored(name), model.graph.stored(name))


@pytest.mark.parametrize("ending", ["", ".json", ".pdiparams"])
def test_an_output_may_be_named_by_its_prefix_or_one_of_its_files(tmp_path, ending):
    saved(tmp_path / "model")
    save_model(open_model(str(tmp_path / "model")), str(tmp_path / "out" / "again") + ending)
    assert sorted(os.listdir(tmp_path / "out")) == ["again.json", "again.pdiparams"]


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    saved(tmp_path / "model")
    with pytest.raises(ValueError, match="must be the prefix of the files to write"):
        save_model(open_model(str(tmp_path / "model")), str(tmp_path / "out") + "/")
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.pdiparams"]


def test_what_fails_before_its_end_leaves_what_was_there(tmp_path):
    (tmp_path / "model.json").write_text("old")
    with pytest.raises(RuntimeError, match="full"), drafts(str(tmp_path / "model")) as draft:
        Path(draft + ".json").write_text("new")
        raise RuntimeError("the disk is full")
    assert os.listdir(tmp_path) == ["model.json"]
    assert (tmp_path / "model.json").read_text() == "old"
