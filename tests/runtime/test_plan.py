# SPDX-License-Identifier: Apache-2.0
"""Plans and their arrays: written out by hand, and refused when they are damaged."""

from __future__ import annotations

import re

import numpy as np
import pytest

from paddle_unstructured.runtime.engine import Engine, signed
from paddle_unstructured.runtime.plan import Window, find_block, one_image, sparse_rows

WEIGHT = np.array([[0, 5, 0, 1], [0, 6, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]], "float32")


def test_compressed_rows_written_out():
    rows = sparse_rows(WEIGHT, 1)
    assert rows.values.ravel().tolist() == [5, 1, 6, 2, 3]
    assert rows.columns.tolist() == [1, 3, 1, 0, 0]
    assert rows.counts.tolist() == [2, 1, 1, 1]
    assert rows.columns.dtype == rows.counts.dtype == np.int16


def test_blocks_written_out():
    rows = sparse_rows(WEIGHT, 2)
    assert rows.values.tolist() == [[5, 6], [1, 0], [2, 3]]
    assert (rows.columns.tolist(), rows.counts.tolist()) == ([1, 3, 0], [2, 1])


def test_a_last_block_that_is_not_full_has_zeros():
    rows = sparse_rows(WEIGHT[:3], 2)
    assert rows.values.tolist() == [[5, 6], [1, 0], [2, 0]]


def test_indices_beyond_int16_are_int32():
    wide = np.zeros((1, 40000), "float32")
    wide[0, 39999] = 1
    assert sparse_rows(wide, 1).columns.dtype == np.int32


def test_the_block_is_found():
    random = np.random.default_rng(0)
    for block in (1, 2, 4):
        kept = np.repeat(random.random((16, 50)) < 0.3, block, axis=0)
        assert find_block(kept * random.normal(size=kept.shape)) == block
    assert find_block(np.zeros((4, 4))) == 1


def plan(block=1, **words):
    """A sparse 1x1 convolution, 4 -> 4; words replace those of its line."""
    writer = one_image(4)
    writer.convolution(0, WEIGHT[:, :, None, None], np.zeros(4, "float32"), Window(), block=block)
    writer.output(1, rank=4)
    text = writer.text
    for key, value in words.items():
        text = re.sub(rf"\b{key}=\S+", f"{key}={value}", text)
    return text, writer.arrays


def load(text, arrays):
    """With the digest made right, so that the checks behind it are reached."""
    return Engine(signed(text, arrays), arrays)


def test_the_intact_plan_runs():
    x = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    assert load(*plan()).run(x)[0].ravel().tolist() == [8, 6, 0, 0]


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    "which, index, value",
    [
        (1, 0, -1),
        (1, 0, 4),
        (1, 0, 32767),
        (1, 1, 1),
        (1, 1, 0),  # columns: outside, not ascending
        (2, 0, -1),
        (2, 0, 3),
        (2, 3, 2),
        (2, 3, 0),
        (2, 0, 32767),  # counts that do not add up
    ],
)
@pytest.mark.parametrize("block", [1, 2])
def test_a_bad_index_is_refused_before_anything_runs(which, index, value, block):
    text, arrays = plan(block)
    if index >= len(arrays[which]):
        pytest.skip("blocks have fewer rows")
    arrays[which] = changed(arrays[which], index, value)
    with pytest.raises(ValueError, match="damaged"):
        load(text, arrays)


