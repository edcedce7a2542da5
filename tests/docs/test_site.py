# SPDX-License-Identifier: Apache-2.0
"""The site builds without a warning and without the network, and its reference leaves no public name out."""

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from docs.pages import ROOT, page

import paddle_unstructured

DOORS = [
    "paddle_unstructured",
    *(f"paddle_unstructured.{name}" for name in ("distributed", "dygraph", "export", "runtime", "sensitivity")),
]


class Loaded(HTMLParser):
    """Addresses that a browser fetches when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        stylesheet = tag == "link" and values.get("rel") in ("stylesheet", "preconnect", "preload", "icon")
        address = values.get("href") if stylesheet else values.get("src")
        self.found += [address] if address else []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_pages_load_nothing_from_the_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for file in pages:
        parser = Loaded()
        parser.feed(file.read_text(encoding="utf-8"))
        assert parser.found and [address for address in parser.found if "//" in address] == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//", styles) == []


def test_pages_of_the_root_are_there_with_links_that_lead_somewhere(site):
    assert "Accuracy, at equal epochs" in (site / "index.html").read_text(encoding="utf-8")
    assert 'href="quickstart/' in (site / "index.html").read_text(encoding="utf-8")
    assert paddle_unstructured.__version__ in (site / "changelog" / "index.html").read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version():
    assert re.search(r"^## (.*)$", page("CHANGELOG.md"), re.M)[1] == paddle_unstructured.__version__


@pytest.mark.parametrize("door", DOORS)
def test_the_reference_has_every_public_name(door):
    reference = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "api").glob("*.md"))
    shown = [
        getattr(importlib.import_module(where), name)
        for where, name in re.findall(r"^::: ([\w.]+)\.(\w+)$", reference, re.M)
    ]
    package = importlib.import_module(door)
    missing = [name for name in package.__all__ if name != "SPARSITIES" and getattr(package, name) not in shown]
    assert missing == [], "add them to a page in docs/api"


def test_the_picture_is_what_its_script_draws_from_the_results():
    import picture

    assert picture.picture() == page("docs/picture.svg")


def test_the_results_that_the_picture_is_drawn_from_are_those_of_the_pages():
    import picture

    accuracies, (ours, ratios) = picture.accuracies(), picture.times()
    means = [f"{sum(values) / len(values):.2f}" for values in accuracies.values()]
    assert all(f"{mean} ±" in page("docs/benchmarks.md") for mean in means) and len(means) == 5
    assert [len(values) for values in accuracies.values()] == [3] * 5
    table = page("benchmarks/results/runtime_int8.md").split("\n\n")[1].strip()
    assert table in page("docs/benchmarks.md") and ours == "1.32 ms" and len(ratios) == 6
