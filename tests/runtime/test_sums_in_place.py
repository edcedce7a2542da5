# SPDX-License-Identifier: Apache-2.0
"""A convolution that adds a residual writes where what it adds lay, but not what is still to be read."""

from __future__ import annotations

import bf16_plans
import bf16_reference
import int8_plans
import numpy as np
import pytest
from int8_plans import UNIT, pick_bytes, pick_weight8, pick_weights

from paddle_unstructured.runtime.bf16.plan_lines import Bf16Writer
from paddle_unstructured.runtime.int8.plan_lines import Int8Writer
from paddle_unstructured.runtime.plan import Window, one_image

CHANNELS = 37  # the last tile of outputs is not full
SAME = Window((3, 3), pad=(1, 1, 1, 1))
read_again = pytest.mark.parametrize("again", ["nothing", "the sum's own convolution", "an output"])
on_threads = pytest.mark.parametrize("threads", [1, 3])


@read_again
@on_threads
def test_sums_of_int8(again, threads):
    random, writer = np.random.default_rng(0), one_image(CHANNELS)
    write = Int8Writer(writer)

    def convolution(value, window, added=None):
        values = pick_weights(random, CHANNELS, CHANNELS, *window.kernel)
        return write.convolution(value, pick_weight8(random, values, UNIT, 1.0), window, UNIT, added=added)

    chain = [convolution(write.quantize(0, UNIT), Window())]
    for _ in range(3):
        inner = chain[-1] if again == "the sum's own convolution" else convolution(chain[-1], SAME)
        chain.append(convolution(inner, SAME, added=chain[-1]))
    for value in chain if again == "an output" else chain[-1:]:
        writer.output(write.dequantize(value), rank=4)
    int8_plans.require_equal(writer, pick_bytes(random, 2, CHANNELS, 9, 11), threads)


@read_again
@on_threads
def test_sums_of_bfloat16(again, threads):
    random, writer = np.random.default_rng(0), one_image(CHANNELS)
    write, bias = Bf16Writer(writer), random.normal(size=CHANNELS).astype("float32")
    x = random.normal(size=(1, CHANNELS, 9, 11)).astype("float32")
    wants = {0: x[0]}

    def convolution(value, added=None, real=False):
        weight = random.normal(size=(CHANNELS, CHANNELS, 3, 3)).astype("float32") / 20
        made = write.convolution(value, weight, bias, SAME, real=real, sparse=False, added=added)
        sums = {"added": wants[added]} if added is not None else {}
        wants[made] = bf16_reference.convolution(wants[value], weight, bias, SAME, real=real, **sums)
        return made

    rounded = write.round(0)
    wants[rounded] = x[0]
    chain = [convolution(rounded)]
    for last in (False, False, True):  # the last one makes float32, which needs more room than what it adds
        inner = chain[-1] if again == "the sum's own convolution" else convolution(chain[-1])
        chain.append(convolution(inner, chain[-1], last))
    outputs = chain if again == "an output" else chain[-1:]
    for value in outputs:
        writer.output(value if value == chain[-1] else write.widen(value))
    for isa in bf16_plans.ISAS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PADDLE_UNSTRUCTURED_ISA_BF16", isa)
            got = bf16_plans.Engine(writer.text, writer.arrays, threads=threads).run(x)
        for one, value in zip(got, outputs):
            np.testing.assert_array_equal(one[0], wants[value], err_msg=isa)
