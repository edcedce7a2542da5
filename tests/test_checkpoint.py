# SPDX-License-Identifier: Apache-2.0
"""A pruner's state in one file: exact resuming, and refusal of whatever is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors
import safetensors.numpy
from nets import Net, two_linears
from paddle import optimizer

from paddle_unstructured import (
    Constant,
    Filter,
    Global,
    MeanActivation,
    Polynomial,
    Saliency,
    Threshold,
    UnstructuredPruner,
    checkpoint,
)

pytestmark = pytest.mark.usefixtures("static")

TWO = ("linear_0.w_0", "linear_1.w_0")
RAMP = Polynomial(final=0.8, begin_step=1, end_step=5, initial=0.2)


def momentum():
    return optimizer.Momentum(0.1, 0.9)


def adam():
    return optimizer.Adam(0.05)


def started(make_optimizer=momentum, seed: int = 1, **kwargs) -> tuple[Net, UnstructuredPruner]:
    net = Net(two_linears, [3, 4], make_optimizer, seed=seed)
    return net, UnstructuredPruner(net.program, **({"schedule": RAMP} | kwargs))


@pytest.fixture
def file(static, tmp_path) -> str:
    """The state of a pruner after three steps."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        net, pruner = started()
        net.train(pruner, 3)
        pruner.save(str(tmp_path / "state"))
    return str(tmp_path / "state")


def refused(path: str, message: str) -> None:
    """Loading fails with the message, and neither the net nor the pruner is changed."""
    net, pruner = started(seed=2)
    net.train(pruner, 2)
    before, state = net.everything(), (pruner.steps, pruner.sparsity(), pruner.threshold, pruner.ratio)
    with pytest.raises(ValueError, match=message) as error:
        pruner.load(path)
    assert path in str(error.value)
    assert state == (pruner.steps, pruner.sparsity(), pruner.threshold, pruner.ratio)
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


# -- there and back


def test_masks_and_progress_come_back(tmp_path):
    net, pruner = started()
    net.train(pruner, 4)
    pruner.save(str(tmp_path / "state"))
    state = pruner.state_dict()
    with paddle.static.scope_guard(paddle.static.Scope()):
        _, again = started(seed=2)
        again.load(str(tmp_path / "state"))
        loaded = again.state_dict()
    assert {k: v for k, v in loaded.items() if k != "masks"} == {k: v for k, v in state.items() if k != "masks"}
    assert list(loaded["masks"]) == list(state["masks"]) == list(TWO)
    for name, mask in state["masks"].items():
        assert mask.dtype == loaded["masks"][name].dtype == bool
        np.testing.assert_array_equal(loaded["masks"][name], mask)
    assert again.sparsity() == pruner.sparsity()


def test_loading_over_dense_weights_prunes_them(file):
    net, pruner = started(seed=2)
    pruner.load(file)
    for weight in TWO:
        np.testing.assert_array_equal(net.get(weight) == 0, net.get(pruner.masks[weight]) == 0)
    assert net.zeros(*TWO) == round(RAMP(2) * 36)


def test_loading_over_pruned_weights_brings_the_saved_masks_back(file):
    net, pruner = started(seed=3)
    net.train(pruner, 5)
    pruner.load(file)
    masks = checkpoint.load(file)["masks"]
    for weight in TWO:
        np.testing.assert_array_equal(net.get(pruner.masks[weight]) != 0, masks[weight])
        assert (net.get(weight)[~masks[weight]] == 0).all()
    net.run()
    assert pruner.sparsity() == round(RAMP(2) * 36) / 36


SNIP = {"criterion": Saliency(batches=2)}
WAYS = {
    "GMP": {},
    "constant": {"schedule": Constant(0.5)},
    "late": {"schedule": Constant(0.5, begin_step=4)},
    "threshold": {"schedule": None, "allocation": Threshold(0.2, update_every=2)},
    "n:m": {"pattern": "2:4", "schedule": None, "select": lambda param: param.name == TWO[0]},
    "SNIP, done": SNIP | {"schedule": Constant(0.5)},
    "SNIP, gathering": SNIP | {"schedule": Constant(0.5, 3)},
    "SNIP, not yet": SNIP | {"schedule": Constant(0.5, 5)},
    "SNIP, gradually": SNIP,
    "outputs": {"criterion": MeanActivation(batches=2), "pattern": Filter(), "schedule": Constant(0.5, 3)},
}


