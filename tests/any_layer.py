# SPDX-License-Identifier: Apache-2.0
"""Layers of any shape, for hypothesis: what the tests of float32 and of int8 kernels draw alike."""

from __future__ import annotations

from hypothesis import strategies as st

from paddle_unstructured.runtime.plan import Window

windows = st.builds(
    lambda kernel, stride, pad, dilation: Window(
        (kernel, kernel), (stride, stride), tuple(min(p, kernel - 1) for p in pad), (dilation, dilation)
    ),
    st.sampled_from([1, 1, 2, 3, 5, 7]),
    st.integers(1, 3),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.integers(1, 2),
)

CONVOLUTION = {
    "window": windows,
    "inputs": st.integers(1, 70),
    "outputs": st.integers(1, 90),
    "height": st.integers(1, 24),
    "width": st.integers(1, 40),
    "batch": st.integers(1, 4),
    "threads": st.integers(1, 4),
    "block": st.sampled_from([0, 1, 2, 4]),
    "sparsity": st.sampled_from([0.0, 0.5, 0.75, 0.95, 1.0]),
    "seed": st.integers(0, 99),
}

# Kernels of their own serve 3x3 and 5x5 with one stride, one more serves all the others.
depthwise_windows = st.builds(
    lambda kernel, stride, pad: Window((kernel, kernel), (stride, stride), tuple(min(p, kernel - 1) for p in pad)),
    st.sampled_from([3, 5]),
    st.integers(1, 2),
    st.tuples(*[st.integers(0, 4)] * 4),
) | st.builds(
    Window,
    st.tuples(st.sampled_from([1, 3, 5, 7]), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 2)),
    st.tuples(*[st.sampled_from([0, 1, 2, 5, 40])] * 4),
    st.tuples(st.integers(1, 3), st.sampled_from([1, 1, 2, 12])),
)

DEPTHWISE = {
    "window": depthwise_windows,
    "channels": st.integers(1, 40),
    "height": st.integers(1, 40),
    "width": st.integers(1, 40),
    "threads": st.integers(1, 4),
    "seed": st.integers(0, 99),
}


def at_least(window: Window, height: int, width: int) -> tuple[int, int]:
    """The size, or the smallest one that has an output."""
    top, bottom, left, right = window.pad
    rows, columns = ((size - 1) * step + 1 for size, step in zip(window.kernel, window.dilation))
    return max(height, rows - top - bottom, 1), max(width, columns - left - right, 1)
