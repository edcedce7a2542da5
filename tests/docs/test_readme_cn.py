"""README_cn.md says what README.md says: the same code, sections, table rows, code spans and links to each other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
EN, CN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_cn.md"))
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def spans(text: str) -> list[str]:
    return sorted(re.findall(r"`([^`]+)`", text))


def test_the_code_is_the_same_but_for_its_comments():
    english, chinese = ([re.sub(r"\s*#.*", "", block) for block in FENCE.findall(text)] for text in (EN, CN))
    assert english == chinese and len(english) >= 7


def test_the_sections_have_the_same_table_rows_and_code_spans():
    english, chinese = (re.split(r"^## ", FENCE.sub("", text), flags=re.M) for text in (EN, CN))
    assert len(english) == len(chinese) and "](README_cn.md)" in EN and "](README.md)" in CN
    for ours, theirs in zip(english, chinese):
        assert spans(ours) == spans(theirs)
        rows = [[spans(row) for row in re.findall(r"^\|.*", text, re.M)] for text in (ours, theirs)]
        assert rows[0] == rows[1], theirs.splitlines()[0]
