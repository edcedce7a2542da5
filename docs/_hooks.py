# SPDX-License-Identifier: Apache-2.0
"""What the site's pages are made of besides themselves: files of the root, and the docstrings of public names."""

import importlib
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "README_cn.md": "index_cn.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in a page.

    `<!-- NAME.md -->` alone on a page stands for that file of the root, whose links are written for the root.
    `::: package.door.Name` stands for the docstring of a public name, wherever the module is that defines it.
    """
    name = markdown.strip().removeprefix("<!-- ").removesuffix(" -->")
    if name in PAGES:
        text = re.sub(r"(\]\(|src=\")docs/", r"\1", (ROOT / name).read_text(encoding="utf-8"))
        return re.sub(r"\]\(([A-Z]\w+\.md)", lambda match: f"]({PAGES[match[1]]}", text)
    return re.sub(r"^::: (paddle_unstructured[\w.]*)\.(\w+)$", _defined, markdown, flags=re.M)


def _defined(match: re.Match) -> str:
    found = getattr(importlib.import_module(match[1]), match[2])
    return f"::: {found.__module__}.{found.__qualname__}"