@pytest.mark.parametrize("make_optimizer", [momentum, adam])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weights_first", [False, True])  # paddle.static.load before or after the pruner is made
def test_three_steps_a_file_and_three_steps_are_six_steps_to_the_bit(make_optimizer, way, weights_first, tmp_path):
    if way == "SNIP, done" and not weights_first:
        pytest.skip("paddle.static.load wants the accumulators, which are gone in the checkpoint; load() says so")
    parts = WAYS[way]
    whole, pruner = started(make_optimizer, **parts)
    whole.train(pruner, 6)
    with paddle.static.scope_guard(paddle.static.Scope()):
        half, pruner_of_half = started(make_optimizer, **parts)
        half.train(pruner_of_half, 3)
        paddle.static.save(half.program, str(tmp_path / "net"))
        pruner_of_half.save(str(tmp_path / "state"))
    with paddle.static.scope_guard(paddle.static.Scope()):
        rest = Net(two_linears, [3, 4], make_optimizer, seed=2)
        if weights_first:
            paddle.static.load(rest.program, str(tmp_path / "net"), rest.exe)
        resumed = UnstructuredPruner(rest.program, **({"schedule": RAMP} | parts))
        if not weights_first:
            paddle.static.load(rest.program, str(tmp_path / "net"), rest.exe)
        resumed.load(str(tmp_path / "state"))
        rest.steps = 3
        rest.train(resumed, 3)
        found = rest.everything()
    assert resumed.steps == pruner.steps == 6
    for name, value in whole.everything().items():
        np.testing.assert_array_equal(found[name], value)


def test_a_pruner_made_before_minimize_resumes_too(file):
    net, pruner = started(None, seed=2)
    pruner.load(file)
    net.minimize(adam)
    net.run()  # masks are attached by the next step only
    pruner.step()
    for _ in range(2):
        net.run()
        assert net.zeros(*TWO) == round(RAMP(3) * 36)


