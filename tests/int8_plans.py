# SPDX-License-Identifier: Apache-2.0
"""Plans of few layers in int8, drawn at random, run by every instruction set."""

from __future__ import annotations

import os

import int8_reference
import numpy as np
import pytest

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.int8.weights import Int8Weight
from paddle_unstructured.runtime.plan import one_image

NAMES = ("amx", "amx_only", "plain_tiles", "avx512_vbmi", "avx512_vnni", "avx_vnni", "avx2", "portable")
UNIT = Quantizer(1.0, 0)  # a byte is its own number


def is_here(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", name)
        writer = one_image(1)
        writer.output(0, rank=4)
        try:
            Engine(writer.text, [])
        except ValueError as error:
            assert "one that this processor has" in str(error)
            return False
    return True


ISAS_INT8 = [name for name in NAMES if is_here(name)]


def run(writer, x, threads=1, isa=None):
    with pytest.MonkeyPatch.context() as patch:
        if isa is not None:
            patch.setenv("PADDLE_UNSTRUCTURED_ISA_INT8", isa)
        return Engine(writer.text, writer.arrays, threads=threads).run(x)


def require_equal(writer, x, threads=1):
    """On every instruction set; returns what the reference says."""
    expected = int8_reference.run(writer.text, writer.arrays, x)
    for isa in ISAS_INT8:
        for got, want in zip(run(writer, x, threads, isa), expected):
            assert got.shape == want.shape
            np.testing.assert_array_equal(got, want, err_msg=isa)
    return expected


def net(layer, channels, source=UNIT, rank=4):
    """quantize, one layer for bytes, dequantize unless it makes floats."""
    writer = one_image(channels)
    write = Int8Writer(writer)
    value = layer(write, write.quantize(0, source))
    if "to=float" not in writer.text:
        value = write.dequantize(value)
    writer.output(value, rank=rank)
    return writer


def pick_bytes(random, *shape, kind="any"):
    """As floats; `kind` for the extremes."""
    if kind == "any":
        return random.integers(0, 256, shape).astype("float32")
    return np.full(shape, 255 if kind == "high" else 0, "float32")


def pick_weights(random, *shape, sparsity=0.0, block=1, kind="any"):
    """Zeros in blocks of `block` outputs x 4 inputs at one place of the kernel."""
    values = random.integers(-127, 128, shape) if kind == "any" else np.full(shape, -127 if kind == "low" else 127)
    rows, groups = -(-shape[0] // block), -(-shape[1] // 4)
    kept = random.random((rows, groups, *shape[2:])) >= sparsity
    kept = kept.repeat(block, 0)[: shape[0]].repeat(4, 1)[:, : shape[1]]
    return (values * kept).astype("int8")


def pick_weight8(random, values, source, step):
    """Scales around which the sums of products spread over the bytes."""
    reach = np.sqrt(max(np.count_nonzero(values) / len(values), 1)) * 100 * source.scale * 70
    scale = random.uniform(0.3, 3, len(values)) * 100 * step / reach
    bias = random.normal(size=len(values)) * 30 * step
    return Int8Weight(values, scale.astype("float32"), bias.astype("float32"))


def makes_the_same_in_a_fork(engine, x, want) -> bool:
    """Whether a fork of this process computes the same bits with the engine."""
    child = os.fork()
    if child == 0:
        os._exit(0 if (engine.run(x)[0] == want).all() else 1)
    return os.waitpid(child, 0)[1] == 0
