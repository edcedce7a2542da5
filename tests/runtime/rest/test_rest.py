# SPDX-License-Identifier: Apache-2.0
"""Ops of Paddle in ONNX Runtime return what Paddle returns."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import relative_error

from paddle_unstructured.formats import pdiparams
from paddle_unstructured.formats.pir_json import read_program
from paddle_unstructured.runtime.steps import Steps

pytestmark = pytest.mark.usefixtures("static")
SHAPE = (2, 4, 8, 6)


def positive(x):
    return x.abs() + 0.1


def written(x):
    every = slice(None)
    y = paddle.static.setitem(x * 1.0, (every, 0, slice(1, 3)), 0.5)
    y = paddle.static.setitem(y, (every, 1), x[:, 0])
    return paddle.static.setitem(y, (every, every, slice(None, None, 2)), x[:, :, 1::2])


def zeros(*shape, dtype="int64"):
    return paddle.zeros(shape, dtype)


def index(*numbers, dtype="int64"):
    return paddle.to_tensor(np.array(numbers, dtype))


def boxes(x):
    """[n, 16, 4], in order."""
    corners = F.sigmoid(x.reshape([2, 48, 4])[:, :16]) * 8
    low, size = corners[:, :, :2], corners[:, :, 2:] + 2
    return paddle.concat([low, low + size], -1)


def detected(x, **words):
    """What PaddleDetection's exports end with."""
    words = {"background_label": -1, "nms_eta": 1.0, "normalized": True, **words}
    scores = F.sigmoid(x.reshape([2, 3, 64])[:, :, :16] * 2)
    return paddle._C_ops.multiclass_nms3(
        boxes(x),
        scores,
        None,
        words.get("score_threshold", 0.3),
        words.get("nms_top_k", 100),
        words.get("keep_top_k", 100),
        words.get("nms_threshold", 0.5),
        words["normalized"],
        words["nms_eta"],
        words["background_label"],
    )


