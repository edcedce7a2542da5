# SPDX-License-Identifier: Apache-2.0
"""How a Session is given its inputs: in order, in a dict, by keyword."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

from paddle_unstructured.runtime import Session, convert

IMAGE = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype("float32")
GATE = np.random.default_rng(1).normal(size=(2, 5)).astype("float32")


class Gated(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 5, 4)

    def forward(self, image, gate):
        return self.conv(image).flatten(1) * gate


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """One with the input `image`, one with `image` and `gate`."""
    folder, image, gate = (
        tmp_path_factory.mktemp("models"),
        InputSpec([None, 3, 4, 4], name="image"),
        InputSpec([None, 5], name="gate"),
    )
    paddle.jit.save(nn.Conv2D(3, 5, 4), str(folder / "one"), [image])
    paddle.jit.save(Gated(), str(folder / "two"), [image, gate])
    paddle.enable_static()
    try:
        for name in ("one", "two"):
            convert(folder / name, folder / f"{name}_fast")
    finally:
        paddle.disable_static()
    return Session(folder / "one_fast"), Session(folder / "two_fast")


def test_inputs_are_given_in_order_in_a_dict_or_by_keyword(sessions):
    one, two = sessions
    (expected,) = one.run(IMAGE)
    assert all((found == expected).all() for (found,) in (one.run({"image": IMAGE}), one.run(image=IMAGE)))
    assert (one.run(x=IMAGE)[0] == expected).all()  # the only input, whatever its name
    (expected,) = two.run(IMAGE, GATE)
    assert (two.run(gate=GATE, image=IMAGE)[0] == expected).all() and two.inputs == ("image", "gate")
    assert (two.run({"gate": GATE, "image": IMAGE})[0] == expected).all()


def test_a_session_prints_what_it_takes_and_gives(sessions):
    _, two = sessions
    assert repr(two) == f"Session(inputs=('image', 'gate'), outputs={two.outputs}, isa={two.isa!r})"


def test_a_folder_that_holds_one_model_means_it(sessions, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model at .*: looked for .*missing.json with .*missing.pdiparams"):
        Session(tmp_path / "missing")
    paddle.jit.save(nn.Conv2D(3, 5, 4), str(tmp_path / "dense"), [InputSpec([None, 3, 4, 4], name="image")])
    paddle.enable_static()
    try:
        convert(tmp_path / "dense", tmp_path / "fast" / "one")
        assert Session(tmp_path / "fast").inputs == ("image",)
        convert(tmp_path / "dense", tmp_path / "fast" / "two")
    finally:
        paddle.disable_static()
    with pytest.raises(ValueError, match="must hold one model, but holds .*one, .*two; name one"):
        Session(tmp_path / "fast")


def test_what_is_given_twice_or_not_at_all_is_refused(sessions):
    one, two = sessions
    with pytest.raises(TypeError, match="`run` must get its inputs in order or by name, got both; give gate in order"):
        two.run(IMAGE, gate=GATE)
    with pytest.raises(ValueError, match="an array for each of image, gate, got image"):
        two.run(image=IMAGE)
    with pytest.raises(ValueError, match="an array for each of image, gate, got x"):
        two.run(x=IMAGE)
    with pytest.raises(ValueError, match="an array for each of image, got y"):
        one.run(y=IMAGE)
    with pytest.raises(ValueError):
        two.run(IMAGE)
    with pytest.raises(ValueError):
        one.run()
