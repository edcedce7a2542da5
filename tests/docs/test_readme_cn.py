# SPDX-License-Identifier: Apache-2.0
"""README_cn.md says what README.md says: the same code, sections, table rows, numbers, code spans and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EN, CN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_cn.md"))
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
SECTIONS = list(zip(*(re.split(r"^## ", FENCE.sub("", text), flags=re.M) for text in (EN, CN))))


def spans(text: str) -> list[str]:
    return sorted(re.findall(r"`([^`]+)`", text))


def numbers(text: str) -> list[str]:
    """All numbers, with what an English sentence may spell."""
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", text))


def links(text: str) -> list[str]:
    return sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README_cn.md"})


def test_the_code_is_the_same_but_for_its_comments():
    english, chinese = ([re.sub(r"\s*#.*", "", block) for block in FENCE.findall(text)] for text in (EN, CN))
    assert english == chinese and len(english) == 4


def test_both_have_the_same_sections_and_point_to_each_other():
    assert EN.count("\n## ") == CN.count("\n## ") == len(SECTIONS) - 1
    assert "](README_cn.md)" in EN and "](README.md)" in CN


@pytest.mark.parametrize(("ours", "theirs"), SECTIONS, ids=lambda text: text.split("\n")[0])
def test_a_section_has_the_same_numbers_spans_and_links(ours, theirs):
    assert numbers(ours) == numbers(theirs)
    assert spans(ours) == spans(theirs)
    assert links(ours) == links(theirs)


@pytest.mark.parametrize(("ours", "theirs"), SECTIONS, ids=lambda text: text.split("\n")[0])
def test_a_sections_tables_have_the_same_rows(ours, theirs):
    rows = [[numbers(row) + spans(row) for row in re.findall(r"^\|.*", text, re.M)] for text in (ours, theirs)]
    assert rows[0] == rows[1]
