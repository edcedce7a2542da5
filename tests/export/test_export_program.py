# SPDX-License-Identifier: Apache-2.0
"""From a Program in training to an inference model: stripped, masked, checked, and nothing else touched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import paddle
import pytest
from legacy_models import data
from nets import Net, branches, convnet, masks_in, two_linears
from paddle import nn

from paddle_unstructured import (
    Block,
    Constant,
    Filter,
    Polynomial,
    Saliency,
    UnstructuredPruner,
    checkpoint,
    sparsity_report,
)
from paddle_unstructured.export import Exported, export, export_model, open_model
from paddle_unstructured.export.recalibration import recalibrate
from paddle_unstructured.saved_model import Model

pytestmark = pytest.mark.usefixtures("static")

WEIGHTS = ("linear_0.w_0", "linear_1.w_0")
PARAMS = {*WEIGHTS, "linear_0.b_0", "linear_1.b_0"}


def momentum():
    return paddle.optimizer.Momentum(0.1, 0.9)


def trained(steps: int = 2, optimizer=momentum, own_scope: bool = False, **kwargs) -> tuple[Net, UnstructuredPruner]:
    net = Net(two_linears, [3, 4], optimizer, own_scope=own_scope)
    pruner = UnstructuredPruner(net.program, scope=net.scope, **({"ratio": 0.5} | kwargs))
    net.train(pruner, steps)
    return net, pruner


def zeros(model: Model, *names: str) -> int:
    return sum(int((model.graph.array(name) == 0).sum()) for name in names)


def written(path: Path) -> Model:
    """The model at `path`, which is all that was written; no trace of training is in it."""
    assert sorted(os.listdir(path.parent)) == [path.name + ".json", path.name + ".pdiparams"]
    model = open_model(str(path))
    names = [op.name() for op in model.program.global_block().ops]
    assert not masks_in(model.program) and not any("_grad" in name or "momentum" in name for name in names)
    assert "callstack" not in Path(str(path) + ".json").read_text()
    return model


def refused(path: Path, message: str, *args, error=ValueError, **kwargs) -> None:
    """`export` refuses, and writes nothing."""
    with pytest.raises(error, match=message):
        export(*args[:3], str(path), *args[3:], **kwargs)
    assert not path.parent.exists() or not os.listdir(path.parent)


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


# -- what is refused


def test_a_target_that_is_not_reached_is_refused_with_the_layer_that_lacks_most(tmp_path):
    net, pruner = unfinished()
    message = r"the sparsity is 0\.\d+ and not yet 0.8 \(least in linear_\d.w_0: 0\.\d+\).*unfinished=True"
    refused(tmp_path / "out" / "model", message, net.program, "x", net.output, pruner)
    export(net.program, "x", net.output, str(tmp_path / "out" / "model"), pruner, unfinished=True)
    assert zeros(written(tmp_path / "out" / "model"), *WEIGHTS) == net.zeros(*WEIGHTS) < 28


def unfinished() -> tuple[Net, UnstructuredPruner]:
    net = Net(two_linears, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, schedule=Polynomial(final=0.8, begin_step=0, end_step=10, initial=0.2))
    net.train(pruner, 2)
    return net, pruner


def test_masks_that_were_replaced_behind_the_pruners_back_are_noticed(tmp_path):
    net, pruner = trained()
    for name in WEIGHTS:  # as loading a checkpoint of step 0 does
        net.put(name + "_mask", np.ones_like(net.get(name)))
        net.put(name, np.ones_like(net.get(name)))
    refused(tmp_path / "out" / "model", "the sparsity is 0.0000 and not yet 0.5", net.program, "x", net.output, pruner)
    pruner.update_params()
    refused(tmp_path / "out" / "model", "the sparsity is 0.0000 and not yet 0.5", net.program, "x", net.output, pruner)


def test_a_threshold_that_was_never_applied_is_refused(tmp_path):
    net = Net(two_linears, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, mode="threshold", threshold=0.3)
    refused(tmp_path / "out" / "model", "no update was made yet", net.program, "x", net.output, pruner)
    net.train(pruner)
    export(net.program, "x", net.output, str(tmp_path / "out" / "model"), pruner)
    assert zeros(written(tmp_path / "out" / "model"), *WEIGHTS) == net.zeros(*WEIGHTS) > 0


def only_first(param):
    return param.name == WEIGHTS[0]


def test_an_incomplete_n_m_pattern_is_refused_with_the_layer(tmp_path):
    net, pruner = trained(ratio=0.25, pattern="2:4", select=only_first)
    refused(
        tmp_path / "out" / "model",
        r"linear_0.w_0 is not NM\(n=2, m=4.*\): \d of 6 groups of 4 keep more than 2",
        net.program,
        "x",
        net.output,
        pruner,
    )
    export(net.program, "x", net.output, str(tmp_path / "out" / "model"), pruner, unfinished=True)
    assert zeros(written(tmp_path / "out" / "model"), WEIGHTS[0]) == 6


def test_a_complete_n_m_pattern_is_exported(tmp_path):
    net, pruner = trained(ratio=0.5, pattern="2:4", select=only_first)
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner)
    kept = written(tmp_path / "model").graph.stored(WEIGHTS[0]) != 0
    np.testing.assert_array_equal(kept.sum(0), [2] * 6)  # [in, out]: one group of four inputs per output


@pytest.mark.parametrize("pattern, fault", [(Block(2, 1), "1 of 12 blocks"), (Filter(), "1 of 6 blocks")])
def test_a_broken_block_is_refused_with_the_layer(tmp_path, pattern, fault):
    net, pruner = trained(ratio=0.5, pattern=pattern, select=only_first)
    export(net.program, "x", net.output, str(tmp_path / "whole" / "model"), pruner)
    mask = net.get(WEIGHTS[0] + "_mask")
    row, column = np.argwhere(mask == 1)[0]
    mask[row, column] = 0
    net.put(WEIGHTS[0] + "_mask", mask)
    refused(
        tmp_path / "out" / "model",
        rf"linear_0.w_0 is not .*: {fault} are zero in part",
        net.program,
        "x",
        net.output,
        pruner,
    )


def foreign(net: Net) -> Net:
    net.other = Net(two_linears, [3, 4], own_scope=True)  # a value whose Program is gone takes the process down
    return net.other


@pytest.mark.parametrize(
    "feed, fetch, message",
    [
        ("y", "output", r"`feed` must name or be inputs of the Program \(z, x\), got 'y'"),
        ("linear_0.w_0_mask", "output", r"`feed` must name or be inputs of the Program \(z, x\)"),
        (lambda net: foreign(net).input, "output", "got the value 'x', which is none of them"),
        ([], "output", "`feed` must hold every input that `fetch` needs, and lacks x"),
        (["x", "z"], "output", "`feed` must hold inputs that `fetch` depends on, and no others"),
        ("x", lambda net: foreign(net).output, "`fetch` must be values of the Program"),
        ("x", lambda net: "output", "`fetch` must be values of the Program.*got 'output'"),
        ("x", lambda net: [], "`fetch` must be at least one value"),
        ("x", lambda net: net.input, "`fetch` must be what the params compute"),
    ],
)
def test_inputs_and_outputs_that_do_not_fit_are_refused(tmp_path, feed, fetch, message):
    net = Net(two_linears, [3, 4])
    UnstructuredPruner(net.program)
    with paddle.static.program_guard(net.program):
        paddle.static.data("z", [3, 4])
    feed = feed(net) if callable(feed) else feed
    fetch = net.output if fetch == "output" else fetch(net)
    refused(tmp_path / "out" / "model", message, net.program, feed, fetch)


def test_an_executor_in_the_pruners_place_is_refused_with_the_way_out(tmp_path):
    net = Net(two_linears, [3, 4])
    refused(
        tmp_path / "out" / "model",
        "`pruner` must be a pruner or None, got Executor",
        net.program,
        "x",
        net.output,
        net.exe,
        error=TypeError,
    )


def test_weights_or_masks_without_a_value_are_refused(tmp_path):
    net, pruner = trained()
    empty, other = paddle.static.Scope(), Net(two_linears, [3, 4], own_scope=True)
    refused(tmp_path / "out" / "model", "have no value in the scope", net.program, "x", net.output, scope=empty)
    refused(
        tmp_path / "out" / "model",
        "masks that have no value in the scope, linear_0.w_0_mask",
        net.program,
        "x",
        net.output,
        scope=other.scope,
    )


# -- batch norms measured anew


def normed(x):
    """Linear layer, batch norm over 3 features, dropout."""
    return nn.Dropout(0.5)(nn.BatchNorm1D(3)(nn.Linear(4, 3)(x)))


def test_statistics_are_the_average_of_the_batches_own(tmp_path):
    net = Net(normed, [-1, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    batches = [{"x": np.random.default_rng(k).normal(k, 1 + k, (6 + k, 4)).astype("float32")} for k in range(3)]
    export(net.program, "x", net.output, str(tmp_path / "model"), pruner, recalibrate=iter(batches))
    model = written(tmp_path / "model")
    weight, bias = (model.graph.stored(f"linear_0.{name}").astype("float64") for name in ("w_0", "b_0"))
    outputs = [batch["x"].astype("float64") @ weight + bias for batch in batches]
    # 1e-5: Paddle computes and stores in float32
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_0.w_1"), np.mean([y.mean(0) for y in outputs], 0), 1e-5)
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_0.w_2"), np.mean([y.var(0) for y in outputs], 0), 1e-5)
    assert (net.get("batch_norm1d_0.w_2") == 1).all()  # the net's own are left alone


def test_every_norm_sees_what_the_norms_before_it_give_in_training_mode():
    def layers(x):
        first, second = nn.BatchNorm1D(4), nn.BatchNorm1D(4)
        return second(first(x) * 3.0)

    net = Net(layers, [8, 4], own_scope=True)
    model = opened(net)
    assert recalibrate(model, [{"x": data(8, 4) * 7 + 5}]) == 1
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_1.w_1"), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_1.w_2"), np.full(4, 9.0), rtol=1e-5)


def opened(net: Net) -> Model:
    feeds, fetches = ("x",), (net.output,)
    return Model(None, net.program, net.scope, paddle.CPUPlace(), feeds, fetches)


def test_numbers_of_another_dtype_are_cast():
    net = Net(normed, [6, 4], own_scope=True)
    x = data(6, 4)
    recalibrate(opened(net), [{"x": x}])
    expected = net.get("batch_norm1d_0.w_1")
    recalibrate(opened(net), [{"x": x.astype("float64").tolist()}])
    np.testing.assert_array_equal(net.get("batch_norm1d_0.w_1"), expected)


def test_a_norm_in_a_branch_counts_the_batches_that_reach_it():
    net = Net(branches, [3, 4], own_scope=True)
    below, above = -np.abs(data(3, 4)), np.abs(data(3, 4))
    assert recalibrate(opened(net), [{"x": above}, {"x": below}, {"x": above}]) == 3
    np.testing.assert_allclose(net.get("batch_norm1d_0.w_1"), below.mean(0), rtol=1e-5)
    np.testing.assert_allclose(net.get("batch_norm1d_0.w_2"), below.var(0), rtol=1e-4)


GOOD = {"x": -np.ones((3, 4), "float32")}


@pytest.mark.parametrize(
    "batches, error, message",
    [
        ([], ValueError, "at least one batch of feeds, got none"),
        (GOOD, TypeError, "must be a list .* of batches, .* got dict"),
        (7, TypeError, "must be a list .* of batches, .* got int"),
        ([GOOD, 3], TypeError, "got int as batch 2"),
        ([GOOD, {}], ValueError, "must give arrays for x, got none in batch 2"),
        ([GOOD, {"y": GOOD["x"]}], ValueError, "must give arrays for x, got y in batch 2"),
        (
            [GOOD, {"x": np.ones((3, 5), "float32")}],
            ValueError,
            r"must give x the shape \[3, 4\], got \[3, 5\] in batch 2",
        ),
        ([{"x": -GOOD["x"]}], ValueError, "no batch goes through the branch of batch_norm1d_0.w_1"),
        (
            [GOOD, {"x": np.full((3, 4), np.nan, "float32")}],
            ValueError,
            "norm1d_0.w_1, batch_norm1d_0.w_2 would be NaN",
        ),
    ],
)
def test_batches_that_do_not_fit_leave_the_scope_as_it_was(batches, error, message):
    net = Net(branches, [3, 4], own_scope=True)
    before = net.everything()
    with pytest.raises(error, match=message):
        recalibrate(opened(net), batches)
    for name, value in net.everything().items():
        assert value.tobytes() == before[name].tobytes()


def test_a_crash_between_batches_leaves_the_scope_as_it_was():
    net = Net(branches, [3, 4], own_scope=True)
    before = net.everything()

    def batches():
        yield GOOD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recalibrate(opened(net), batches())
    for name, value in net.everything().items():
        assert value.tobytes() == before[name].tobytes()


def twice(x):
    norm = nn.BatchNorm1D(4)
    return norm(norm(x) + 1.0)


def in_loop(x):
    norm, i = nn.BatchNorm1D(4), paddle.zeros([1], "int64")
    return paddle.static.nn.while_loop(lambda i, h: (i < 3).all(), lambda i, h: [i + 1, norm(h) + 1.0], [i, x])[1]


@pytest.mark.parametrize("layers", [twice, in_loop])
def test_a_norm_that_a_batch_updates_twice_is_refused(layers):
    with pytest.raises(ValueError, match="a batch updates batch_norm1d_0.w_1 more than once"):
        recalibrate(opened(Net(layers, [3, 4], own_scope=True)), [GOOD])


def test_a_model_without_norms_is_refused(tmp_path):
    net = Net(two_linears, [3, 4])
    refused(
        tmp_path / "out" / "model",
        "must be left out: the model has no batch norm",
        net.program,
        "x",
        net.output,
        recalibrate=[{"x": data(3, 4)}],
    )


# -- a saved model in, another one out


def saved(path: Path, layers=two_linears, shape=(3, 4)) -> Net:
    net = Net(layers, list(shape), own_scope=True, seed=5)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model(str(path), [net.input], [net.output], net.exe, program=net.program)
    return net


def test_weights_and_masks_of_a_training_run_go_into_a_saved_model(tmp_path):
    saved(tmp_path / "model")
    net, pruner = trained()
    pruner.save(str(tmp_path / "masks"))
    net.put(WEIGHTS[0], np.ones([4, 6]))  # dense weights: the masks must do it
    paddle.static.save(net.program, str(tmp_path / "train"))
    found = export_model(
        str(tmp_path / "model"),
        str(tmp_path / "out" / "model"),
        weights=str(tmp_path / "train.pdparams"),
        masks=str(tmp_path / "masks"),
    )
    model = written(tmp_path / "out" / "model")
    masks = checkpoint.load(str(tmp_path / "masks"))["masks"]
    for name in PARAMS:
        np.testing.assert_array_equal(model.graph.stored(name), net.get(name) * masks.get(name, True))
    assert found.report == sparsity_report(model.program, model.scope)


def test_masks_of_another_model_are_refused(tmp_path):
    saved(tmp_path / "model", lambda x: nn.Linear(4, 5)(x))
    _, pruner = trained()
    pruner.save(str(tmp_path / "masks"))
    with pytest.raises(ValueError, match="the masks do not fit the model: linear_0.w_0"):
        export_model(str(tmp_path / "model"), str(tmp_path / "out" / "model"), masks=str(tmp_path / "masks"))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_cannot_be_exported_and_the_error_says_what_can(tmp_path):
    net, _ = trained()
    paddle.static.save(net.program, str(tmp_path / "train"))
    with pytest.raises(ValueError, match="is a training checkpoint, and does not say what its outputs are"):
        export_model(str(tmp_path / "train"), str(tmp_path / "out" / "model"))


def test_batches_for_norms_are_read_from_a_file(tmp_path):
    net = saved(tmp_path / "model", normed, (6, 4))
    xs = np.stack([data(6, 4), data(6, 4) * 2])
    np.savez(tmp_path / "batches.npz", x=xs)
    export_model(str(tmp_path / "model"), str(tmp_path / "out" / "model"), recalibrate=str(tmp_path / "batches.npz"))
    model = written(tmp_path / "out" / "model")
    means = [(x @ net.get(WEIGHTS[0]) + net.get("linear_0.b_0")).mean(0) for x in xs]
    np.testing.assert_allclose(model.graph.stored("batch_norm1d_0.w_1"), np.mean(means, 0), rtol=1e-4, atol=1e-6)
