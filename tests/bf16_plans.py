# SPDX-License-Identifier: Apache-2.0
"""Plans of one layer in bfloat16, run by every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.runtime.bf16.plan_lines import Bf16Writer
from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.plan import one_image

NAMES = ("amx_bf16", "avx512", "avx2", "portable")


def is_here(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_UNSTRUCTURED_ISA_BF16", name)
        writer = one_image(1)
        writer.output(0)
        try:
            return Engine(writer.text, []).isa_bf16 == name
        except ValueError as error:
            assert "one that this processor has" in str(error)
            return False


ISAS = [name for name in NAMES if is_here(name)]


def run(writer, x, isa=None, threads=1):
    with pytest.MonkeyPatch.context() as patch:
        if isa is not None:
            patch.setenv("PADDLE_UNSTRUCTURED_ISA_BF16", isa)
        return Engine(writer.text, writer.arrays, threads=threads).run(x)[0]


def layer(weight, bias, window, *, real=True, added=False, sparse=False, act="none"):
    writer = one_image(weight.shape[1])
    write = Bf16Writer(writer)
    x = write.round(0)
    value = write.convolution(x, weight, bias, window, real=real, sparse=sparse, act=act, added=x if added else None)
    writer.output(value if real else write.widen(value))
    return writer


def require_equal(writer, x, want, threads=1):
    """Numbers of the reference, and among the instruction sets the same bits."""
    bits = set()
    for isa in ISAS:
        got = run(writer, x, isa, threads)
        np.testing.assert_array_equal(got, want, err_msg=isa)
        bits.add(np.where(np.isnan(got), np.float32(np.nan), got).tobytes())
    assert len(bits) == 1


def changed(writer, old, new):
    assert old in writer.text
    return signed(writer.text.replace(old, new), writer.arrays)


def in_blocks(random, shape, sparsity, outputs=16, inputs=2):
    weight = random.normal(size=shape).astype("float32")
    kept = random.random((-(-shape[0] // outputs), -(-shape[1] // inputs), *shape[2:])) >= sparsity
    return weight * kept.repeat(outputs, 0)[: shape[0]].repeat(inputs, 1)[:, : shape[1]]
