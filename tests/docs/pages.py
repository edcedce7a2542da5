# SPDX-License-Identifier: Apache-2.0
"""The blocks of code of a page, and what a comment above each says of running it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)(?:<!-- run: (.*?) -->\n *)?```(\w+)\n(.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: "bash", "python" or "text".
        code: What stands in it.
        run: "", "slow", "never; why" or "exit CODE".
        line: Where it begins on its page.
    """

    language: str
    code: str
    run: str
    line: int


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[Block]:
    """The blocks of one language on a page, such as `docs/cli.md`."""
    text = page(name)
    found = [
        Block(
            match[3],
            re.sub(rf"^{match[1]}", "", match[4], flags=re.M),
            match[2] or "",
            text[: match.start()].count("\n") + 1,
        )
        for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if block.language == language]
