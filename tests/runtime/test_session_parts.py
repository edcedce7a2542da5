# SPDX-License-Identifier: Apache-2.0
"""`Session` on nets in parts: ONNX Runtime runs the rest."""

from __future__ import annotations

import json
import sys

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from part_nets import SHAPE, at_the_end, image, middle, two_ways, unknown
from runtime_nets import relative_error, save_net

from paddle_unstructured.runtime import Session, convert
from paddle_unstructured.runtime.ops import OPS
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")


@pytest.fixture(autouse=True)
def unknown_op(monkeypatch):
    """The runtime has no kernel for a running sum, here."""
    monkeypatch.delitem(OPS, "cumsum")


def compared(tmp_path, layers, shape=SHAPE, batches=(1, 3)):
    """Convert in parts; Session's outputs must be Paddle's."""
    pytest.importorskip("onnxruntime")
    dense = save_net(tmp_path, layers, shape, sparsity=0.0)  # equal numbers have no order
    table = convert(dense, tmp_path / "fast")
    assert table.parts and not table.converted, str(table)
    session = Session(tmp_path / "fast")
    for batch in batches:
        x = image(batch, batch)
        want = open_model(dense).run(x=x)
        for given in (x, {"x": x}):
            found = session.run(given)
            assert len(found) == len(want)
            for one, expected in zip(found, want):
                assert one.shape == expected.shape and one.dtype == expected.dtype
                assert relative_error(one.astype("float64"), expected.astype("float64")) < 1e-5
    return session


@pytest.mark.parametrize("layers", [middle, two_ways, at_the_end])
def test_session_runs_the_rest_in_onnx_runtime(tmp_path, layers):
    session = compared(tmp_path, layers)
    assert session.inputs == ("x",) and len(session.outputs) == (1 if layers is middle else 2) and session.isa


def many_ops(x):
    """Ops of the table, each on the indices or the numbers that an unknown one makes."""
    x = nn.Conv2D(3, 4, 3)(x)
    y = unknown(x.flatten(2))
    numbers, index = paddle.topk(y, 3, axis=-1)
    order = paddle.argsort(y, axis=-1, descending=True)
    picked = paddle.gather(y, paddle.to_tensor([1, 3]), axis=2)
    found = paddle.where(y > 0.5, y, -y).clip(-1.0, 1.0)
    a, b = paddle.split(found, 2, axis=1)
    joined = paddle.concat([a * 2.0 + 1.0, b.transpose([0, 1, 2])], axis=2)
    whole = paddle.shape(y)[1:2].astype("float32") * y.sum([1, 2], keepdim=True)
    return numbers, index, order, picked, joined, whole, (y > 0).any(axis=2), paddle.stack([a, b], 1).max(axis=-1)


def test_ops_of_the_table_return_what_paddle_returns(tmp_path):
    compared(tmp_path, many_ops, batches=(2,))


