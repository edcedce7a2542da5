# SPDX-License-Identifier: Apache-2.0
"""Export of a training Program: what is written, what is gone, and what is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import paddle
import pytest
from exported import PARAMS, WEIGHTS, momentum, refused, trained, written, zeros
from legacy_models import data
from nets import Net, branches, convnet, two_linears
from paddle import nn

from paddle_unstructured import (
    Constant,
    Saliency,
    UnstructuredPruner,
)
from paddle_unstructured.export import Exported, export, export_model, open_model

pytestmark = pytest.mark.usefixtures("static")


# -- what is written


def test_a_training_program_becomes_an_inference_model_with_exact_zeros(tmp_path):
    net, pruner = trained()
    found = export(net.program, [net.input], [net.output], str(tmp_path / "model"), pruner, net.exe)
    model = written(tmp_path / "model")
    assert model.param_names == PARAMS and model.feeds == ("x",)
    for name in PARAMS:
        np.testing.assert_array_equal(model.graph.stored(name), net.get(name))
    assert zeros(model, *WEIGHTS) == 18
    x = data(3, 4)
    hidden = np.tanh(x @ net.get(WEIGHTS[0]) + net.get("linear_0.b_0"))
    expected = hidden @ net.get(WEIGHTS[1]) + net.get("linear_1.b_0")
    np.testing.assert_allclose(model.run(x=x)[0], expected, rtol=1e-5, atol=1e-6)
    assert isinstance(found, Exported) and found.path == str(tmp_path / "model") and found.removal is None
    assert found.report.counts["selected"] == (18, 36)
    assert str(found).endswith(f"written: {found.path}.json, {found.path}.pdiparams")


def test_paddle_itself_loads_what_was_written(tmp_path):
    net, pruner = trained()
    export(net.program, [net.input], [net.output], str(tmp_path / "model"), pruner, net.exe)
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, fetches = paddle.static.load_inference_model(str(tmp_path / "model"), net.exe)
        (found,) = net.exe.run(program, feed={feeds[0]: data(3, 4)}, fetch_list=fetches)
    np.testing.assert_array_equal(found, open_model(str(tmp_path)).run(x=data(3, 4))[0])


def test_inputs_by_name_by_value_alone_and_in_lists_give_the_same_file(tmp_path):
    net, pruner = trained()
    files = set()
    for i, (feed, fetch) in enumerate(
        [([net.input], [net.output]), ("x", net.output), (["x"], (net.output,)), (net.input, [net.output])]
    ):
        export(net.program, feed, fetch, tmp_path / f"{i}" / "model", pruner)
        written(tmp_path / f"{i}" / "model")
        files.add(tuple((tmp_path / f"{i}" / f"model{end}").read_bytes() for end in (".json", ".pdiparams")))
    assert len(files) == 1


def test_a_program_before_minimize_is_exported(tmp_path):
    net = Net(two_linears, [3, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    export(net.program, [net.input], [net.output], str(tmp_path / "model"), pruner)
    assert zeros(written(tmp_path / "model"), *WEIGHTS) == 18


def test_a_test_program_is_exported_with_the_pruner_of_the_training_program(tmp_path):
    test = Net(two_linears, [3, 4])
    net, pruner = trained()  # in the same scope, under the same names
    net.put(WEIGHTS[0], np.ones([4, 6]))  # as loading dense weights does; update_params() was forgotten
    export(test.program, [test.input], [test.output], str(tmp_path / "model"), pruner)
    model = written(tmp_path / "model")
    assert zeros(model, *WEIGHTS) == 18 == 36 - int(sum(net.get(name + "_mask").sum() for name in WEIGHTS))


def test_a_pruner_brings_its_scope_along(tmp_path):
    net, pruner = trained(own_scope=True)
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    assert zeros(written(tmp_path / "model"), *WEIGHTS) == 18


def test_a_scope_that_is_given_is_used(tmp_path):
    net = Net(two_linears, [3, 4], own_scope=True)
    export(net.program, "x", net.output, str(tmp_path / "model"), scope=net.scope)
    np.testing.assert_array_equal(written(tmp_path / "model").graph.stored(WEIGHTS[0]), net.get(WEIGHTS[0]))


def test_weights_of_one_scope_get_the_masks_of_the_pruners_scope(tmp_path):
    net, pruner = trained(own_scope=True)
    other = Net(two_linears, [3, 4], own_scope=True, seed=2)
    export(other.program, "x", other.output, str(tmp_path / "model"), pruner, scope=other.scope)
    model = written(tmp_path / "model")
    for name in WEIGHTS:
        np.testing.assert_array_equal(model.graph.stored(name), other.get(name) * net.get(name + "_mask"))


def test_without_a_pruner_the_masks_of_the_program_are_applied(tmp_path):
    net, _ = trained()
    net.put(WEIGHTS[0], np.ones([4, 6]))
    export(net.program, "x", net.output, str(tmp_path / "model"))
    assert zeros(written(tmp_path / "model"), *WEIGHTS) == 18


def test_weights_loaded_without_update_params_are_exported_sparse(tmp_path):
    dense = Net(two_linears, [3, 4], momentum, own_scope=True, seed=3)
    net, pruner = trained()
    for name in PARAMS:
        net.put(name, dense.get(name))
    assert net.zeros(*WEIGHTS) == 0
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    assert zeros(written(tmp_path / "model"), *WEIGHTS) == 18
    assert net.zeros(*WEIGHTS) == 0  # what is in training is left alone


def test_one_output_of_several_takes_only_its_params_along(tmp_path):
    inner = []

    def layers(x):
        inner.append(nn.Linear(4, 6)(x))
        return nn.Linear(6, 2)(inner[0])

    net = Net(layers, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    export(net.program, "x", inner[0], str(tmp_path / "model"), pruner)
    assert written(tmp_path / "model").param_names == {"linear_0.w_0", "linear_0.b_0"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_stored_numbers_come_along_to_the_bit(tmp_path, dtype):
    net = Net(two_linears, [3, 4], momentum, dtype=dtype)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 3)
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    model = written(tmp_path / "model")
    for name in PARAMS:
        assert model.graph.stored(name).tobytes() == (net.get(name) + 0.0).tobytes()  # + 0.0: -0.0 becomes 0.0
    assert zeros(model, *WEIGHTS) == 18


def test_bfloat16_weights_are_masked_and_kept_as_bits(tmp_path):
    def layers(x):
        weight = paddle.create_parameter(
            [8, 4], "bfloat16", name="w", default_initializer=nn.initializer.Normal(0.0, 1.0)
        )
        return paddle.matmul(x, weight.cast("float32"))

    net = Net(layers, [3, 8])
    pruner = UnstructuredPruner(net.program, ratio=0.75)
    pruner.step()
    kept = net.get("w_mask") != 0
    bits = np.random.default_rng(0).integers(0x3F00, 0x4000, (8, 4)).astype("uint16")
    net.put("w", bits)
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    np.testing.assert_array_equal(written(tmp_path / "model").graph.stored("w"), np.where(kept, bits, 0))
    assert kept.sum() == 8


# -- what is gone


def test_shadows_and_accumulators_are_gone(tmp_path):
    net = Net(two_linears, [3, 4], momentum)
    start = paddle.static.Program()
    with paddle.static.program_guard(net.program, start):
        shadow = paddle.pir.core.create_persistable_value(
            "float32", [4, 6], "ema", initializer=nn.initializer.Constant(1.0)
        )
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        weight = next(v for v in net.program.global_block().all_parameters() if v.name == WEIGHTS[0])
        paddle.assign(shadow * 0.9 + weight * 0.1, output=shadow)
    net.exe.run(start)
    pruner = UnstructuredPruner(net.program, criterion=Saliency(batches=2), schedule=Constant(0.5, 3))
    pruner.tie("ema", WEIGHTS[0])
    net.train(pruner, 2)
    assert {"ema", "linear_0.w_0_gathered_1", "linear_0.w_0_mask", "linear_0.w_0_velocity_0"} <= net.everything().keys()
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner, unfinished=True)
    assert written(tmp_path / "model").param_names == PARAMS


def test_dropout_and_norms_are_in_inference_mode(tmp_path):
    net = Net(lambda x: nn.Linear(4, 2)(nn.Dropout(0.5)(nn.BatchNorm1D(4)(x))), [8, 4], momentum)
    net.run()
    export(net.program, "x", net.output, str(tmp_path / "model"))
    model = written(tmp_path / "model")
    before = {name: model.graph.stored(name).tobytes() for name in model.param_names}
    x = data(8, 4)
    (first,) = model.run(x=x)
    np.testing.assert_array_equal(model.run(x=x)[0], first)
    normed = (x - net.get("batch_norm1d_0.w_1")) / np.sqrt(net.get("batch_norm1d_0.w_2") + 1e-5)
    normed = normed * net.get("batch_norm1d_0.w_0") + net.get("batch_norm1d_0.b_0")
    np.testing.assert_allclose(first, normed @ net.get(WEIGHTS[0]) + net.get("linear_0.b_0"), rtol=1e-4, atol=1e-5)
    assert before == {name: model.graph.stored(name).tobytes() for name in model.param_names}


@pytest.mark.parametrize("door", ["export", "export_model"])
def test_dropout_and_norms_inside_a_branch_are_too(tmp_path, door):
    net = Net(branches, [3, 4])
    x, out = -np.abs(data(3, 4)), tmp_path / "out" / "model"
    if door == "export":
        export(net.program, "x", net.output, str(out))
    else:
        paddle.static.save_inference_model(
            str(tmp_path / "in"), [net.input], [net.output], net.exe, program=net.program
        )
        export_model(str(tmp_path / "in"), str(out))
    model = written(out)
    expected = x / np.sqrt(1 + 1e-5) @ net.get(WEIGHTS[1]) + net.get("linear_1.b_0")
    for _ in range(2):
        np.testing.assert_allclose(model.run(x=x)[0], expected, rtol=1e-5, atol=1e-6)
    assert not model.graph.stored("batch_norm1d_0.w_1").any()


# -- what is left alone


@pytest.mark.parametrize("layers, shape", [(two_linears, [3, 4]), (convnet, [2, 2, 4, 4])])
def test_program_and_scope_stay_as_they_are_and_training_goes_on_to_the_same_bits(tmp_path, layers, shape):
    def run(exported: bool) -> dict[str, np.ndarray]:
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = Net(layers, shape, momentum)
            pruner = UnstructuredPruner(net.program, ratio=0.5)
            net.train(pruner, 2)
            if exported:
                variables, text, ops = net.everything(), str(net.program), net.program.num_ops()
                batches = [{"x": data(*shape)}] if layers is convnet else None
                export(net.program, "x", net.output, str(tmp_path / "model"), pruner, net.exe, recalibrate=batches)
                assert (str(net.program), net.program.num_ops()) == (text, ops)
                for name, value in net.everything().items():
                    assert value.tobytes() == variables[name].tobytes(), name
            net.train(pruner, 2)
            return net.everything()

    left, right = run(False), run(True)
    for name, value in left.items():
        np.testing.assert_array_equal(right[name], value)


def test_a_crash_in_the_middle_leaves_the_old_files(tmp_path, monkeypatch):
    net, pruner = trained()
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    old = {file: (tmp_path / file).read_bytes() for file in os.listdir(tmp_path)}
    net.train(pruner, 2)
    real = paddle.static.save_inference_model
    for at in (1, 2):  # while the Program is stripped; while the model is written
        calls = []

        def fail(*args, **kwargs):
            calls.append(args)
            if len(calls) == at:
                Path(args[0] + ".json").write_text("half")
                raise OSError("no space left")
            return real(*args, **kwargs)

        monkeypatch.setattr(paddle.static, "save_inference_model", fail)
        with pytest.raises(OSError, match="no space left"):
            export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
        assert {file: (tmp_path / file).read_bytes() for file in os.listdir(tmp_path)} == old


def test_what_paddle_saves_wrong_gets_no_name(tmp_path, monkeypatch):
    from paddle_unstructured.export import export_program

    net, pruner = trained()

    def save(model, path):
        weight = model.graph.stored(WEIGHTS[0])
        model.graph.store(WEIGHTS[0], weight + 1)
        real(model, path)
        model.graph.store(WEIGHTS[0], weight)

    real = export_program.save_model
    monkeypatch.setattr(export_program, "save_model", save)
    refused(
        tmp_path / "out" / "model",
        "was not written: Paddle saved other values of linear_0.w_0",
        net.program,
        "x",
        net.output,
        pruner,
        error=RuntimeError,
    )
