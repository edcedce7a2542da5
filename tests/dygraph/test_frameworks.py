# SPDX-License-Identifier: Apache-2.0
"""Training loops of the shape that PaddleDetection, PaddleSeg and PaddleClas have, by changing only the import."""

import types

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from framework_nets import Detector, Pictures, Segmenter
from paddle.static import InputSpec

from paddle_unstructured.dygraph import GMPUnstructuredPruner, UnstructuredPruner
from paddle_unstructured.export import export


class DetectionPruner:
    """What a PaddleDetection configuration makes: called with the model when the loader is known."""

    def __init__(self, stable_epochs, pruning_epochs, tunning_epochs, pruning_steps, ratio, initial_ratio, kind=None):
        self.epochs = (stable_epochs, pruning_epochs, tunning_epochs)
        self.pruning_steps, self.ratio, self.initial_ratio, self.kind = pruning_steps, ratio, initial_ratio, kind

    def __call__(self, model, steps_per_epoch, skip_params_func=None):
        stable, pruning, tunning = (epochs * steps_per_epoch for epochs in self.epochs)
        configs = {
            "pruning_strategy": "gmp",
            "stable_iterations": stable,
            "pruning_iterations": pruning,
            "tunning_iterations": tunning,
            "resume_iteration": 0,
            "pruning_steps": self.pruning_steps,
            "initial_ratio": self.initial_ratio,
        }
        return GMPUnstructuredPruner(
            model,
            ratio=self.ratio,
            skip_params_func=skip_params_func,
            prune_params_type=self.kind,
            local_sparsity=True,
            configs=configs,
        )


@pytest.mark.filterwarnings("ignore:AmpScaler can only be enabled", "ignore:Found .dict. in given outputs")
@pytest.mark.parametrize("amp", [False, True])
def test_a_detector_as_paddledetection_trains_it(amp, tmp_path):
    paddle.seed(1)
    model = Detector()
    loader = paddle.io.DataLoader(Pictures("boxes"), batch_size=8)
    rate = paddle.optimizer.lr.CosineAnnealingDecay(0.1, 6)
    optimizer = paddle.optimizer.Momentum(rate, 0.9, model.parameters(), weight_decay=4e-5)
    pruner = DetectionPruner(0, 2, 1, 4, 0.75, 0.15, "conv1x1_only")(model, steps_per_epoch=len(loader))
    scaler = paddle.amp.GradScaler(enable=False)
    for _ in range(3):
        model.train()
        for data in loader:
            loss = model(data)["loss"]
            if amp:
                scaled = scaler.scale(loss)
                scaled.backward()
                scaler.minimize(optimizer, scaled)
            else:
                loss.backward()
                optimizer.step()
            rate.step()
            pruner.step()
            optimizer.clear_grad()
        pruner.update_params()
        paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    assert UnstructuredPruner.total_sparse_conv1x1(model) == pytest.approx(0.75, abs=0.01)
    assert not pruner.ratios_stack and pruner.ratio == 0.75 and len(pruner.masks) == 13
    model.eval()
    spec = [{"image": InputSpec([1, 3, 32, 32], name="image")}]
    written = export(model, spec, tmp_path / "model", pruner)
    zeros, weights = written.report.counts["selected"]
    assert zeros == sum(pruner.pruned_by_layer().values()) and weights == sum(param.size for param in pruner.params)


def segmentation_loss(logits, labels):
    return F.cross_entropy(logits, labels, axis=1)


def test_a_segmenter_as_paddleseg_trains_it(tmp_path):
    paddle.seed(1)
    args = types.SimpleNamespace(ratio=0.75, prune_params_type=None, local_sparsity=False)
    model = Segmenter()
    optimizer = paddle.optimizer.Momentum(0.05, parameters=model.parameters())
    sampler = paddle.io.DistributedBatchSampler(Pictures("masks"), batch_size=8, shuffle=True, drop_last=True)
    loader = paddle.io.DataLoader(Pictures("masks"), batch_sampler=sampler, return_list=True)
    configs = {
        "stable_iterations": 0,
        "pruning_iterations": 4,
        "tunning_iterations": 2,
        "resume_iteration": 0,
        "pruning_steps": 4,
        "initial_ratio": 0.15,
    }
    pruner = GMPUnstructuredPruner(
        model,
        ratio=args.ratio,
        prune_params_type=args.prune_params_type,
        local_sparsity=args.local_sparsity,
        configs=configs,
    )
    model.train()
    for _ in range(3):
        for images, labels in loader:
            losses = [segmentation_loss(logits, labels) for logits in model(images)]
            sum(losses).backward()
            optimizer.step()
            model.clear_gradients()
            pruner.step()
        pruner.update_params()
        assert UnstructuredPruner.total_sparse(model) == pytest.approx(pruner.sparsity())
    assert pruner.sparsity() == pytest.approx(0.75, abs=1e-3)
    model.eval()
    x = paddle.randn([1, 3, 32, 32])
    export(model, [InputSpec([1, 3, 32, 32], name="x")], tmp_path / "model", pruner)
    config = paddle.inference.Config(f"{tmp_path}/model.json", f"{tmp_path}/model.pdiparams")
    config.disable_glog_info()
    config.disable_mkldnn()  # which has no bilinear interpolation in Paddle 3.3.1
    found = paddle.inference.create_predictor(config).run([x])[0].numpy()
    np.testing.assert_allclose(found, model(x)[0].numpy(), atol=1e-5)


