# SPDX-License-Identifier: Apache-2.0
"""What conversion costs grows as the net does: Python calls are counted, which no busy machine changes."""

from __future__ import annotations

import cProfile
import pstats

import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import save_net

from paddle_unstructured.formats.pir_json import read_program
from paddle_unstructured.graph.program import PirGraph
from paddle_unstructured.runtime.op_graph import OpGraph
from paddle_unstructured.runtime.parts import Finder
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
OPEN = [None, 3, None, None]


def sizes_of_others(blocks):
    """Each block has open sizes of its own, and is resized to them."""

    def layers(x):
        x = nn.Conv2D(3, 4, 1)(x)
        for _ in range(blocks):
            x = nn.Conv2D(4, 4, 3, stride=2, padding=1)(x)
            height, width = paddle.shape(x)[2], paddle.shape(x)[3]
            small = nn.Conv2D(4, 4, 3, stride=2, padding=1)(x)
            x = nn.BatchNorm2D(4)(x) + F.interpolate(small, [height, width])
        return x

    return layers


def ranges(blocks):
    """Each block counts the columns of a plane of its own, in a way that no part of the net can return."""

    def layers(x):
        x, found = nn.Conv2D(3, 4, 1)(x), []
        for _ in range(blocks):
            x = F.relu(nn.Conv2D(4, 4, 3, stride=2, padding=1)(x))
            columns = paddle.cast(paddle.arange(paddle.shape(x)[3]), "float32") + 0.5
            found.append(paddle.erfinv(columns / 1e3))
        return [x, *found]

    return layers


def calls(function, *given):
    profile = cProfile.Profile()
    profile.runcall(function, *given)
    return pstats.Stats(profile).total_calls


def finder(prefix):
    return Finder(open_model(prefix), OpGraph.of(read_program(prefix + ".json")))


def test_sizes_are_found_without_looking_through_the_net(tmp_path):
    short, long = (open_model(save_net(tmp_path / str(n), sizes_of_others(n), OPEN)) for n in (4, 12))
    assert calls(read_net, long) < 3.1 * calls(read_net, short)


def test_what_no_part_returns_is_found_at_once(tmp_path):
    short, long = (finder(save_net(tmp_path / str(n), ranges(n), OPEN)) for n in (2, 6))
    assert calls(long.find) < 3.5 * calls(short.find)


def test_variables_are_listed_once(tmp_path, monkeypatch):
    model, made = open_model(save_net(tmp_path, sizes_of_others(4), OPEN)), PirGraph.__init__
    opened = list[PirGraph]()
    monkeypatch.setattr(PirGraph, "__init__", lambda self, *given: (opened.append(self), made(self, *given))[1])
    read_net(model)
    assert len(opened) == 1
