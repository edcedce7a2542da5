# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is whole or it is not there, and a load takes all or nothing."""

import checkpoints
import numpy as np
import paddle
import pytest
from checkpoints import BadCheckpoint, State, atomic_folder
from inference import export, load_inference
from programs import build_net, parameters


def test_a_killed_write_leaves_the_old_checkpoint(tmp_path):
    with atomic_folder(tmp_path / "epoch_0") as fresh:
        State({}, epoch=0, step=7).write(fresh)
    with pytest.raises(KeyboardInterrupt):
        with atomic_folder(tmp_path / "epoch_0") as fresh:
            (fresh / "state.json").write_text('{"half')
            raise KeyboardInterrupt
    assert State.read(checkpoints.find_checkpoint(tmp_path)).step == 7


def test_a_half_written_checkpoint_is_not_picked_up_and_the_next_write_replaces_it(tmp_path):
    for kill in (True, False):
        try:
            with atomic_folder(tmp_path / "epoch_3") as fresh:
                State({}, epoch=3).write(fresh)
                if kill:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert checkpoints.epochs(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_3"]


def test_the_latest_epoch_is_found_by_number(tmp_path):
    for epoch in (2, 10):
        with atomic_folder(tmp_path / f"epoch_{epoch}") as fresh:
            State({}, epoch=epoch).write(fresh)
    assert checkpoints.find_checkpoint(tmp_path).name == "epoch_10"
    assert checkpoints.find_checkpoint(tmp_path, 2).name == "epoch_2"
    with pytest.raises(BadCheckpoint, match=r"no checkpoint of epoch 5; it has \[2, 10\]"):
        checkpoints.find_checkpoint(tmp_path, 5)


def test_a_kill_between_two_names_leaves_the_old_checkpoint_to_readers_and_the_next_writer(tmp_path):
    folder, aside = tmp_path / "epoch_3", tmp_path / ".epoch_3.old"
    for name in (folder, tmp_path / "epoch_1"):
        with atomic_folder(name) as fresh:
            State({}, epoch=int(name.name[-1]), step=7).write(fresh)
            (fresh / "model.pdparams").touch()
    folder.rename(aside)
    assert checkpoints.epochs(tmp_path) == {1: tmp_path / "epoch_1", 3: aside}
    assert checkpoints.find_checkpoint(tmp_path) == checkpoints.find_checkpoint(folder) == aside
    assert checkpoints.find_weights(tmp_path) == checkpoints.find_weights(folder) == aside / "model.pdparams"
    with pytest.raises(KeyboardInterrupt):
        with atomic_folder(folder):
            raise KeyboardInterrupt
    assert checkpoints.find_checkpoint(tmp_path) == folder and State.read(folder).step == 7


def saved_lenet(exe, folder):
    net = build_net("LeNet", image_shape=(1, 8, 8), classes=10)
    exe.run(net.startup)
    paddle.static.save(net.test, str(folder / "model"))
    return net, folder / "model.pdparams"


def test_a_missing_variable_is_named_and_nothing_is_changed(static, tmp_path):
    net, file = saved_lenet(static, tmp_path)
    state = paddle.load(str(file))
    del state["conv2d_1.w_0"]
    paddle.save(state, str(file))
    with paddle.static.scope_guard(paddle.static.Scope()):
        with pytest.raises(BadCheckpoint, match="conv2d_1.w_0 is missing"):
            checkpoints.load_weights(file, parameters(net.test), paddle.CPUPlace())
        assert paddle.static.global_scope().find_var("conv2d_0.w_0") is None


def test_weights_of_another_net_are_refused_with_both_shapes(static, tmp_path):
    _, file = saved_lenet(static, tmp_path)
    other = build_net("LeNet", image_shape=(3, 8, 8), classes=10)
    with pytest.raises(BadCheckpoint, match=r"conv2d_0.w_0 is \[6, 1, 3, 3\] instead of \[6, 3, 3, 3\]"):
        checkpoints.load_weights(file, parameters(other.test), paddle.CPUPlace())


def test_a_file_of_something_else_is_refused(static, tmp_path):
    net, _ = saved_lenet(static, tmp_path)
    (tmp_path / "x.pdparams").write_text("not weights")
    with pytest.raises(BadCheckpoint, match="x.pdparams must be a .pdparams file"):
        checkpoints.load_weights(tmp_path / "x.pdparams", parameters(net.test), paddle.CPUPlace())


def test_a_truncated_inference_model_is_refused_by_variable(static, tmp_path):
    net, _ = saved_lenet(static, tmp_path)
    export(tmp_path / "inference", net, static, State({}))
    file = tmp_path / "inference" / "model.pdiparams"
    content = file.read_bytes()
    file.write_bytes(content[:-3000])  # the last variable's values take 3,360 bytes
    with pytest.raises(ValueError, match="model.pdiparams .*linear_2.w_0"):
        load_inference(tmp_path / "inference", static.place)


def test_a_broken_inference_program_is_refused(static, tmp_path):
    net, _ = saved_lenet(static, tmp_path)
    export(tmp_path / "inference", net, static, State({}))
    (tmp_path / "inference" / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="model.json .*Program of Paddle 3"):
        load_inference(tmp_path / "inference", static.place)


def test_an_exported_model_has_no_negative_zeros(static, gmp):
    weight = load_inference(gmp / "inference", static.place).graph.array("linear_1.w_0")
    assert (weight == 0).mean() > 0.5 and not np.signbit(weight[weight == 0]).any()