@pytest.mark.parametrize(
    "words",
    [
        {"in": 3},
        {"in": 0},
        {"out": 5},
        {"out": 99999999999},
        {"block": 3},
        {"block": 8},
        {"kernel": "1"},
        {"kernel": "0,1"},
        {"kernel": "99,99"},
        {"stride": "0,1"},
        {"pad": "0,0,0,-1"},
        {"pad": "0,0,0,200"},
        {"dilation": "0,0"},
        {"params": "0,1,2"},
        {"params": "0,1,2,9"},
        {"params": "0,1,2,-1"},
        {"params": "x"},
        {"act": "magic"},
        {"act": "clamp:0"},
        {"act": "clamp:0:x"},
        {"weights": "round"},
        {"weights": "dense"},
        {"from": 1},
        {"from": -1},
        {"from": "0,0"},
        {"dims": "n,c"},
        {"dims": "-1,0,-1,-1"},
        {"axes": "n,c,h"},
    ],
)
def test_a_bad_word_is_refused(words):
    with pytest.raises(ValueError):
        x = load(*plan(**words))
        x.run(np.zeros((1, 4, 2, 2), "float32"))


def test_arrays_of_other_sizes_and_types_are_refused():
    text, arrays = plan()
    for i, array in enumerate(arrays):
        for other in (array[:-1], array.astype("int16" if array.dtype == "float32" else "float32")):
            with pytest.raises(ValueError):
                load(text, [*arrays[:i], other, *arrays[i + 1 :]])


def test_every_flipped_value_changes_the_digest():
    text, arrays = plan()
    for i, array in enumerate(arrays):
        for j in range(array.size):
            other = array.copy().ravel()
            other[j] += 1
            with pytest.raises(ValueError, match="digest"):
                Engine(text, [*arrays[:i], other.reshape(array.shape), *arrays[i + 1 :]])


VERSION_1 = """paddle_unstructured plan 1
parameters digest=7e11151690a14e0a
input channels=4 rank=4
conv from=0 in=4 out=4 kernel=1,1 stride=1,1 pad=0,0,0,0 dilation=1,1 act=none weights=sparse block=1 params=0,1,2,3
quantize from=1 scale=0.5 zero=3
add8 from=2,2 act=none scale=1.0 zero=3
dequantize from=3
output from=4 rank=4"""


def test_a_plan_of_version_1_is_read_with_a_warning(caplog):
    """Its kinds of int8 end with an 8, and its digest covers the arrays alone."""
    x = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    found = Engine(VERSION_1, plan()[1]).run(x)[0]
    assert found.ravel().tolist() == [16, 12, 0, 0]
    assert [record.message[-16:] for record in caplog.records] == ["convert it again"]


def test_a_plan_of_version_1_with_other_arrays_is_refused():
    arrays = plan()[1]
    with pytest.raises(ValueError, match="digest"):
        Engine(VERSION_1, [changed(arrays[0], 0, 9), *arrays[1:]])


def test_every_changed_character_of_a_plan_is_refused():
    """Whatever it changes: a number, a word, a name; the digest covers all that decides a number."""
    text, arrays = plan()
    for at in range(len(text)):
        for new in {"0", "1", "9", "x"} - {text[at]}:
            with pytest.raises(ValueError):
                Engine(text[:at] + new + text[at + 1 :], arrays)


@pytest.mark.parametrize("which", [0, 1, 3])
def test_the_type_of_an_array_is_part_of_the_digest(which):
    text, arrays = plan()
    other = arrays[which].view("int8" if arrays[which].dtype == "int16" else "int32")
    with pytest.raises(ValueError, match="digest"):
        Engine(text, [*arrays[:which], other, *arrays[which + 1 :]])


def test_arrays_in_another_order_are_refused():
    text, arrays = plan()
    with pytest.raises(ValueError, match="digest"):
        Engine(text, arrays[::-1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "paddle_unstructured plan 2\na b=1\ninput channels=1 rank=4",
        "paddle_unstructured plan 3\ncontents digest=0\ninput channels=1 rank=4\noutput from=0 rank=4",
        "paddle_unstructured plan 1\nparameters digest=0\noutput from=0 rank=4",
    ],
)
def test_other_text_is_no_plan(text):
    with pytest.raises(ValueError):
        Engine(text, [])


def test_lines_cut_off_anywhere_are_refused_or_run():
    text, arrays = plan()
    for end in range(len(text)):
        try:
            Engine(text[:end], arrays)
        except ValueError:
            pass
