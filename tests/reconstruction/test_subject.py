# SPDX-License-Identifier: Apache-2.0
"""Saved models, Programs that train, and Layers are pruned alike; what fails leaves them as they were."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import Polynomial, UnstructuredPruner, reconstruct
from paddle_unstructured.saved_model import open_model


def net(x):
    hidden = nn.functional.relu(nn.Linear(16, 24)(x))
    return nn.Linear(24, 5)(nn.functional.relu(nn.Linear(24, 24)(hidden)))


class Layered(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2D(2, 8, 3, padding=1, bias_attr=False), nn.BatchNorm2D(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(nn.functional.relu(self.norm(self.conv(x))).mean([2, 3]))


def data(shape=(16,), name="x", count=64):
    """Neighbours have much to do with each other."""
    random = np.random.default_rng(0)
    pairs = np.repeat(random.normal(size=(count, *shape[:-1], shape[-1] // 2)), 2, -1)
    return [{name: (pairs + 0.2 * random.normal(size=(count, *shape))).astype(np.float32)}]


@pytest.mark.usefixtures("static")
class TestProgram:
    def trained(self):
        return Net(net, [-1, 16], lambda: paddle.optimizer.Momentum(0.01, 0.9), own_scope=True)

    def test_a_program_that_trains_is_reconstructed_and_trains_on_sparser(self):
        owner = self.trained()
        dense = owner.get("linear_0.w_0")
        done = reconstruct(owner.program, data(), ratio=0.5, fetch=[owner.output], scope=owner.scope)
        total = sum(p.size for p in done.pruner.params)
        assert sum(np.count_nonzero(owner.get(p.name) == 0) for p in done.pruner.params) == round(0.5 * total)
        kept = owner.get("linear_0.w_0") != 0
        assert not np.array_equal(owner.get("linear_0.w_0")[kept], dense[kept])  # found anew
        pruner = UnstructuredPruner(
            owner.program, schedule=Polynomial(0.8, begin_step=0, end_step=4, updates=4, initial=0.5), scope=owner.scope
        )
        owner.shape = [8, 16]
        owner.train(pruner, 6)
        assert pruner.sparsity() == pytest.approx(0.8, abs=1 / total)
        assert not owner.get("linear_0.w_0")[~kept].any()  # what was pruned stays pruned

    def test_what_layers_were_given_does_not_stay_in_the_scope(self):
        owner = self.trained()
        before = set(owner.scope.local_var_names())
        done = reconstruct(owner.program, data(), ratio=0.5, fetch=[owner.output], scope=owner.scope, steps=1)
        left = set(owner.scope.local_var_names()) - before - set(done.pruner.masks.values())
        assert not [name for name in left if "given" in name], left

    def test_a_program_without_outputs_must_be_told_them(self):
        owner = self.trained()
        with pytest.raises(ValueError, match="`fetch` must say which values of the Program are to stay as they are"):
            reconstruct(owner.program, data(), ratio=0.5, scope=owner.scope)

    def test_what_is_stopped_leaves_weights_and_masks_as_they_were(self):
        owner = self.trained()
        before = {name: owner.get(name) for name in ("linear_0.w_0", "linear_1.w_0", "linear_2.w_0", "linear_0.b_0")}

        def stop(row, done):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reconstruct(owner.program, data(), ratio=0.5, fetch=[owner.output], scope=owner.scope, told=stop)
        assert all(np.array_equal(array, owner.get(name)) for name, array in before.items())
        assert all(owner.get(f"{name}_mask").all() for name in before if ".w_" in name)
        pruner = UnstructuredPruner(owner.program, ratio=0.25, scope=owner.scope)
        pruner.step()
        assert pruner.sparsity() == pytest.approx(0.25, abs=0.001)

    def test_a_path_is_opened(self, tmp_path):
        owner = self.trained()
        with paddle.static.scope_guard(owner.scope):
            paddle.static.save_inference_model(
                str(tmp_path / "m"), [owner.input], [owner.output], owner.exe, program=owner.program
            )
        told = []
        done = reconstruct(
            str(tmp_path / "m"), data(), ratio=0.5, told=lambda row, share: told.append((row.name, share))
        )
        names, shares = zip(*told)
        assert len(done.rows) == 3 and shares == tuple(sorted(shares)) and shares.count(1.0) == 1
        assert (
            names[:3] == tuple(row.name for row in done.rows) and names[3:] == ("all together",) * 11
        )  # 10 steps, and the judgement
        dense = open_model(tmp_path / "m")
        again = reconstruct(dense, data(), ratio=0.5, memory=1e-9)  # all activations in files: the same bits
        for param in done.pruner.params:
            assert np.array_equal(done.model.graph.array(param.name), again.model.graph.array(param.name))


class TestLayer:
    SPEC = [paddle.static.InputSpec([None, 2, 6, 6], "float32", "image")]

    def test_a_layer_is_reconstructed_and_trains_on(self):
        paddle.seed(0)
        model = Layered()
        dense = model.conv.weight.numpy()
        done = reconstruct(model, data((2, 6, 6), "image"), ratio=0.5, input_spec=self.SPEC)
        assert paddle.in_dynamic_mode() and model.training
        assert [row.name for row in done.rows] == ["conv.weight", "head.weight"]
        zeros = {
            name: int((layer.weight.numpy() == 0).sum()) for name, layer in (("conv", model.conv), ("head", model.head))
        }
        assert zeros == {row.name.split(".")[0]: row.zeros for row in done.rows}
        kept = model.conv.weight.numpy() != 0
        assert not np.array_equal(model.conv.weight.numpy()[kept], dense[kept])
        optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters())
        done.pruner.watch(optimizer)
        model(paddle.randn([4, 2, 6, 6])).square().mean().backward()
        optimizer.step()
        assert not model.conv.weight.numpy()[~kept].any()

    def test_a_layer_is_left_as_it_was_if_it_is_stopped(self):
        model = Layered()
        before = {name: tensor.numpy() for name, tensor in model.state_dict().items()}

        def stop(row, done):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reconstruct(model, data((2, 6, 6), "image"), ratio=0.5, input_spec=self.SPEC, told=stop)
        assert paddle.in_dynamic_mode()
        assert all(np.array_equal(array, model.state_dict()[name].numpy()) for name, array in before.items())

    def test_a_layer_needs_an_input_spec(self):
        with pytest.raises(TypeError, match="`input_spec` must be a list"):
            reconstruct(Layered(), data((2, 6, 6)), ratio=0.5)
