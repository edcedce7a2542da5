# SPDX-License-Identifier: Apache-2.0
"""Loading what fits of weights and masks, as when a head of 4 classes became one of 7; states without sense."""

import json

import numpy as np
import paddle
import pytest
import safetensors.numpy
from nets import Net

from paddle_unstructured import UnstructuredPruner, checkpoint

pytestmark = pytest.mark.usefixtures("static")
BODY, HEAD = "linear_0.w_0", "linear_1.w_0"


def classifier(classes: int, seed: int = 1) -> Net:
    def layers(x):
        hidden = paddle.tanh(paddle.nn.Linear(4, 8)(x))
        return paddle.nn.Linear(8, classes)(hidden)

    return Net(layers, [3, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9), seed=seed)


@pytest.fixture
def saved(static, tmp_path):
    """A net of 4 classes at sparsity 0.5, as model.pdparams and model.pruner; gives its weights."""
    with paddle.static.scope_guard(paddle.static.Scope()):
        net = classifier(4, seed=9)
        pruner = UnstructuredPruner(net.program, ratio=0.5)
        net.train(pruner, 2)
        paddle.static.save(net.program, str(tmp_path / "model"))
        pruner.save(tmp_path / "model.pruner")
        return {name: net.get(name) for name in (BODY, HEAD, "linear_0.b_0", "linear_1.b_0")}


def test_weights_of_another_head_are_left_out_and_named(saved, tmp_path, caplog):
    net = classifier(7)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    head = net.get(HEAD)
    left = pruner.load_weights(tmp_path / "model", partial=True)
    assert sorted(left) == ["linear_1.b_0", HEAD]
    assert "linear_1.w_0 (float32 [8, 4] there, float32 [8, 7] here)" in caplog.text
    np.testing.assert_array_equal(net.get(BODY), saved[BODY])
    np.testing.assert_array_equal(net.get("linear_0.b_0"), saved["linear_0.b_0"])
    np.testing.assert_array_equal(net.get(HEAD), head)


def test_masks_of_another_head_are_left_out_and_the_sparsity_is_asked_for_anew(saved, tmp_path, caplog):
    net = classifier(7)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.load_weights(tmp_path / "model", partial=True)
    assert pruner.load(tmp_path / "model.pruner", partial=True) == [HEAD]
    assert "1 masks are not loaded: linear_1.w_0 ([8, 4] there, [8, 7] here)" in caplog.text
    np.testing.assert_array_equal(net.get(BODY), saved[BODY])
    assert (net.zeros(HEAD), pruner.steps, pruner.target_reached()) == (0, 2, False)
    net.train(pruner)
    assert net.zeros(BODY, HEAD) == 44 and pruner.target_reached()  # half of 32 + 56


def test_loads_are_strict_by_default(saved, tmp_path):
    net = classifier(7)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    before = net.everything()
    with pytest.raises(ValueError, match=r"lacks linear_1.b_0, linear_1.w_0, .*`partial=True` loads the rest"):
        pruner.load_weights(tmp_path / "model")
    with pytest.raises(ValueError, match=r"differs in shape or dtype: linear_1.w_0 \[8, 4\] there, \[8, 7\] here"):
        pruner.load(tmp_path / "model.pruner")
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_full_load_leaves_nothing_out(saved, tmp_path, caplog):
    net = classifier(4)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    assert pruner.load_weights(tmp_path / "model", partial=True) == []
    assert pruner.load(tmp_path / "model.pruner", partial=True) == []
    assert pruner.load_weights(tmp_path / "model") == [] == pruner.load(tmp_path / "model.pruner")
    assert not caplog.records and pruner.target_reached()


def test_a_checkpoint_of_which_nothing_fits_is_refused(saved, tmp_path):
    net = Net(lambda x: paddle.nn.Linear(5, 5, weight_attr="other", bias_attr=False)(x), [2, 5])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    with pytest.raises(ValueError, match="lacks other"):
        pruner.load_weights(tmp_path / "model", partial=True)
    with pytest.raises(ValueError, match="it has no mask for other"):
        pruner.load(tmp_path / "model.pruner", partial=True)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": -5},
        {"steps": 1.5},
        {"steps": True},
        {"applied": float("nan")},
        {"applied": 1.5},
        {"applied": -0.1},
        {"updates": -1},
        {"threshold": float("inf")},
        {"threshold": None},
    ],
    ids=str,
)
def test_a_state_that_makes_no_sense_is_refused_and_nothing_changes(saved, tmp_path, change):
    net = classifier(4)
    pruner = UnstructuredPruner(net.program, ratio=0.25)
    before = net.everything()
    state = checkpoint.load(tmp_path / "model.pruner")
    checkpoint.save(tmp_path / "odd", {**state, **change}, about={})
    for load in (lambda: pruner.load_state_dict({**state, **change}), lambda: pruner.load(tmp_path / "odd")):
        with pytest.raises(ValueError, match=f"not one of a pruner: `{next(iter(change))}` must be"):
            load()
    assert (pruner.steps, pruner.sparsity()) == (0, 0.0)
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_mask_of_other_numbers_than_zero_and_one_is_refused(saved, tmp_path):
    state = checkpoint.load(tmp_path / "model.pruner")
    state["masks"][BODY] = np.full([4, 8], 0.5)
    with pytest.raises(ValueError, match="the mask of linear_0.w_0 must be zeros and ones"):
        UnstructuredPruner(classifier(4).program).load_state_dict(state)


@pytest.mark.parametrize("shapes", [{BODY: [4, 9]}, {BODY: [-4, 8]}, {BODY: [1 << 40, 1 << 40]}, {"x": [1]}, [3], None])
def test_a_file_whose_shapes_do_not_fit_its_masks_is_refused(saved, tmp_path, shapes):
    with safetensors.safe_open(tmp_path / "model.pruner", framework="numpy") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    header["shapes"] = json.dumps(shapes)
    header["sha256"] = checkpoint._digest(tensors, header)
    safetensors.numpy.save_file(tensors, tmp_path / "odd", metadata=header)
    with pytest.raises(ValueError, match="odd is not the whole state of a pruner"):
        checkpoint.load(tmp_path / "odd")