def test_a_state_holds_a_mask_as_bits(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        assert {name: opened.get_tensor(name).size for name in opened.keys()} == {TWO[0]: 3, TWO[1]: 2}


def test_gathered_sums_are_in_the_file_with_their_number_of_batches(tmp_path):
    net, pruner = started(criterion=Saliency(batches=4), schedule=Constant(0.5, 6))
    net.train(pruner, 5)
    pruner.save(str(tmp_path / "state"))
    (gathered,) = checkpoint.load(str(tmp_path / "state"))["gathered"]
    assert gathered["batches"] == 2
    for name in TWO:
        assert gathered["sums"][name].any()
        np.testing.assert_array_equal(gathered["sums"][name], net.get(f"{name}_gathered_1"))


def test_sums_of_another_criterion_are_refused(tmp_path):
    net, pruner = started(criterion=Saliency(batches=2), schedule=Constant(0.5, 3))
    net.train(pruner, 2)
    pruner.save(str(tmp_path / "state"))
    with paddle.static.scope_guard(paddle.static.Scope()):
        _, other = started(criterion=MeanActivation(batches=2), pattern=Filter(), schedule=Constant(0.5, 3))
        with pytest.raises(ValueError, match="state cannot be loaded here: .* make the pruner with the criterion"):
            other.load(str(tmp_path / "state"))
        assert other.steps == 0


def test_going_on_under_another_schedule_is_said(file, caplog):
    _, pruner = started(seed=2, schedule=Constant(0.9))
    pruner.load(file)
    assert "saved under the schedule Polynomial(final=0.8" in caplog.text
    assert "goes on with Constant(sparsity=0.9" in caplog.text


def test_weights_of_another_dtype_are_refused(file):
    net = Net(two_linears, [3, 4], momentum, dtype="float64")
    pruner = UnstructuredPruner(net.program, schedule=RAMP)
    with pytest.raises(ValueError, match="linear_0.w_0 float32 there, float64 here"):
        pruner.load(file)
    assert net.zeros(*TWO) == 0


def test_applying_loaded_masks_counts_them(tmp_path):
    net, pruner = started(schedule=Constant(0.5))
    net.train(pruner)
    paddle.static.save(net.program, str(tmp_path / "net"))
    with paddle.static.scope_guard(paddle.static.Scope()):
        again, resumed = started(seed=2, schedule=Constant(0.5))
        paddle.static.load(again.program, str(tmp_path / "net"), again.exe)
        resumed.update_params()
        assert resumed.sparsity() == 0.5


def test_a_state_says_what_wrote_it(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        header = opened.metadata()
    assert json.loads(header["patterns"]) == dict.fromkeys(TWO, "Element()")
    assert json.loads(header["sparsity"]) == {
        name: float((net_mask == 0).mean()) for name, net_mask in checkpoint.load(file)["masks"].items()
    }
    assert header["format"] == "paddle_unstructured.pruner"
    assert "Polynomial(final=0.8" in header["pruner"]
    assert json.loads(header["progress"])["steps"] == 3


# -- refused


def test_no_file_is_refused_by_its_path(tmp_path):
    _, pruner = started()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pruner.load(str(tmp_path / "nowhere"))


def test_the_state_of_another_model_is_refused_with_what_differs(tmp_path):
    with paddle.static.scope_guard(paddle.static.Scope()):
        net = Net(lambda x: paddle.nn.Linear(4, 5)(x), [3, 4], momentum)
        UnstructuredPruner(net.program, schedule=RAMP).save(str(tmp_path / "state"))
    net, pruner = started()
    before = net.everything()
    with pytest.raises(
        ValueError,
        match=r"another model or another selection: it has no mask for linear_1.w_0; it "
        r"differs in shape or dtype: linear_0.w_0 \[4, 5\] there, \[4, 6\] here",
    ):
        pruner.load(str(tmp_path / "state"))
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_state_of_another_selection_is_refused(file):
    net = Net(two_linears, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, schedule=RAMP, skip_params_func=lambda program: {TWO[1]})
    with pytest.raises(ValueError, match="has masks for linear_1.w_0, which are not pruned here"):
        pruner.load(file)
    assert net.zeros(*TWO) == 0


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(file, kept):
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[:kept])
    refused(file, "safetensors")


def test_a_byte_that_flipped_anywhere_is_noticed(file):
    content = Path(file).read_bytes()
    for place in [*range(0, len(content), 41), *range(len(content) - 5, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 0x04
        Path(file).write_bytes(damaged)
        with pytest.raises(ValueError, match="state"):
            checkpoint.load(file)


def test_a_flipped_byte_of_a_mask_is_refused_as_damage(file):
    content = bytearray(Path(file).read_bytes())
    content[-1] ^= 0x01
    Path(file).write_bytes(content)
    refused(file, "is damaged: its checksum does not fit")


def rewritten(file: str, **changes: str) -> None:
    with safetensors.safe_open(file, framework="numpy") as opened:
        header = {**opened.metadata(), **changes}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    Path(file).write_bytes(safetensors.numpy.save(tensors, metadata=header))


def test_a_file_of_a_newer_version_is_refused_with_what_to_do(file):
    rewritten(file, version="3")
    refused(file, "has version 3, and this package reads up to 2; install a newer")


def test_a_changed_header_is_refused_as_damage(file):
    rewritten(file, progress=json.dumps({"steps": 9, "applied": 0.0, "updates": 0, "threshold": 0.0}))
    refused(file, "is damaged")


@pytest.mark.parametrize("key", ["version", "format", "progress", "shapes", "sha256"])
def test_a_header_whose_key_is_damaged_is_refused(file, key):
    content = Path(file).read_bytes()
    Path(file).write_bytes(content.replace(f'"{key}"'.encode(), f'"{key[:-1]}_"'.encode()))
    refused(file, "state")


def test_other_tensors_are_refused(tmp_path):
    path = str(tmp_path / "weights.safetensors")
    Path(path).write_bytes(safetensors.numpy.save({"w": np.ones(3, "float32")}))
    refused(path, "is not the state of a pruner")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x80\x04\x95" + bytes(40), b"{}" * 100])
def test_a_file_of_anything_else_is_refused(tmp_path, content):
    path = str(tmp_path / "other")
    Path(path).write_bytes(content)
    refused(path, "not a whole safetensors file")


# -- writing is all or nothing


@pytest.mark.parametrize("failing", ["os.replace", "os.fsync"])
def test_a_failing_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, failing):
    net, pruner = started()
    folder = tmp_path / "states"
    pruner.save(str(folder / "state"))
    old = (folder / "state").read_bytes()
    net.train(pruner, 3)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="no space left"):
        pruner.save(str(folder / "state"))
    assert (folder / "state").read_bytes() == old
    assert [entry.name for entry in folder.iterdir()] == ["state"]


def test_saving_makes_the_folders_it_needs(tmp_path):
    _, pruner = started()
    pruner.save(str(tmp_path / "a" / "b" / "state"))
    assert checkpoint.load(str(tmp_path / "a" / "b" / "state"))["steps"] == 0


def test_saving_again_overwrites(tmp_path):
    net, pruner = started()
    for steps in (0, 2):
        net.train(pruner, steps)
        pruner.save(str(tmp_path / "state"))
    assert checkpoint.load(str(tmp_path / "state"))["steps"] == 2


# -- state_dict


def test_a_state_of_other_params_is_refused_before_anything_is_changed():
    net, pruner = started()
    state = pruner.state_dict()
    del state["masks"][TWO[0]]
    state["masks"][TWO[1]][:] = False
    with pytest.raises(ValueError, match="the state belongs to another model"):
        pruner.load_state_dict(state)
    assert net.zeros(*TWO) == 0 and (net.get(TWO[1] + "_mask") == 1).all()


@pytest.mark.parametrize("lacking", ["steps", "applied", "updates", "threshold"])
def test_an_incomplete_state_changes_nothing(lacking):
    net, pruner = started()
    state = pruner.state_dict()
    state["masks"] = {name: np.zeros_like(mask) for name, mask in state["masks"].items()}
    del state[lacking]
    with pytest.raises((ValueError, KeyError), match=lacking):
        pruner.load_state_dict(state)
    assert (pruner.steps, pruner.sparsity()) == (0, 0.0)
    assert (net.get(TWO[0] + "_mask") == 1).all()


def test_a_state_over_a_scope_without_values_is_refused(file):
    net, pruner = started(allocation=Global(0.0))
    net.scope.erase([TWO[1]])
    with pytest.raises(ValueError, match="no value in the scope, linear_1.w_0"):
        pruner.load(file)
    assert pruner.steps == 0