FOREIGN = {
    "pool2d": lambda x: F.avg_pool2d(F.max_pool2d(x, 3, 2, 1), [2, 1], 1, [1, 0], exclusive=False),
    "roll": lambda x: paddle.roll(x, [1, -2], [2, 3]),
    "flip": lambda x: paddle.flip(x, [1, 3]),
    "silu": F.silu,
    "gelu": F.gelu,
    "layer_norm": lambda x: nn.LayerNorm(x.shape[3])(x),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "hardsigmoid": F.hardsigmoid,
    "elu": lambda x: F.elu(x, 0.7),
    "softplus": F.softplus,
    "relu6": F.relu6,
    "one_hot": lambda x: F.one_hot(paddle.argmax(x, axis=1), 4),
    "unbind": lambda x: paddle.add(*paddle.unbind(x, 1)[:2]),
    "take_along_axis": lambda x: paddle.take_along_axis(x, paddle.topk(x, 2, 1)[1][:, :, :1, :1], 1),
    "floor_divide": lambda x: paddle.floor_divide(x, paddle.to_tensor(0.3)),
    "remainder": lambda x: paddle.remainder(x, paddle.to_tensor(-0.3)),
    "meshgrid": lambda x: (
        x + paddle.meshgrid(*(paddle.arange(paddle.shape(x)[i]) for i in (2, 3)))[0].astype("float32")
    ),
    "expand": lambda x: x.mean(1, keepdim=True).expand([-1, 4, -1, -1]),
    "asinh": paddle.asinh,
    "pow": lambda x: paddle.pow(x.abs(), 1.5),
    "einsum": lambda x: paddle.einsum("nchw,ncij->nhj", x, x),
    "triu": lambda x: paddle.triu(x, 1),
    "tril": lambda x: paddle.tril(x, -2),
    "expand_as": lambda x: x.mean(1, keepdim=True).expand_as(x),
    "embedding": lambda x: nn.Embedding(4, 5)(paddle.argmax(x, axis=1)),
    "numel": lambda x: x * x.numel().astype("float32"),
    "any": lambda x: (x > 1).any(axis=1),
    "bmm": lambda x: paddle.bmm(x.flatten(2), x.flatten(2).transpose([0, 2, 1])),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_op_that_is_not_ours_costs_only_itself_in_session(tmp_path, monkeypatch, kind):
    monkeypatch.delitem(OPS, kind, raising=False)
    shape = [-1, 3, -1, -1] if kind == "meshgrid" else SHAPE
    compared(tmp_path, lambda x: FOREIGN[kind](nn.Conv2D(3, 4, 1)(x)), shape, batches=(2,))


def test_an_op_without_an_onnx_node_is_refused_by_name(tmp_path):
    pytest.importorskip("onnxruntime")
    dense = save_net(tmp_path, lambda x: paddle.mode(nn.Conv2D(3, 4, 1)(x), 1)[0], SHAPE)
    assert convert(dense, tmp_path / "fast").parts
    with pytest.raises(ValueError, match="Session cannot run mode, for which it has no ONNX node; use create_pred"):
        Session(tmp_path / "fast")


def test_without_onnx_runtime_the_rest_is_refused_by_name(tmp_path, monkeypatch):
    convert(save_net(tmp_path, middle, SHAPE), tmp_path / "fast")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"for the rest of it \(cumsum.*paddle_unstructured\[onnx\]"):
        Session(tmp_path / "fast")


def test_what_does_not_fit_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    convert(save_net(tmp_path, middle, SHAPE), tmp_path / "fast")
    session = Session(tmp_path / "fast")
    with pytest.raises(ValueError, match=r"must be float32 of shape \[n, 3, 16, 16\], got \[1, 3, 8, 8\]"):
        session.run(np.zeros((1, 3, 8, 8)))
    with pytest.raises(ValueError, match="for each of x, got y"):
        session.run({"y": image()})
    with pytest.raises(ValueError, match="takes 1 input"):
        session.run(image(), image())


def damaged(random, content):
    """One op is taken out, doubled or moved, or a number or a word of one is changed."""
    ops = content["program"]["regions"][0]["blocks"][0]["ops"]
    at, to = (int(random.integers(len(ops))) for _ in range(2))
    op = ops[at]
    kind = int(random.integers(6))
    if kind == 0:
        del ops[at]
    elif kind == 1:
        ops.insert(to, ops.pop(at))
    elif kind == 2 and op.get("I"):
        op["I"][int(random.integers(len(op["I"])))]["%"] = int(random.integers(80))
    elif kind == 3 and op.get("I"):
        op["I"].pop()
    elif kind == 4 and isinstance(op["O"], list) and op["O"]:
        op["O"][0]["%"] = int(random.integers(80))
    elif isinstance(op["A"], list) and op["A"] and isinstance(op["A"][0], dict):
        op["A"][0]["AT"]["D"] = [7, "x", -1, [], None][int(random.integers(5))]
    return content


def test_a_damaged_program_is_refused_or_runs(tmp_path):
    pytest.importorskip("onnxruntime")
    convert(save_net(tmp_path, many_ops, SHAPE), tmp_path / "fast")
    text, random = (tmp_path / "fast.json").read_text(), np.random.default_rng(0)
    for _ in range(150):
        (tmp_path / "fast.json").write_text(json.dumps(damaged(random, json.loads(text))))
        try:
            Session(tmp_path / "fast").run(image())
        except ValueError as error:
            assert str(error)
