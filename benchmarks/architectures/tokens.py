# SPDX-License-Identifier: Apache-2.0
"""Transformers: BERT, GPT, DeiT and Swin, and the attention that they share with text recognisers."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from .blocks import ACTIVATIONS, wide


class Attention(nn.Layer):
    """One linear layer for queries, keys and values; softmax(q k' / sqrt(d) [+ mask]) v; one linear layer.

    Args:
        channels: channels of a token.
        heads: number of heads.
        mask: what is added to the scores, [1, 1, tokens, tokens].
    """

    def __init__(self, channels: int, heads: int, *, mask: np.ndarray | None = None) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.channels, self.heads, self.size = channels, heads, channels // heads
        self.register_buffer("mask", None if mask is None else paddle.to_tensor(mask))

    def forward(self, x):
        qkv = self.qkv(x).reshape([0, -1, 3, self.heads, self.size]).transpose([2, 0, 3, 1, 4])
        q, k, v = qkv[0] * self.size**-0.5, qkv[1], qkv[2]
        scores = q.matmul(k.transpose([0, 1, 3, 2]))
        if self.mask is not None:
            scores = scores + self.mask
        found = F.softmax(scores, axis=-1).matmul(v)
        return self.out(found.transpose([0, 2, 1, 3]).reshape([0, -1, self.channels]))


class Mlp(nn.Sequential):
    """Two linear layers on each token."""

    def __init__(self, channels: int, inside: int, *, act: str = "gelu") -> None:
        super().__init__(nn.Linear(channels, inside), ACTIVATIONS[act](), nn.Linear(inside, channels))


class PreNorm(nn.Layer):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(channels, heads), Mlp(channels, 4 * channels)
        self.first, self.second = nn.LayerNorm(channels, epsilon=1e-6), nn.LayerNorm(channels, epsilon=1e-6)

    def forward(self, x):
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class DeiT(nn.Layer):
    """DeiT-tiny, a ViT of 3 heads of 64: Touvron et al. 2021, arXiv:2012.12877.

    Args:
        width: factor of the 192 channels.
        size: height and width of the images.
        depth: number of blocks.
        classes: number of logits.
    """

    def __init__(self, width: float = 1.0, *, size: int = 224, depth: int = 12, classes: int = 1000) -> None:
        super().__init__()
        channels, tokens = wide(192, width, 24), (size // 16) ** 2
        normal = nn.initializer.TruncatedNormal(std=0.02)
        self.patches = nn.Conv2D(3, channels, 16, stride=16)
        self.token = self.create_parameter([1, 1, channels], default_initializer=normal)
        self.position = self.create_parameter([1, tokens + 1, channels], default_initializer=normal)
        self.blocks = nn.Sequential(*[PreNorm(channels, 3) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(channels, epsilon=1e-6), nn.Linear(channels, classes)

    def forward(self, x):
        batch = paddle.shape(x)[0]
        tokens = self.patches(x).flatten(2).transpose([0, 2, 1])
        first = self.token.expand([batch, -1, -1])
        tokens = paddle.concat([first, tokens], axis=1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class _WindowAttention(nn.Layer):
    """Swin's attention: within windows, with a bias for each pair of places, shifted by half a window or not."""

    def __init__(self, channels: int, heads: int, *, size: int, window: int, shift: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.channels, self.heads, self.size, self.window, self.shift = channels, heads, size, window, shift
        normal = nn.initializer.TruncatedNormal(std=0.02)
        self.bias = self.create_parameter([(2 * window - 1) ** 2, heads], default_initializer=normal)
        self.register_buffer("index", paddle.to_tensor(_relative(window)))
        mask = paddle.to_tensor(_shift_mask(size, window, shift)) if shift else None
        self.register_buffer("mask", mask)

    def forward(self, x):
        size, window, channels = self.size, self.window, self.channels
        many, inside = size // window, window * window
        x = x.reshape([-1, size, size, channels])
        if self.shift:
            x = paddle.roll(x, shifts=(-self.shift, -self.shift), axis=(1, 2))
        x = x.reshape([-1, many, window, many, window, channels]).transpose([0, 1, 3, 2, 4, 5])
        x = x.reshape([-1, inside, channels])
        qkv = self.qkv(x).reshape([-1, inside, 3, self.heads, channels // self.heads]).transpose([2, 0, 3, 1, 4])
        q, k, v = qkv[0] * (channels // self.heads) ** -0.5, qkv[1], qkv[2]
        bias = paddle.index_select(self.bias, self.index).reshape([inside, inside, -1]).transpose([2, 0, 1])
        scores = paddle.matmul(q, k, transpose_y=True) + bias.unsqueeze(0)
        if self.mask is not None:
            scores = scores.reshape([-1, many * many, self.heads, inside, inside]) + self.mask
            scores = scores.reshape([-1, self.heads, inside, inside])
        x = paddle.matmul(F.softmax(scores, axis=-1), v).transpose([0, 2, 1, 3]).reshape([-1, inside, channels])
        x = self.out(x).reshape([-1, many, many, window, window, channels]).transpose([0, 1, 3, 2, 4, 5])
        x = x.reshape([-1, size, size, channels])
        if self.shift:
            x = paddle.roll(x, shifts=(self.shift, self.shift), axis=(1, 2))
        return x.reshape([-1, size * size, channels])


def _relative(window: int) -> np.ndarray:
    """For each pair of places of a window, the index of their difference; [window ** 4]."""
    y, x = np.divmod(np.arange(window * window), window)
    down, right = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return (down * (2 * window - 1) + right).ravel().astype("int64")


def _shift_mask(size: int, window: int, shift: int) -> np.ndarray:
    """-100 between places that only the shift has brought into one window; [1, windows, 1, places, places]."""
    region = np.digitize(np.arange(size), [size - window, size - shift])
    regions = region[:, None] * 3 + region
    many = size // window
    regions = regions.reshape(many, window, many, window).transpose(0, 2, 1, 3).reshape(many * many, -1)
    return np.where(regions[:, :, None] == regions[:, None], 0.0, -100.0).astype("float32")[None, :, None]


class _SwinBlock(nn.Layer):
    def __init__(self, channels: int, heads: int, *, size: int, window: int, shift: int) -> None:
        super().__init__()
        self.attention = _WindowAttention(channels, heads, size=size, window=window, shift=shift)
        self.mlp, self.first, self.second = Mlp(channels, 4 * channels), nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x):
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class _PatchMerging(nn.Layer):
    """Every other row and column, four times, side by side; a norm; half of the channels by a linear layer."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * channels), nn.Linear(4 * channels, 2 * channels, bias_attr=False)
        self.channels, self.size = channels, size

    def forward(self, x):
        x = x.reshape([-1, self.size, self.size, self.channels])
        parts = [x[:, 0::2, 0::2, :], x[:, 1::2, 0::2, :], x[:, 0::2, 1::2, :], x[:, 1::2, 1::2, :]]
        x = paddle.concat(parts, axis=-1).reshape([-1, self.size * self.size // 4, 4 * self.channels])
        return self.reduce(self.norm(x))


class Swin(nn.Layer):
    """Swin-tiny: Liu et al. 2021, arXiv:2103.14030.

    Args:
        width: factor of the 96 channels.
        size: height and width of the images.
        depths: blocks of each stage; each but the last halves height and width.
        classes: number of logits.
    """

    def __init__(self, width: float = 1.0, *, size: int = 224, depths=(2, 2, 6, 2), classes: int = 1000) -> None:
        super().__init__()
        channels, heads, size = wide(96, width, 24), 3, size // 4
        self.patches, self.norm = nn.Conv2D(3, channels, 4, stride=4), nn.LayerNorm(channels)
        layers = []
        for i, depth in enumerate(depths):
            window = min(7, size)
            for j in range(depth):
                shift = 3 if j % 2 and size > window else 0
                layers.append(_SwinBlock(channels, heads, size=size, window=window, shift=shift))
            if i + 1 < len(depths):
                layers.append(_PatchMerging(channels, size))
                channels, heads, size = channels * 2, heads * 2, size // 2
        self.body, self.last, self.head = nn.Sequential(*layers), nn.LayerNorm(channels), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.norm(self.patches(x).flatten(2).transpose([0, 2, 1]))
        x = self.last(self.body(x)).transpose([0, 2, 1])
        return self.head(F.adaptive_avg_pool1d(x, 1).flatten(1))


class Bert(nn.Layer):
    """BERT-base: Devlin et al. 2018, arXiv:1810.04805, of `paddle.nn.TransformerEncoder`, as PaddleNLP has it.

    Positions are counted and padding is found in the graph. Returns all tokens, and the first one through the pooler.

    Args:
        width: factor of the 768 channels.
        depth: number of layers.
        vocabulary: number of tokens.
    """

    def __init__(self, width: float = 1.0, *, depth: int = 12, vocabulary: int = 30522) -> None:
        super().__init__()
        channels = wide(768, width, 96)
        self.words, self.places = nn.Embedding(vocabulary, channels), nn.Embedding(512, channels)
        self.kinds, self.norm = nn.Embedding(2, channels), nn.LayerNorm(channels, epsilon=1e-12)
        self.dropout = nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(channels, 12, 4 * channels, activation="gelu")
        self.encoder, self.pooler = nn.TransformerEncoder(layer, depth), nn.Linear(channels, channels)

    def forward(self, tokens, kinds):
        mask = paddle.unsqueeze((tokens == 0).astype("float32") * -1e4, axis=[1, 2])
        ones = paddle.ones_like(tokens)
        places = paddle.cumsum(ones, axis=-1) - ones
        x = self.dropout(self.norm(self.words(tokens) + self.places(places) + self.kinds(kinds)))
        x = self.encoder(x, mask)
        return x, F.tanh(self.pooler(x[:, 0]))


class GPT(nn.Layer):
    """A small GPT-2: Radford et al. 2019; norms first, a causal mask cut to the length, logits by the words' table.

    Args:
        width: factor of the 384 channels.
        depth: number of blocks.
        vocabulary: number of tokens.
        longest: largest number of tokens.
    """

    def __init__(self, width: float = 1.0, *, depth: int = 6, vocabulary: int = 8192, longest: int = 512) -> None:
        super().__init__()
        channels = wide(384, width, 48)
        self.words, self.places = nn.Embedding(vocabulary, channels), nn.Embedding(longest, channels)
        self.blocks = nn.LayerList([_CausalBlock(channels, 6) for _ in range(depth)])
        self.norm = nn.LayerNorm(channels)
        causal = np.triu(np.full((longest, longest), -1e4, "float32"), 1)
        self.register_buffer("mask", paddle.to_tensor(causal[None, None]))

    def forward(self, tokens):
        length = paddle.shape(tokens)[1]
        places = paddle.arange(0, length, dtype="int64").unsqueeze(0)
        x = self.words(tokens) + self.places(places)
        mask = self.mask[:, :, :length, :length]
        for block in self.blocks:
            x = block(x, mask)
        return paddle.matmul(self.norm(x), self.words.weight, transpose_y=True)


class _CausalBlock(nn.Layer):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.first, self.second = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.channels, self.heads = channels, heads

    def forward(self, x, mask):
        size = self.channels // self.heads
        qkv = self.qkv(self.first(x)).reshape([0, 0, self.heads, 3 * size]).transpose([0, 2, 1, 3])
        q, k, v = paddle.split(qkv, 3, axis=-1)
        scores = paddle.matmul(q * size**-0.5, k, transpose_y=True) + mask
        found = paddle.matmul(F.softmax(scores), v).transpose([0, 2, 1, 3]).reshape([0, 0, self.channels])
        x = x + self.out(found)
        return x + self.down(F.gelu(self.up(self.second(x)), approximate=True))
