# SPDX-License-Identifier: Apache-2.0
"""Norms, products of activations, attention and embeddings of the engine against float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_nets import ISAS, relative_error

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.plan import Window, one_image

RANDOM = np.random.default_rng(0)
SIZES = st.integers(1, 70)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def run(isa, layers, x, threads=1, rank=4):
    """What `layers(writer, 0)` appends, on one instruction set."""
    writer = one_image(x.shape[1], x.ndim)
    writer.output(layers(writer, 0), rank=rank)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA", isa)
        return Engine(writer.text, writer.arrays, threads=threads).run(x)[0]


def channels(writer, value, first, last, of):
    """Some channels of a value, by a convolution with ones."""
    weight = np.eye(of, dtype="float32")[first:last, :, None, None]
    return writer.convolution(value, weight, np.zeros(last - first), Window(), block=1)


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def test_a_layer_norm_written_out():
    x = np.array([1, 3], "float32").reshape(1, 2, 1, 1)
    words = {"out": 2, "over": "channels", "groups": 1, "center": 1, "epsilon": 0.0}

    def norm(writer, value):
        return writer.add("norm", [value], **words, params=writer.keep(np.array([1.0, 10.0]), np.array([0.0, 5.0])))

    assert run("portable", norm, x).ravel().tolist() == [-1, 15]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    isa=st.sampled_from(ISAS),
    over=st.sampled_from(["channels", "planes"]),
    center=st.booleans(),
    groups=st.integers(1, 4),
    width=st.integers(1, 40),
    size=st.tuples(st.integers(1, 9), SIZES),
    threads=st.integers(1, 3),
)
def test_norms_of_any_shape_equal_their_formula(isa, over, center, groups, width, size, threads):
    x = normal(2, groups * width, *size) * 3 + 5
    scale, shift = normal(groups * width), normal(groups * width)
    words = {"out": groups * width, "over": over, "groups": groups, "center": int(center), "epsilon": 1e-3}
    got = run(isa, lambda w, v: w.add("norm", [v], **words, params=w.keep(scale, shift), act="relu"), x, threads)
    parts = x.astype("float64").reshape(2, groups, width, *size)
    axes = (2,) if over == "channels" else (2, 3, 4)
    if center:
        parts = parts - parts.mean(axes, keepdims=True)
    parts = parts / np.sqrt((parts**2).mean(axes, keepdims=True) + 1e-3)
    expected = parts.reshape(x.shape) * scale[:, None, None] + shift[:, None, None]
    assert relative_error(got, np.maximum(expected, 0)) < 2e-6


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    isa=st.sampled_from(ISAS),
    a_sum=st.sampled_from(["channels", "pixels"]),
    b_sum=st.sampled_from(["channels", "pixels"]),
    groups=st.integers(1, 3),
    extents=st.tuples(SIZES, SIZES, st.sampled_from([1, 7, 64, 150])),
    threads=st.integers(1, 3),
)
def test_products_of_activations_equal_einsum(isa, a_sum, b_sum, groups, extents, threads):
    """Both operands come out of one input: `a` is the product of channels by an upper, `b` by a lower half."""
    rows, columns, depth = extents
    a = normal(groups * (depth if a_sum == "channels" else rows), rows if a_sum == "channels" else depth)
    b = normal(groups * (depth if b_sum == "channels" else columns), columns if b_sum == "channels" else depth)

    def layers(writer, value):
        values = [
            writer.add("constant", [0], channels=len(m), height=1, width=m.shape[1], params=writer.keep(m))
            for m in (a, b)
        ]
        return writer.add("matmul", values, groups=groups, sum=f"{a_sum},{b_sum}", factor=0.5)

    got = run(isa, layers, normal(1, 1, 1, 2), threads)
    a, b = (m.astype("float64").reshape(groups, -1, m.shape[1]) for m in (a, b))
    a = a.transpose(0, 2, 1) if a_sum == "channels" else a
    b = b.transpose(0, 2, 1) if b_sum == "pixels" else b
    assert relative_error(got[0].reshape(groups * rows, columns), (a @ b * 0.5).reshape(groups * rows, columns)) < 3e-6


def attention(q, k, v, factor, mask):
    """[..., heads, tokens, size] in float64; `mask` is added."""
    scores = np.einsum("nwhid,nwhjd->nwhij", q, k) * factor + mask
    return np.einsum("nwhij,nwhjd->nwhid", softmax(scores, -1), v)


def heads_of(x, heads, windows):
    """[n, heads * size, 1, windows * tokens] to [n, windows, heads, tokens, size]."""
    return x.astype("float64").reshape(len(x), heads, -1, windows, x.shape[3] // windows).transpose(0, 3, 1, 4, 2)


def attention_words(heads, size, **words):
    width = heads * size
    return {"heads": heads, "size": f"{size},{size},{size}", "at": f"0,{width},{2 * width}", **words} | {
        "step": f"{size},{size},{size}"
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    isa=st.sampled_from(ISAS),
    heads=st.integers(1, 3),
    windows=st.integers(1, 3),
    size=st.integers(1, 20),
    tokens=st.sampled_from([1, 2, 16, 49, 64, 65, 130]),
    kind=st.sampled_from(["plain", "causal", "bias"]),
    threads=st.integers(1, 3),
)
def test_attention_equals_its_formula(isa, heads, windows, size, tokens, kind, threads):
    x = normal(2, 3 * heads * size, 1, windows * tokens) * 2
    q, k, v = (heads_of(part, heads, windows) for part in np.split(x, 3, 1))
    bias, words = np.zeros((windows, heads, tokens, tokens)), {}
    if kind == "causal":
        bias = np.where(np.tri(tokens, dtype=bool), 0, -np.inf)
        words = {"causal": 1}
    if kind == "bias":
        bias = normal(windows, heads, tokens, tokens)
        words = {"bias": f"{windows},{heads},{tokens},{tokens}"}

    def layers(writer, value):
        if kind == "bias":  # keys first
            words["params"] = writer.keep(bias.transpose(0, 1, 3, 2))
        return writer.add(
            "attention", [value] * 3, **attention_words(heads, size, factor=0.25, windows=windows), **words
        )

    expected = attention(q, k, v, 0.25, bias).transpose(0, 2, 4, 1, 3).reshape(2, heads * size, 1, windows * tokens)
    assert relative_error(run(isa, layers, x, threads), expected) < 3e-6


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mask", ["keys", "queries", "heads"])
@pytest.mark.parametrize("tokens", [5, 70])
def test_a_mask_is_added_to_the_scores(isa, mask, tokens):
    heads, size = 2, 8
    rows = {"keys": 1, "queries": tokens, "heads": heads * tokens}[mask]
    x, given = normal(3, 48, 1, tokens), normal(rows, tokens) * 2

    def layers(writer, value):
        masked = writer.add("constant", [0], channels=rows, height=1, width=tokens, params=writer.keep(given))
        return writer.add("attention", [value] * 3 + [masked], **attention_words(heads, size, factor=1.0, mask=1))

    q, k, v = (heads_of(part, heads, 1) for part in np.split(x, 3, 1))
    shape = (1, 1, heads if mask == "heads" else 1, 1 if mask == "keys" else tokens, tokens)
    expected = attention(q, k, v, 1.0, given.astype("float64").reshape(shape))
    assert relative_error(run(isa, layers, x), expected[:, 0].transpose(0, 1, 3, 2).reshape(3, 16, 1, tokens)) < 3e-6


@pytest.mark.parametrize("isa", ISAS)
def test_queries_may_be_fewer_than_keys_and_heads_lie_apart(isa):
    """Of an attention across: queries are the class token alone; q, k, v of a head follow each other."""
    heads, size, tokens = 3, 5, 21
    x = normal(2, 45, 1, tokens)

    def layers(writer, value):
        query = writer.add("global_pool", [value])
        words = {"heads": heads, "size": "5,5,5", "at": "0,5,10", "step": "15,15,15", "factor": 0.5}
        return writer.add("attention", [query, value, value], **words)

    parts = x.astype("float64").reshape(2, heads, 3, size, tokens)
    q, k, v = (parts[:, :, i].transpose(0, 1, 3, 2)[:, None] for i in range(3))
    expected = attention(q.mean(3, keepdims=True), k, v, 0.5, 0)[:, 0].transpose(0, 1, 3, 2)
    assert relative_error(run(isa, layers, x), expected.reshape(2, 15, 1, 1)) < 3e-6


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [1, 7, 40])
@pytest.mark.parametrize("tokens", [1, 5, 33])
def test_an_embedding_is_a_row_of_its_table(isa, size, tokens):
    table, ids = normal(50, size), RANDOM.integers(0, 50, (2, 2, 1, tokens))
    got = run(
        isa, lambda w, v: w.add("embedding", [v], rows=50, size=size, params=w.keep(table)), ids.astype("float32"), 2
    )
    expected = table[ids[:, :, 0]].transpose(0, 1, 3, 2).reshape(2, 2 * size, 1, tokens)
    assert (got == expected).all()


def test_an_id_beyond_the_table_is_no_number():
    ids = np.array([0, 3, -1, 2, np.nan], "float32").reshape(1, 1, 1, 5)
    got = run("portable", lambda w, v: w.add("embedding", [v], rows=3, size=1, params=w.keep(np.arange(3.0))), ids)
    np.testing.assert_array_equal(got.ravel(), [0, np.nan, np.nan, 2, np.nan])


def test_positions_are_as_many_as_the_tokens_and_too_many_tokens_are_refused():
    table = normal(3, 6)

    def layers(writer, value):
        return writer.add("positions", [value], channels=3, height=1, width=6, params=writer.keep(table))

    assert (run("portable", layers, normal(2, 1, 1, 4))[1, :, 0] == table[:, :4]).all()
    with pytest.raises(ValueError, match="a sequence of 7 where the model knows 6 positions"):
        run("portable", layers, normal(1, 1, 1, 7))


NORM = {"out": 4, "over": "channels", "groups": 2, "center": 1, "epsilon": 1e-5}
ATTENTION = {"heads": 1, "size": "2,2,2", "at": "0,0,0", "step": "2,2,2", "factor": 1.0}


@pytest.mark.parametrize(
    "kind, values, words, bad",
    [
        ("norm", 1, NORM, {"groups": 3}),
        ("norm", 1, NORM, {"groups": 0}),
        ("norm", 1, NORM, {"over": "time"}),
        ("norm", 1, NORM, {"epsilon": -1}),
        ("norm", 1, NORM, {"epsilon": "nan"}),
        ("norm", 1, NORM, {"out": 8}),
        ("matmul", 2, {"groups": 2, "sum": "channels,channels"}, {"groups": 3}),
        ("matmul", 2, {"groups": 2, "sum": "channels,channels"}, {"sum": "channels"}),
        ("matmul", 2, {"groups": 2, "sum": "channels,channels"}, {"sum": "channels,time"}),
        ("attention", 3, ATTENTION, {"heads": 2, "at": "0,0,1"}),
        ("attention", 3, ATTENTION, {"size": "2,1,2"}),
        ("attention", 3, ATTENTION, {"at": "0,-1,0"}),
        ("attention", 3, ATTENTION, {"mask": 1}),
        ("attention", 3, ATTENTION, {"mask": 2}),
        ("attention", 3, ATTENTION, {"bias": "1,2,2,2"}),
        ("attention", 3, ATTENTION, {"bias": "1,1,2,3"}),
        ("attention", 3, ATTENTION, {"windows": 0}),
        ("attention", 2, ATTENTION, {"causal": 1}),
        ("embedding", 1, {"rows": 2, "size": 4}, {"rows": 3}),
    ],
)
def test_a_bad_word_of_a_new_kind_is_refused_at_load(kind, values, words, bad):
    writer = one_image(4)
    params = {"params": writer.keep(normal(4), normal(4))} if kind == "norm" else {}
    if kind in ("embedding", "attention"):
        params = {"params": writer.keep(normal(8))}
    writer.output(writer.add(kind, [0] * values, **{**words, **bad}, **params), rank=4)
    with pytest.raises(ValueError, match="damaged|channels|parts|groups|sums"):
        Engine(writer.text, writer.arrays)


@pytest.mark.parametrize("threads", [1, 2])
def test_running_sums_and_triangles_equal_numpys(threads):
    x = normal(2, 6, 2, 5)
    sums = run("portable", lambda w, v: w.add("running_sum", [v]), x, threads)
    assert relative_error(sums, x.reshape(2, 6, 10).cumsum(2, dtype="float64").reshape(x.shape)) < 1e-6
    for upper in (0, 1):
        for diagonal in (-3, 0, 1, 20):
            words = {"groups": 2, "upper": upper, "diagonal": diagonal}
            got = run("portable", lambda w, v, words=words: w.add("triangle", [v], **words), x, threads)
            side = np.triu if upper else np.tril
            assert (got == side(x.reshape(2, 2, 3, 10), diagonal).reshape(x.shape)).all()