def test_a_classifier_as_paddleclas_trains_it():
    paddle.seed(1)
    model = paddle.vision.models.MobileNetV1(scale=0.25, num_classes=2)
    optimizer = paddle.optimizer.Momentum(0.01, 0.9, model.parameters(), weight_decay=3e-5)
    pruner = UnstructuredPruner(model, mode="ratio", ratio=0.75, prune_params_type="conv1x1_only", optimizer=optimizer)
    for images, labels in paddle.io.DataLoader(Pictures("classes", 8), batch_size=4):
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
        pruner.step()
    optimizer.step()
    assert UnstructuredPruner.total_sparse_conv1x1(model) == pytest.approx(0.75, abs=1e-4)


# -- what PaddleSlim's own dygraph tests use


def test_what_paddleslims_own_tests_ask_of_a_pruner():
    paddle.seed(1)
    net = paddle.vision.models.MobileNetV1(scale=0.25, num_classes=10)
    other = paddle.vision.models.MobileNetV1(scale=0.25, num_classes=10)
    pruner = UnstructuredPruner(net, mode="ratio", ratio=0.55, local_sparsity=True)
    blocks = UnstructuredPruner(
        other, mode="ratio", ratio=0.55, local_sparsity=True, sparse_block=[2, 1], prune_params_type="conv1x1_only"
    )
    assert len(pruner.skip_params) < len(blocks.skip_params) and pruner.model is net
    before, threshold = UnstructuredPruner.total_sparse(net), pruner.threshold
    largest = max(
        np.abs(param.numpy()).max()
        for _, layer in net.named_sublayers()
        if pruner._should_prune_layer(layer)
        for param in layer.parameters(include_sublayers=False)
    )
    assert pruner.summarize_weights(net, 1.0) == largest
    pruner.step()
    found = UnstructuredPruner.total_sparse(net)
    assert threshold <= pruner.threshold and found >= before
    pruner.update_params()
    assert UnstructuredPruner.total_sparse(net) == found
    blocks.step()
    blocks.update_params()
    assert abs(UnstructuredPruner.total_sparse_conv1x1(other) - 0.55) < 0.01


def test_the_ratios_of_gradual_pruning_are_a_stack_that_empties():
    configs = {
        "stable_iterations": 0,
        "pruning_iterations": 100,
        "tunning_iterations": 100,
        "resume_iteration": 50,
        "pruning_steps": 20,
        "initial_ratio": 0.05,
    }
    pruner = GMPUnstructuredPruner(paddle.vision.models.LeNet(), ratio=0.55, configs=configs)
    assert pruner.ratio > 0.3 and pruner.ratios_stack[0] == 0.55
    seen, last = 0, 0.0
    while len(pruner.ratios_stack) > 0:
        pruner.step()
        assert pruner.ratio >= last
        seen, last = seen + 1, pruner.ratio
    assert last == 0.55 and seen == 50


def test_masks_are_tensors_that_may_be_written_into():
    net = paddle.vision.models.LeNet()
    pruner = UnstructuredPruner(net, mode="ratio", ratio=0.55)
    optimizer = paddle.optimizer.Adam(parameters=net.parameters())

    def keep(most):
        for _, layer in pruner.model.named_sublayers():
            for param in layer.parameters(include_sublayers=False):
                mask = pruner.masks.get(param.name)
                if mask is not None:
                    paddle.assign((paddle.abs(param) < most).cast(mask.dtype), output=mask)

    keep(0.0)
    pruner.update_params()
    keep(1.0)
    pruner.set_static_masks()
    assert UnstructuredPruner.total_sparse(net) == 1.0 == pruner.sparsity()
    net(paddle.randn([2, 1, 28, 28])).mean().backward()
    optimizer.step()
    pruner.update_params()
    assert UnstructuredPruner.total_sparse(net) == 1.0 and pruner.masks["fc.0.weight"].shape == [400, 120]


def test_a_strategy_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"`configs\['pruning_strategy'\]` must be one of gmp, got 'base'"):
        GMPUnstructuredPruner(paddle.vision.models.LeNet(), ratio=0.55, configs={"pruning_strategy": "base"})
