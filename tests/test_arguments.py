# SPDX-License-Identifier: Apache-2.0
"""The rules for arguments: what each takes, what it gives back, and the sentence that refuses the rest."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddle_unstructured import arguments
from paddle_unstructured.arguments import (
    LONGEST,
    WrongKind,
    flag,
    fraction,
    function,
    names,
    number,
    one_of,
    path,
    whole,
)


class Raises:
    """Every method that an argument may be asked for raises."""

    def _fail(self, *_):
        raise RuntimeError("never seen")

    __repr__ = __index__ = __float__ = __fspath__ = __iter__ = __len__ = __eq__ = __getattr__ = _fail
    __hash__ = None


@pytest.mark.parametrize("three", [3, np.int8(3), np.uint64(3), np.array(3), paddle.to_tensor(3)])
def test_every_integer_is_a_whole_number(three):
    assert type(whole("x", three, least=3, most=3)) is int and whole("x", three) == 3


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", b"3", None, 3j, [3], np.array([3])])
def test_what_is_no_integer_is_no_whole_number(value):
    with pytest.raises(WrongKind, match="^`x` must be an int >= 0, got .*[.]$"):
        whole("x", value)


@pytest.mark.parametrize("value, most", [(0, None), (-1, 9), (10, 9), (2**70, 9)])
def test_a_whole_number_out_of_range_is_refused_with_its_range(value, most):
    with pytest.raises(
        ValueError, match=rf"^`x` must be an int {'>= 1' if most is None else r'in .1, 9.'}, got {value}; y"
    ):
        whole("x", value, least=1, most=most, hint="y")


@pytest.mark.parametrize("half", [0.5, np.float16(0.5), np.array(0.5), paddle.to_tensor(0.5), Fraction(1, 2)])
def test_every_real_number_is_a_number(half):
    assert type(number("x", half)) is float and fraction("x", half) == 0.5


@pytest.mark.parametrize(
    "value", [True, "0.5", np.str_("0.5"), None, 0.5j, np.complex64(0.5), [0.5], np.datetime64(1, "s")]
)
def test_what_is_not_real_is_no_number(value):
    with pytest.raises(WrongKind, match="^`x` must be a number >= 0, got "):
        number("x", value, least=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400])
def test_no_range_holds_nan_and_infinity(value):
    with pytest.raises(ValueError, match="^`x` must be a finite number, got "):
        number("x", value)
    with pytest.raises(ValueError, match="^`x` must be a fraction of zeros in .0, 1., got .*; 0.55 means 55 %[.]$"):
        fraction("x", value)


def test_the_ends_of_a_range_are_in_it_or_not_as_they_say():
    assert number("x", 1, least=1, most=1) == 1.0
    for bounds in ({"above": 1}, {"below": 1}, {"least": 1.5}, {"most": 0.5}):
        with pytest.raises(ValueError, match="`x` must be a finite number [<>]=? [01][.]?5?, got 1[.]"):
            number("x", 1, **bounds)


def test_a_word_is_one_of_the_words():
    assert one_of("x", "b", ("a", "b")) == "b"
    with pytest.raises(ValueError, match="^`x` must be one of a, b, got 'c'[.]$"):
        one_of("x", "c", ("a", "b"))
    for value in (None, ["a"], {}):
        with pytest.raises(WrongKind, match="^`x` must be one of a, b, got "):
            one_of("x", value, ("a", "b"))


def test_a_flag_is_a_bool_or_its_number():
    assert [flag("x", value) for value in (True, 0, np.True_)] == [True, False, True]
    for value in (None, 2, "no", 0.0, math.nan, np.ones(2)):
        with pytest.raises(WrongKind, match="^`x` must be True or False, got "):
            flag("x", value)


def test_a_function_is_called_and_a_class_is_not():
    assert function("x", len) is len
    with pytest.raises(TypeError, match="^`x` must be an object, got the class Path; write Path"):
        function("x", Path)
    with pytest.raises(TypeError, match="^`x` must be a function, got 3 .int.[.]$"):
        function("x", 3)


def test_a_part_has_its_methods():
    assert arguments.part("x", Path(), ["exists"], rule="a place") == Path()
    for value in (3, Raises()):
        with pytest.raises(TypeError, match="^`x` must be a place, got "):
            arguments.part("x", value, ["exists"], rule="a place")


def test_a_path_is_text_or_says_its_text(tmp_path):
    assert path("x", tmp_path) == path("x", str(tmp_path)) == str(tmp_path)
    for value in ("", "a\0b"):
        with pytest.raises(ValueError, match="^`x` must be a path, got '.*; give a str or a pathlib.Path[.]$"):
            path("x", value)
    for value in (None, 3, b"a", []):
        with pytest.raises(TypeError, match="^`x` must be a path, got "):
            path("x", value)


def test_names_are_several_strings():
    assert names("x", ("a", "b")) == ["a", "b"] and names("x", {"a"}) == ["a"]
    with pytest.raises(TypeError, match=r"^`x` must be a list of names, got the string 'ab'; write \['ab'\][.]$"):
        names("x", "ab")
    for value in (None, 3, b"ab", {"a": 1}, ["a", 1]):
        with pytest.raises(TypeError, match="^`x` must be a list of names, got "):
            names("x", value)


@pytest.mark.parametrize("rule", [whole, number, fraction, flag, function, names, path])
def test_an_object_whose_methods_raise_is_of_another_kind(rule):
    with pytest.raises(WrongKind, match="^`x` must be .*, got a Raises"):
        rule("x", Raises())


def test_a_message_stays_on_one_short_line():
    with pytest.raises(TypeError) as error:
        whole("x", np.ones((50, 50)))
    assert len(str(error.value)) < LONGEST + 60 and "\n" not in str(error.value)
