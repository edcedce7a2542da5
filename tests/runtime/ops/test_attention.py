# SPDX-License-Identifier: Apache-2.0
"""Products of activations, norms over tokens and whole attentions, against Paddle."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")

WIDTH, HEADS = 24, 3
OPEN, FIXED = [-1, WIDTH, 1, -1], [-1, WIDTH, 3, 4]


def lines(plan, kind):
    return [line for line in plan.split("\n") if line.startswith(kind + " ")]


def tokens(layers):
    """What `layers` makes of the pixels of a plane as tokens [n, tokens, width], as planes again."""

    def build(x):
        y = layers(x.flatten(2).transpose([0, 2, 1]))
        return y.transpose([0, 2, 1]).unsqueeze(2)

    return build


def heads_of(x, count=HEADS):
    return x.reshape([0, 0, count, x.shape[-1] // count]).transpose([0, 2, 1, 3])


def together(x):
    x = x.transpose([0, 2, 1, 3])
    return x.reshape([0, 0, x.shape[2] * x.shape[3]])


def attend(x, mask=None, drop=None):
    """An attention by hand, from one linear layer."""
    q, k, v = paddle.unbind(nn.Linear(WIDTH, 3 * WIDTH)(x).reshape([0, 0, 3, HEADS, 8]).transpose([2, 0, 3, 1, 4]))
    scores = paddle.matmul(q, k, transpose_y=True) * 8**-0.5
    if mask is not None:
        scores = scores + mask
    return nn.Linear(WIDTH, WIDTH)(together(F.softmax(scores) @ v))


@pytest.mark.parametrize("shape", [OPEN, FIXED])
def test_an_attention_by_hand_is_one_layer_that_reads_the_heads_where_they_lie(tmp_path, shape):
    plan = assert_like_paddle(tmp_path, tokens(attend), shape)
    assert len(lines(plan, "attention")) == 1
    assert not [line for kind in ("matmul", "softmax", "permute", "slice") for line in lines(plan, kind)]


@pytest.mark.parametrize("shape", [OPEN, FIXED])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_paddles_own_encoder(tmp_path, shape, before, act):
    def encoder(x):
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 50, activation=act, normalize_before=before)
        made = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH) if before else None)
        made.eval()
        return made(x)

    plan = assert_like_paddle(tmp_path, tokens(encoder), shape)
    assert len(lines(plan, "attention")) == 2
    assert not lines(plan, "permute")


def test_a_decoder_attends_across(tmp_path):
    def decoder(x):
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 50)
        layer.eval()
        return layer(x[:, 1:], x)

    plan = assert_like_paddle(tmp_path, tokens(decoder), [-1, WIDTH, 1, 9])
    assert len(lines(plan, "attention")) == 2


MASKS = {
    "of the keys": lambda x: ((x[:, :, 0] > 0).astype("float32") * -1e4).unsqueeze([1, 2]),
    "for each query": lambda x: (paddle.matmul(x, x, transpose_y=True) * 0.1).unsqueeze(1),
    "for each head": lambda x: paddle.matmul(heads_of(x), heads_of(x), transpose_y=True) * 0.1,
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_that_is_computed_is_added_inside(tmp_path, mask):
    plan = assert_like_paddle(tmp_path, tokens(lambda x: attend(x, MASKS[mask](x))), OPEN)
    assert len(lines(plan, "attention")) == 1
    assert not lines(plan, "softmax")


CAUSAL = np.triu(np.full((12, 12), -1e9, "float32"), 1)
BIAS = np.random.default_rng(0).normal(size=(1, HEADS, 12, 12)).astype("float32")


@pytest.mark.parametrize(
    "mask, word", [(CAUSAL, "causal=1"), (BIAS, "bias=1,3,12,12"), (BIAS[:, :1], "bias=1,1,12,12")]
)
def test_a_constant_that_is_added_is_stored_with_the_layer(tmp_path, mask, word):
    plan = assert_like_paddle(tmp_path, tokens(lambda x: attend(x, paddle.to_tensor(mask))), FIXED)
    assert word in lines(plan, "attention")[0]


def test_a_causal_attention_of_open_length(tmp_path):
    def layers(x):
        q, k, v = (nn.Linear(WIDTH, WIDTH)(x).reshape([0, 0, HEADS, 8]) for _ in range(3))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).reshape([0, 0, WIDTH])

    plan = assert_like_paddle(tmp_path, tokens(layers), OPEN)
    assert "causal=1" in lines(plan, "attention")[0]


def windows(x):
    """[n, height, width, channels] as windows of 2 x 2, and what attends in them, as planes again."""
    size = x.shape
    parts = x.reshape([0, size[1] // 2, 2, size[2] // 2, 2, WIDTH]).transpose([0, 1, 3, 2, 4, 5])
    parts = attend(parts.reshape([-1, 4, WIDTH]), paddle.to_tensor(BIAS[:, :, :4, :4]))
    parts = parts.reshape([-1, size[1] // 2, size[2] // 2, 2, 2, WIDTH]).transpose([0, 1, 3, 2, 4, 5])
    return parts.reshape([-1, size[1], size[2], WIDTH])


def test_windows_attend_to_themselves(tmp_path):
    def layers(x):
        x = x.transpose([0, 2, 3, 1])
        return (nn.LayerNorm(WIDTH)(x) + windows(x)).transpose([0, 3, 1, 2])

    plan = assert_like_paddle(tmp_path, layers, [-1, WIDTH, 4, 6])
    assert "windows=6" in lines(plan, "attention")[0]


PRODUCTS = {
    "of planes": lambda x: x @ x.transpose([0, 1, 3, 2]),
    "of planes by tokens": lambda x: paddle.matmul(x.flatten(2), x.flatten(2), transpose_y=True).unsqueeze(1),
    "over channels": lambda x: paddle.bmm(x.flatten(2).transpose([0, 2, 1]), x.flatten(2)).unsqueeze(1),
    "with a stored matrix in front": lambda x: paddle.create_parameter([5, 3], "float32") @ x,
    "with a matrix for each channel": lambda x: x @ paddle.create_parameter([WIDTH, 4, 5], "float32"),
    "transposed first": lambda x: paddle.matmul(x, x, transpose_x=True),
    "one side for all": lambda x: x @ x.mean(1, keepdim=True).transpose([0, 1, 3, 2]),
    "softmax of a product": lambda x: F.softmax(x @ x.transpose([0, 1, 3, 2]), 1),
    "weights that are no softmax over keys": lambda x: F.softmax(x @ x.transpose([0, 1, 3, 2]), 2) @ x,
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_any_kind(tmp_path, name):
    assert_like_paddle(tmp_path, PRODUCTS[name], FIXED)


NORMS = {
    "batch norm without scale": lambda x: nn.BatchNorm2D(WIDTH, weight_attr=False)(x),
    "batch norm without shift": lambda x: nn.BatchNorm2D(WIDTH, bias_attr=False)(x),
    "batch norm without either": lambda x: nn.BatchNorm2D(WIDTH, weight_attr=False, bias_attr=False)(x),
    "group norm": lambda x: nn.GroupNorm(4, WIDTH)(x),
    "instance norm": lambda x: nn.InstanceNorm2D(WIDTH)(x),
    "layer norm over tokens": tokens(lambda x: nn.LayerNorm(WIDTH)(x)),
    "layer norm of each head": tokens(lambda x: nn.LayerNorm(8)(x.reshape([0, 0, HEADS, 8])).flatten(2)),
    "layer norm over everything": lambda x: nn.LayerNorm([WIDTH, 3, 4])(x),
    "layer norm over rows": lambda x: nn.LayerNorm([4])(x),
    "layer norm without numbers": lambda x: F.layer_norm(x, [3, 4]),
    "rms norm": tokens(
        lambda x: paddle.incubate.nn.functional.fused_rms_norm(
            x, paddle.create_parameter([WIDTH], "float32"), None, 1e-5, 2
        )[0]
    ),
    "tanh gelu": lambda x: F.gelu(x, approximate=True),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_any_kind(tmp_path, name):
    assert_like_paddle(tmp_path, NORMS[name], FIXED)
