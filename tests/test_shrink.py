"""Channels that are really gone: smaller params, the same outputs."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import Filter, Uniform, UnstructuredPruner
from paddle_unstructured.export.shrink import Removal, Shrunk, remove_channels

pytestmark = pytest.mark.usefixtures("static")
CPU = paddle.CPUPlace()


class Saved:
    """A net as an inference Program in a scope of its own; every stored number is random, zeros come from the test."""

    def __init__(self, layers: Callable[[Any], Any], tmp_path: Any, zeros: dict[str, Any] | None = None,
                 shape: tuple[int, ...] = (2, 3, 8, 8), prune: Callable[[Net], None] | None = None) -> None:
        self.path, self.shape = str(tmp_path / "model"), shape
        net = Net(layers, list(shape), own_scope=True)
        rng = np.random.default_rng(3)
        for name, value in sorted(net.everything().items()):
            value = rng.uniform(0.2, 1.0, value.shape) if value.ndim < 2 else rng.normal(size=value.shape) * 0.4
            net.put(name, value)
        if prune is not None:
            prune(net)
        for name, index in (zeros or {}).items():
            value = net.get(name)
            value[index] = 0
            net.put(name, value)
        with paddle.static.scope_guard(net.scope):
            outputs = net.output if isinstance(net.output, list) else [net.output]
            paddle.static.save_inference_model(self.path, [net.input], outputs, net.exe, program=net.program)
        self.load(self.path)
        self.masked = self.run()

    def load(self, path: str) -> None:
        self.scope, self.exe = paddle.static.Scope(), paddle.static.Executor(CPU)
        with paddle.static.scope_guard(self.scope):
            self.program, _, self.fetches = paddle.static.load_inference_model(path, self.exe)

    def data(self) -> np.ndarray:
        return np.random.default_rng(0).normal(size=[abs(2 * n) if n < 0 else n for n in self.shape]).astype("float32")

    def run(self) -> list[np.ndarray]:
        return self.exe.run(self.program, feed={"x": self.data()}, fetch_list=self.fetches, scope=self.scope)

    def save(self) -> str:
        feed = next(op.result(0) for op in self.program.global_block().ops if op.name() == "pd_op.data")
        with paddle.static.scope_guard(self.scope):
            paddle.static.save_inference_model(self.path + "_small", [feed], self.fetches, self.exe,
                                               program=self.program)
        return self.path + "_small"

    def get(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def shapes(self) -> dict[str, list[int]]:
        return {v.name: list(v.shape) for v in self.program.global_block().all_parameters()}

    def remove(self, **kwargs: Any) -> Removal:
        """Remove, and hold the contract: same outputs here, after loading, and in the Predictor; nothing is left."""
        removal = remove_channels(self.program, self.scope, CPU, **kwargs)
        assert all(list(self.get(name).shape) == shape for name, shape in self.shapes().items())
        self.same(self.run())
        path = self.save()
        assert "callstack" not in Path(path + ".json").read_text()
        self.load(path)
        self.same(self.run())
        self.same(predict(path, self.data()))
        assert remove_channels(self.program, self.scope, CPU, **kwargs).numbers_after == removal.numbers_after
        return removal

    def same(self, outputs: list[np.ndarray]) -> None:
        for now, masked in zip(outputs, self.masked):
            assert now.shape == masked.shape
            np.testing.assert_allclose(now, masked, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(masked).max()))


def predict(path: str, data: np.ndarray) -> list[np.ndarray]:
    config = paddle.inference.Config(path + ".json", path + ".pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    predictor = paddle.inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(data)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


def counts(removal: Removal) -> dict[str, tuple[int, int]]:
    return {row.layer: (row.before, row.after) for row in removal.rows}


def reasons(removal: Removal) -> dict[str, str]:
    return {row.layer: row.reason for row in removal.rows if row.reason}


def conv_chain(x: Any) -> Any:
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)(x))
    return nn.Conv2D(8, 4, 3, padding=1, bias_attr=False)(x)


def test_filters_of_zeros_without_a_bias_are_gone(tmp_path):
    saved = Saved(conv_chain, tmp_path, {"conv2d_0.w_0": [0, 3, 7]})
    removal = saved.remove()
    assert removal.rows == (Shrunk("conv2d_0.w_0", 8, 5, ""), Shrunk("conv2d_1.w_0", 4, 4, ""))
    assert saved.shapes() == {"conv2d_0.w_0": [5, 3, 3, 3], "conv2d_1.w_0": [4, 5, 3, 3]}


def test_inputs_of_zeros_take_the_filters_before_them_along(tmp_path):
    removal = Saved(conv_chain, tmp_path, {"conv2d_1.w_0": np.s_[:, [1, 2]]}).remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (4, 4)}


def conv_bn_relu(x: Any) -> Any:
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3)(x)))
    return nn.Conv2D(8, 4, 3)(x)


def test_what_norm_and_activation_make_of_a_filter_of_zeros_goes_into_the_next_bias(tmp_path):
    saved = Saved(conv_bn_relu, tmp_path, {"conv2d_0.w_0": [1, 2]})
    c = np.maximum(0, (saved.get("conv2d_0.b_0") - saved.get("batch_norm2d_0.w_1"))
                   / np.sqrt(saved.get("batch_norm2d_0.w_2") + 1e-5) * saved.get("batch_norm2d_0.w_0")
                   + saved.get("batch_norm2d_0.b_0"))
    bias, weight = saved.get("conv2d_1.b_0"), saved.get("conv2d_1.w_0")
    assert (c[[1, 2]] > 0).all()
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (4, 4)}
    np.testing.assert_allclose(saved.get("conv2d_1.b_0"), bias + weight.sum((2, 3))[:, [1, 2]] @ c[[1, 2]], rtol=1e-5)
    assert saved.shapes()["batch_norm2d_0.w_0"] == [6] and (saved.get("conv2d_1.w_0") == weight[:, [0, *range(3, 8)]]).all()


def padded(x: Any) -> Any:
    x = F.relu(nn.Conv2D(3, 8, 3)(x))
    return nn.Conv2D(8, 4, 3, padding=1)(x)


def test_a_constant_under_padding_stays_unless_it_is_zero(tmp_path):
    saved = Saved(padded, tmp_path, {"conv2d_0.w_0": [0, 1, 2], "conv2d_0.b_0": [1]})
    removal = saved.remove()
    assert counts(removal)["conv2d_0.w_0"] == (8, 7)
    assert reasons(removal) == {"conv2d_0.w_0": "2 stay: not 0 but a constant, which conv2d_1.w_0 with its padding "
                                                "sees unlike 0 at the border"}


def test_a_negative_bias_ends_in_relu_and_can_go_even_under_padding(tmp_path):
    def prune(net: Net) -> None:
        net.put("conv2d_0.b_0", -np.ones(8))
    saved = Saved(padded, tmp_path, {"conv2d_0.w_0": [0, 1, 2]}, prune=prune)
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 5)


def test_without_a_bias_the_norm_behind_takes_the_constant_up(tmp_path):
    def layers(x: Any) -> Any:
        x = F.sigmoid(nn.Conv2D(3, 8, 3)(x))
        return F.relu(nn.BatchNorm2D(4)(nn.Conv2D(8, 4, 1, bias_attr=False)(x)))
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [5]})
    mean = saved.get("batch_norm2d_0.w_1")
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 7)
    assert (saved.get("batch_norm2d_0.w_1") != mean).all()


def test_without_bias_and_norm_a_constant_stays(tmp_path):
    def layers(x: Any) -> Any:
        x = F.sigmoid(nn.Conv2D(3, 8, 3)(x))
        return F.relu(nn.Conv2D(8, 4, 1, bias_attr=False)(x))
    assert reasons(Saved(layers, tmp_path, {"conv2d_0.w_0": [5]}).remove()) == {
        "conv2d_0.w_0": "1 stay: not 0 but a constant, and no bias or norm of its own behind conv2d_1.w_0 can take it "
                        "up"}


def depthwise_block(x: Any) -> Any:
    x = F.relu6(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(x)))
    x = F.hardswish(nn.BatchNorm2D(16)(nn.Conv2D(8, 16, 3, groups=8, bias_attr=False)(x)))
    return nn.BatchNorm2D(4)(nn.Conv2D(16, 4, 1, bias_attr=False)(x))


def test_a_depthwise_convolution_passes_constants_on_and_follows(tmp_path):
    saved = Saved(depthwise_block, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_1.w_0": [2, 3, 15]})
    removal = saved.remove()
    # Channel 1 has both its depthwise outputs at zero, channel 7 only one of two.
    assert counts(removal) == {"conv2d_0.w_0": (8, 5), "conv2d_1.w_0": (16, 10), "conv2d_2.w_0": (4, 4)}
    assert reasons(removal) == {"conv2d_1.w_0": "1 stay: not constant where conv2d_2.w_0 reads them"}
    depthwise = next(op for op in saved.program.global_block().ops if op.name() == "pd_op.depthwise_conv2d")
    assert depthwise.attrs()["groups"] == 5 and saved.shapes()["conv2d_1.w_0"] == [10, 1, 3, 3]


def test_a_padded_depthwise_convolution_spreads_no_constant(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 3)(x))
        x = F.relu(nn.Conv2D(8, 8, 3, padding=1, groups=8)(x))
        return nn.Conv2D(8, 4, 1)(x)
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 1], "conv2d_0.b_0": [1]})
    assert counts(saved.remove())["conv2d_0.w_0"] == (8, 7)


def flattened(x: Any) -> Any:
    x = nn.MaxPool2D(2)(F.relu(nn.Conv2D(3, 8, 3)(x)))
    x = F.tanh(nn.Linear(8 * 3 * 3, 6)(x.flatten(1)))
    return F.softmax(nn.Linear(6, 4)(x))


def test_a_linear_layer_behind_flatten_loses_every_row_of_the_channel(tmp_path):
    saved = Saved(flattened, tmp_path, {"conv2d_0.w_0": [0, 2], "linear_0.w_0": np.s_[:, [1, 5]]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 6), "linear_0.w_0": (6, 4), "linear_1.w_0": (4, 4)}
    assert saved.shapes()["linear_0.w_0"] == [54, 4]


def test_shapes_with_the_number_of_channels_in_them_follow(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 3)(x)).reshape([2, 8, 36]).transpose([0, 2, 1])
        x = nn.Linear(8, 6)(x).reshape([2, 36, 6]).transpose([0, 2, 1]).reshape([2, 6, 6, 6])
        return nn.Linear(6 * 36, 4)(x.reshape([0, 6 * 36]))
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0], "linear_0.w_0": np.s_[:, [1, 5]]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 7), "linear_0.w_0": (6, 4), "linear_1.w_0": (4, 4)}


def residual(x: Any) -> Any:
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(x)))
    y = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 1, bias_attr=False)(x)))
    y = nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 1, bias_attr=False)(y))
    return nn.Conv2D(8, 4, 1)(F.relu(x + y))


def test_members_of_an_addition_lose_the_same_channels(tmp_path):
    removal = Saved(residual, tmp_path, {f"conv2d_{i}.w_0": [0, 3] for i in (0, 2)}).remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (8, 8), "conv2d_2.w_0": (8, 6),
                               "conv2d_3.w_0": (4, 4)}
    assert reasons(removal) == {}


def test_a_channel_that_one_member_of_an_addition_still_has_stays_in_all(tmp_path):
    removal = Saved(residual, tmp_path, {"conv2d_0.w_0": [0, 1, 3], "conv2d_1.w_0": [6, 7],
                                         "conv2d_2.w_0": [3, 5]}).remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 7), "conv2d_1.w_0": (8, 6), "conv2d_2.w_0": (8, 7),
                               "conv2d_3.w_0": (4, 4)}
    assert reasons(removal) == {"conv2d_0.w_0": "2 stay: not constant where conv2d_3.w_0 reads them",
                                "conv2d_2.w_0": "1 stay: not constant where conv2d_1.w_0 reads them"}


def test_concatenated_channels_go_one_by_one(tmp_path):
    def layers(x: Any) -> Any:
        joined = paddle.concat([F.relu(nn.Conv2D(3, 8, 1)(x)), x, F.relu(nn.Conv2D(3, 6, 1)(x))], axis=1)
        return nn.Conv2D(17, 4, 1)(nn.BatchNorm2D(17)(joined))
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [7], "conv2d_1.w_0": [0, 1], "conv2d_2.w_0": np.s_[:, [2, 9]]})
    removal = saved.remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (6, 4), "conv2d_2.w_0": (4, 4)}
    assert saved.shapes()["conv2d_2.w_0"] == [4, 13, 1, 1] and saved.shapes()["batch_norm2d_0.w_2"] == [13]


def test_split_parts_follow_and_equal_parts_stay_equal(tmp_path):
    def layers(x: Any) -> Any:
        a, b = paddle.split(nn.Conv2D(3, 8, 1)(x), [3, 5], 1)
        c, d = paddle.chunk(nn.Conv2D(8, 8, 1)(paddle.concat([b, a], 1)), 2, 1)
        return nn.Conv2D(4, 4, 1)(c * F.sigmoid(d))
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 6, 7], "conv2d_1.w_0": [0, 1, 4]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 5), "conv2d_1.w_0": (8, 6), "conv2d_2.w_0": (4, 4)}


def test_gates_follow_what_they_gate(tmp_path):
    def layers(x: Any) -> Any:
        x = F.hardswish(nn.Conv2D(3, 8, 1, bias_attr=False)(x))
        gate = F.relu(nn.Conv2D(8, 4, 1)(nn.AdaptiveAvgPool2D(1)(x)))
        x = x * F.hardsigmoid(nn.Conv2D(4, 8, 1)(gate))
        return nn.Conv2D(8, 4, 3, padding=1)(x)
    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": [2, 4], "conv2d_1.w_0": [0]}).remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_1.w_0": (4, 3), "conv2d_2.w_0": (8, 6),
                               "conv2d_3.w_0": (4, 4)}


def test_a_grouped_convolution_and_what_it_reads_are_left_alone(tmp_path):
    def layers(x: Any) -> Any:
        x = nn.Conv2D(3, 8, 1)(x)
        x = nn.Conv2D(8, 8, 1, groups=2)(x)
        return nn.Conv2D(8, 4, 1)(x)
    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_1.w_0": [0]}).remove()
    assert counts(removal) == {f"conv2d_{i}.w_0": (c, c) for i, c in enumerate((8, 8, 4))}
    assert reasons(removal) == {"conv2d_0.w_0": "2 stay: a grouped convolution reads its outputs",
                                "conv2d_1.w_0": "it is a convolution in groups, whose inputs are not followed"}


def test_transposed_convolutions_are_followed_on_both_sides(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1, bias_attr=False)(x))
        x = F.relu(nn.Conv2DTranspose(8, 6, 2, stride=2)(x))
        return nn.Conv2D(6, 4, 1)(x)
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_transpose_0.w_0": np.s_[:, [1, 2]]})
    removal = saved.remove()
    assert counts(removal) == {"conv2d_0.w_0": (8, 6), "conv2d_transpose_0.w_0": (6, 4), "conv2d_1.w_0": (4, 4)}
    assert saved.shapes()["conv2d_transpose_0.w_0"] == [6, 4, 2, 2]


def test_a_transposed_convolution_takes_up_no_constant(tmp_path):
    def layers(x: Any) -> Any:
        x = nn.Conv2D(3, 8, 1)(x)
        x = nn.Conv2DTranspose(8, 6, 3, stride=2)(x)
        return nn.Conv2D(6, 4, 1)(x)
    assert counts(Saved(layers, tmp_path, {"conv2d_0.w_0": [0, 4], "conv2d_0.b_0": [4]}).remove())[
        "conv2d_0.w_0"] == (8, 7)


def test_outputs_of_the_program_are_never_removed(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1)(x))
        return nn.Conv2D(8, 4, 1, bias_attr=False)(x)
    removal = Saved(layers, tmp_path, {"conv2d_1.w_0": [0, 1]}).remove()
    assert removal.rows[-1] == Shrunk("conv2d_1.w_0", 4, 4, "2 stay: its outputs are fetched")


@pytest.mark.parametrize("align, left", [(1, 1), (4, 4), (8, 8), (16, 10)])
def test_a_layer_that_is_all_zeros_keeps_as_many_channels_as_asked(tmp_path, align, left):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 10, 1)(x))
        return nn.Conv2D(10, 4, 1)(x)
    removal = Saved(layers, tmp_path, {"conv2d_0.w_0": np.s_[:]}).remove(align_channels=align)
    assert counts(removal)["conv2d_0.w_0"] == (10, left)
    why = "one channel has to" if align == 1 else f"aligned to {align}"
    assert why in reasons(removal)["conv2d_0.w_0"]


@pytest.mark.parametrize("align, left", [(1, 9), (2, 10), (4, 12), (8, 16), (5, 10), (32, 20)])
def test_counts_are_rounded_up_and_never_below_what_counts(tmp_path, align, left):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 20, 1)(x))
        return nn.Conv2D(20, 4, 1)(x)
    saved = Saved(layers, tmp_path, {"conv2d_0.w_0": np.s_[9:]})
    assert counts(saved.remove(align_channels=align))["conv2d_0.w_0"] == (20, left)


def test_what_only_a_removed_channel_read_goes_too(tmp_path):
    def layers(x: Any) -> Any:
        x = F.relu(nn.Conv2D(3, 8, 1)(x))
        x = F.relu(nn.Conv2D(8, 6, 1)(x))
        return nn.Conv2D(6, 4, 1)(x)
    saved = Saved(layers, tmp_path, {"conv2d_1.w_0": np.s_[1:, 3], "conv2d_2.w_0": np.s_[:, 0]})
    assert counts(saved.remove()) == {"conv2d_0.w_0": (8, 7), "conv2d_1.w_0": (6, 5), "conv2d_2.w_0": (4, 4)}


# -- pruned by the pruner

MODELS = {"LeNet": (paddle.vision.models.LeNet, (-1, 1, 28, 28)),
          "MobileNetV1": (lambda: paddle.vision.models.MobileNetV1(scale=0.25, num_classes=10), (-1, 3, 32, 32)),
          "MobileNetV2": (lambda: paddle.vision.models.MobileNetV2(scale=0.35, num_classes=10), (-1, 3, 32, 32)),
          "ResNet-18": (lambda: paddle.vision.models.resnet18(num_classes=10), (-1, 3, 32, 32))}


def macs(program: Any) -> int:
    """Products of one image in convolutions and linear layers."""
    total = 0
    for op in program.global_block().ops:
        if "conv2d" in op.name() or op.name() == "pd_op.matmul":
            weight, out = op.operand_source(1).shape, op.result(0).shape
            total += int(np.prod(weight)) * (int(np.prod(out[2:])) if "conv" in op.name() else 1)
    return total


def pruned_by(axis: str, ratio: float) -> Callable[[Net], None]:
    def prune(net: Net) -> None:
        for name, value in net.everything().items():  # as batch norms are: running means around 0, some biases < 0
            if value.ndim == 1 and ("norm" in name and name.endswith(("w_1", "b_0"))):
                net.put(name, np.random.default_rng(len(name)).normal(size=value.shape) * 0.3)
            elif value.ndim > 1:
                net.put(name, value * (2 / max(1, value[0].size)) ** 0.5 / 0.4)
        with paddle.static.scope_guard(net.scope):
            UnstructuredPruner(net.program, ratio=ratio, pattern=Filter(axis), allocation=Uniform(), scope=net.scope,
                               place=CPU, select=lambda p: p.role == "conv2d" or (p.role == "linear" and p.shape[1] > 10)
                               ).step()
    return prune


@pytest.mark.parametrize("axis", ["output", "input"])
@pytest.mark.parametrize("model", MODELS)
def test_models_that_the_pruner_pruned_get_smaller_and_stay_right(tmp_path, model, axis):
    make, shape = MODELS[model]
    saved = Saved(lambda x: make()(x), tmp_path, shape=shape, prune=pruned_by(axis, 0.5))
    before = macs(saved.program)
    removal = saved.remove()
    print(model, axis, removal.numbers_before, removal.numbers_after, before, macs(saved.program))
    print(removal)