UNARY = (
    "relu relu6 sigmoid tanh softsign hardswish silu gelu leaky_relu hardsigmoid elu celu selu softplus mish "
    "log_sigmoid tanhshrink hardtanh hardshrink softshrink thresholded_relu"
)
OPS = {
    **{f"F.{name}": lambda x, name=name: getattr(F, name)(x * 2) for name in UNARY.split()},
    "gelu tanh": lambda x: F.gelu(x, approximate=True),
    "prelu": lambda x: nn.PReLU(4, 0.3)(x) + nn.PReLU(1, 0.1)(x),
    "trunc": lambda x: paddle.trunc(x * 3),
    "add_n": lambda x: paddle.add_n([x, x * 2, -x]),
    "truths": lambda x: [(x > 0) & (x < 1), (x > 0) | (x < -1), (x > 0) ^ (x > 1), ~(x > 0), (x > 0).sum(1)],
    "lerp": lambda x: paddle.lerp(x, x[:, :1], x[:, 1:2]),
    "atan2": lambda x: paddle.atan2(x, x.flip([2])) + paddle.atan2(x, x * 0),
    "dropout": lambda x: F.dropout(x, 0.3, training=False, mode="downscale_in_infer") + F.dropout(x, training=False),
    "logarithms": lambda x: [f(positive(x)) for f in (paddle.log1p, paddle.log2, paddle.log10, paddle.expm1)],
    "isfinite": lambda x: [paddle.isfinite(x / F.relu(x)), paddle.isinf(x / F.relu(x)), paddle.isnan(x)],
    "fmax": lambda x: paddle.fmax(x, x[:, :1]) + paddle.fmin(x, x[:, 1:2]),
    "masked_fill": lambda x: paddle.masked_fill(x, x > 0, 0.5),
    "dot": lambda x: paddle.dot(x[:, 0, 0], x[:, 0, 1]),
    "scale of no rank": lambda x: paddle.shape(x)[0] * 3 + 1,
    "amax": lambda x: paddle.amax(x, [1, 2]) + paddle.amin(x, [1, 2]),
    "logsumexp": lambda x: [paddle.logsumexp(x, [1, 3], keepdim=True), paddle.logsumexp(x)],
    "cumprod": lambda x: paddle.cumprod(x, 2) + paddle.cumprod(x, -1),
    "cummax": lambda x: [*paddle.cummax(x, 1), *paddle.cummin(x, 3)],
    "logcumsumexp": lambda x: paddle.logcumsumexp(x, 2),
    "maxout": lambda x: F.maxout(x, 2),
    "norms": lambda x: [paddle.linalg.norm(x, p, 1) for p in (1, 2, 3, float("inf"))],
    "frobenius": lambda x: paddle.linalg.norm(x, "fro", [2, 3]),
    "linspace": lambda x: x.mean() + paddle.linspace(-1, 1, paddle.shape(x)[2]),
    "indices": lambda x: paddle.tril_indices(3, 4, 1) + paddle.shape(x)[0] + paddle.triu_indices(4, 3, -2)[:, :1],
    "strided_slice": lambda x: x[:, ::-1, 1:7:2],
    "unstack": lambda x: paddle.add(*paddle.unstack(x, 1)[:2]),
    "split": lambda x: paddle.split(x, [1, -1], 1)[1],
    "repeat_interleave": lambda x: paddle.repeat_interleave(x, 3, 2),
    "temporal_shift": lambda x: F.temporal_shift(x, 2, 0.25),
    "diagonal": lambda x: paddle.diagonal(x, 1, 2, 3) + paddle.diagonal(x, -1, 3, 2)[:, :, :5],
    "diag_embed": lambda x: paddle.diag_embed(x),
    "reshape": lambda x: x.reshape([paddle.shape(x)[0] * 2, 12, -1]),
    "expand": lambda x: x[:, :1].expand([paddle.shape(x)[0], 3, -1, -1]),
    "pad": lambda x: F.pad(x, [0, 0, 1, 0, 2, 3, 0, 1], value=0.5, pad_from_left_axis=True),
    "pad3d": lambda x: [F.pad(x, [1, 2, 3, 0], mode) for mode in ("constant", "reflect", "replicate", "circular")],
    "pad to 5": lambda x: F.pad(x, [0, (5 - paddle.shape(x)[3] % 5) % 5, 0, (5 - paddle.shape(x)[2] % 5) % 5]),
    "nearest": lambda x: [F.interpolate(x, size=[5, 9]), F.interpolate(x, scale_factor=[2.0, 1.5])],
    "bilinear": lambda x: [
        F.interpolate(x, size=[5, 9], mode="bilinear", align_corners=corners, align_mode=mode)
        for corners, mode in ((True, 0), (False, 0), (False, 1))
    ],
    "bilinear to a size": lambda x: F.interpolate(x, size=paddle.shape(x)[2:] + 2, mode="bilinear"),
    "bilinear to sizes": lambda x: F.interpolate(x, size=[paddle.shape(x)[2] * 2, 7], mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, size=[5, 9], mode="bicubic"),
    "linear": lambda x: F.interpolate(x[:, 0], size=[9], mode="linear", data_format="NCW"),
    "trilinear": lambda x: F.interpolate(x.unsqueeze(1), size=[3, 5, 9], mode="trilinear", data_format="NCDHW"),
    "pixel_shuffle": lambda x: [F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 2)],
    "conv3d": lambda x: nn.Conv3D(4, 6, 3, 2, [1, 0, 1], groups=2)(x.unsqueeze(2).tile([1, 1, 3, 1, 1])),
    "conv2d_transpose": lambda x: nn.Conv2DTranspose(4, 6, 3, 2, 1, 1, groups=2)(x),
    "conv2d_transpose to a size": lambda x: nn.Conv2DTranspose(4, 6, 3, 2, 1)(x, output_size=[16, 11]),
    "conv3d_transpose": lambda x: nn.Conv3DTranspose(4, 3, 3, 2, 1, 1)(x.unsqueeze(2)),
    "pool3d": lambda x: (
        F.avg_pool3d(x.unsqueeze(1), [2, 3, 2], 1, [1, 0, 1]) - F.max_pool3d(x.unsqueeze(1), 2, 1)[:, :, :1, :1, :1]
    ),
    "adaptive pool": lambda x: F.adaptive_avg_pool2d(x, [3, 4]) + F.adaptive_max_pool2d(x, [3, 4]),
    "unpool": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, 2, return_mask=True), 2, 2),
    "unfold": lambda x: F.unfold(x, [3, 2], [2, 1], [1, 0], [1, 2]),
    "fold": lambda x: F.fold(F.unfold(x, 3, 2, 1).reshape([2, 36, 12]), [8, 6], 3, 2, 1),
    "matmul": lambda x: [paddle.matmul(x, x, transpose_y=True), paddle.matmul(x[0, 0, 0], x[0, 0], transpose_y=True)],
    "addmm": lambda x: paddle.addmm(x[0, 0], x[0, 0], x[0, 1, :6], 0.5, 2.0),
    "addmm of a row": lambda x: paddle.addmm(x[0, 0, 0], x[0, 0], x[0, 1, :6], 0.5, 2.0),
    "baddbmm": lambda x: paddle.baddbmm(x[0], x[0], x[1, :, :6], 0.5, 2.0),
    "layer_norm": lambda x: F.layer_norm(x, [8, 6]) + nn.LayerNorm([6])(x),
    "batch_norm": lambda x: [
        nn.BatchNorm2D(4, weight_attr=scale, bias_attr=shift, use_global_stats=True)(x)
        for scale, shift in ((None, None), (None, False), (False, None), (False, False))
    ],
    "instance_norm": lambda x: nn.InstanceNorm2D(4)(x) + F.instance_norm(x),
    "group_norm": lambda x: nn.GroupNorm(2, 4)(x),
    "gathers": lambda x: [
        paddle.gather_nd(x, index([0, 1], [1, 0], dtype="int32")),
        paddle.index_sample(x[:, 0, 0], paddle.argsort(x[:, 0, 0])),
    ],
    "searchsorted": lambda x: (
        [paddle.bucketize(x, index(-1, 0, 0, 1, dtype="float32"), right=right) for right in (False, True)]
        + [paddle.searchsorted(paddle.sort(x, -1), x)]
    ),
    "kthvalue": lambda x: [*paddle.kthvalue(x, 3, 1), *paddle.kthvalue(x, 2, 2, keepdim=True)],
    "median": lambda x: [paddle.median(x, 1), paddle.median(x[:, :3], 1, keepdim=True)],
    "masked_select": lambda x: paddle.masked_select(x, x > 0),
    "unique": lambda x: paddle.unique(paddle.round(x * 2)),
    "scatter": lambda x: [paddle.scatter(x[0, 0], index(1, 3, 3), x[1, 0, :3], overwrite=o) for o in (False, True)][:1],
    "scatter over": lambda x: paddle.scatter(x[0, 0], index(1, 3), x[1, 0, :2]),
    "scatter_nd_add": lambda x: paddle.scatter_nd_add(x[0], index([1], [3], [1]), x[1, :3]),
    "put_along_axis": lambda x: [
        paddle.put_along_axis(x, paddle.argmax(x, 1, keepdim=True), 0.5, 1, reduce) for reduce in ("assign", "add")
    ],
    "index_add": lambda x: paddle.index_add(x, index(1, 1), 2, x[:, :, :2]),
    "index_put": lambda x: paddle.index_put(x, [index(0, 1), index(2, 3)], x[0, :2]),
    "set_value": written,
    "send_u_recv": lambda x: [
        paddle.geometric.send_u_recv(x[0, 0], index(0, 1, 2, 0), index(1, 2, 1, 0), way) for way in ("sum", "mean")
    ],
    "grid_sample": lambda x: [
        F.grid_sample(x, F.tanh(x.transpose([0, 2, 3, 1])[..., :2]) * 1.2, mode, padding, corners)
        for mode, padding, corners in (
            ("bilinear", "zeros", True),
            ("bilinear", "border", False),
            ("nearest", "zeros", False),
            ("bilinear", "reflection", True),
        )
    ],
    "affine_grid": lambda x: [F.affine_grid(x[:, :2, :1, :3].squeeze(2), paddle.shape(x), c) for c in (True, False)],
    "roi_align": lambda x: [
        paddle.vision.ops.roi_align(x, boxes(x)[0], index(9, 7, dtype="int32"), (2, 3), 0.7, samples, aligned)
        for samples, aligned in ((-1, True), (2, False))
    ],
    "nms": lambda x: paddle.vision.ops.nms(boxes(x)[0], 0.3, x.flatten()[:16]),
    "multiclass_nms3": detected,
    "multiclass_nms3, few": lambda x: detected(x, keep_top_k=5, nms_top_k=9, background_label=0, normalized=False),
    "multiclass_nms3, none": lambda x: detected(x, score_threshold=2.0, keep_top_k=5),
    "yolo_box": lambda x: paddle.vision.ops.yolo_box(
        nn.Conv2D(4, 14, 1)(x),
        index([300, 200], [64, 32], dtype="int32"),
        [10, 13, 16, 30],
        2,
        0.3,
        8,
        True,
        scale_x_y=1.2,
    ),
}


