# SPDX-License-Identifier: Apache-2.0
"""Times are measured once, and anew where the file is damaged, of another machine, or cannot be written."""

import json
import logging
import os
from dataclasses import replace

import numpy as np
import pytest

from paddle_unstructured.budget import kept_times
from paddle_unstructured.budget.kept_times import Facts, clocked, processor
from paddle_unstructured.budget.times import Clocked

FACTS = Facts(
    "Xeon", ("avx512", "amx"), "0123", 1, ((1, 3, 8, 8),), ("conv in=3 out=4",), (("0", "Element()", (0, 9)),)
)


class Measure:
    """Counts how often it is asked, and finds other numbers each time."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return [
            Clocked(np.array([1.0, 2.0]) * self.count, 1.0, 4.0 * self.count),
            Clocked(np.array([0.5, 2.0]), 0.5, 3.0),
        ]


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.setattr(kept_times, "_in_memory", {})
    return Measure()


def same(found, times=1):
    np.testing.assert_array_equal(found[0].steps, np.array([1.0, 2.0]) * times)
    assert (found[0].whole, found[1].whole) == (4.0 * times, 3.0)
    assert (found[0].beside, found[1].beside) == (1.0, 0.5)


def test_they_are_measured_once(measure, times_folder):
    for _ in range(3):
        same(clocked(FACTS, 2, measure))
    assert measure.count == 1
    assert [file.name for file in times_folder.iterdir()] == [f"times-{FACTS.digest[:16]}.json"]


@pytest.mark.parametrize(
    "other",
    [
        {"processor": "EPYC"},
        {"isa": ("avx2", "avx2")},
        {"kernels": "4567"},
        {"threads": 2},
        {"inputs": ((1, 3, 16, 16),)},
        {"plan": ("conv in=3 out=5",)},
        {"levels": (("0", "Block(1, 4)", (0, 9)),)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_machine_net_or_pattern_has_times_of_its_own(measure, other):
    clocked(FACTS, 2, measure)
    clocked(replace(FACTS, **other), 2, measure)
    same(clocked(FACTS, 2, measure))
    assert measure.count == 2


def test_asked_again_they_are_measured_and_kept_again(measure):
    clocked(FACTS, 2, measure)
    same(clocked(FACTS, 2, measure, again=True), times=2)
    same(clocked(FACTS, 2, measure), times=2)


def content(file):
    return json.loads(file.read_text())


def changed(file, **words):
    file.write_text(json.dumps({**content(file), **words}))


DAMAGE = {
    "empty": lambda file: file.write_text(""),
    "cut short": lambda file: file.write_text(file.read_text()[:-40]),
    "no JSON": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "another number": lambda file: changed(file, whole=[1.0, 3.0]),
    "no digest": lambda file: file.write_text(json.dumps({"steps": [], "beside": [], "whole": []})),
    "a list": lambda file: file.write_text("[1, 2]"),
    "deep": lambda file: file.write_text("[" * 100_000),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a link to nowhere": lambda file: (file.unlink(), file.symlink_to(file.parent / "nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_measured_anew_with_a_warning(measure, times_folder, caplog, damage):
    clocked(FACTS, 2, measure)
    (file,) = times_folder.iterdir()
    damage(file)
    with caplog.at_level(logging.WARNING):
        same(clocked(FACTS, 2, measure), times=2)
    assert "is damaged" in caplog.text and "measured anew" in caplog.text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_numbers_that_are_no_times_are_damage_though_the_digest_fits(measure, times_folder, caplog, number):
    clocked(FACTS, 2, measure)
    (file,) = times_folder.iterdir()
    bad = {**content(file), "whole": [number, 3.0]}
    bad.pop("digest")
    changed(file, whole=[number, 3.0], digest=kept_times._digest(bad))
    same(clocked(FACTS, 2, measure), times=2)
    assert "is damaged" in caplog.text


def test_of_other_levels_than_are_asked_for_they_are_not_read(measure, caplog):
    clocked(FACTS, 2, measure)
    clocked(FACTS, 3, measure)
    assert measure.count == 2 and "is damaged" in caplog.text


def test_where_nothing_can_be_written_they_are_kept_in_memory_with_one_warning(measure, times_folder, caplog):
    times_folder.rmdir()
    times_folder.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        same(clocked(FACTS, 2, measure))
        same(clocked(FACTS, 2, measure))
    assert measure.count == 1
    assert caplog.text.count("cannot be kept in") == 1 and "PADDLE_UNSTRUCTURED_CACHE" in caplog.text


def test_the_processor_has_a_name():
    assert processor() and (not os.path.exists("/proc/cpuinfo") or processor() != "")


def test_large_nets_are_clocked_a_few_at_a_time():
    from types import SimpleNamespace

    from paddle_unstructured.budget.times import _groups

    nets = [SimpleNamespace(writer=SimpleNamespace(arrays=[np.zeros(n, np.int8)])) for n in (6, 3, 5, 1, 9)]
    assert [[net.writer.arrays[0].size for net in group] for group in _groups(nets, 8)] == [[6, 3], [5, 1], [9]]