def in_onnx_runtime(folder, net, x):
    """What a net returns in ONNX Runtime, and in Paddle."""
    main, start = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, start), paddle.utils.unique_name.guard():
        given = paddle.static.data("x", [-1, *x.shape[1:]])
        one = paddle.create_parameter([1], "float32", default_initializer=nn.initializer.Constant(1.0))
        made = net(given * one)  # Paddle saves no model without a parameter
        made = list(made) if isinstance(made, (list, tuple)) else [made]
    scope, executor, prefix = paddle.static.Scope(), paddle.static.Executor(), str(folder / "net")
    with paddle.static.scope_guard(scope):
        executor.run(start)
        paddle.static.save_inference_model(prefix, [given], made, executor, program=main)
        wanted = executor.run(main, feed={"x": x}, fetch_list=made)
    stored = {one.name: one for one in pdiparams.scan(prefix + ".pdiparams", prefix + ".json")}
    steps = Steps(read_program(prefix + ".json"), stored, prefix + ".pdiparams", lambda op: False, threads=1)
    return steps.run(x), wanted


@pytest.mark.parametrize("kind", OPS)
def test_an_op_returns_what_paddle_returns(tmp_path, kind):
    pytest.importorskip("onnxruntime")
    x = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    found, wanted = in_onnx_runtime(tmp_path, OPS[kind], x)
    assert len(found) == len(wanted)
    for one, want in zip(found, wanted):
        assert one.shape == want.shape and one.dtype == want.dtype
        assert not want.size or relative_error(one.astype("float64"), want.astype("float64")) < 1e-5
