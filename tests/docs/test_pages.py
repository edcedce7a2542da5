# SPDX-License-Identifier: Apache-2.0
"""What docs/ shows can be made, and exists."""

import ast
import re

import paddle
import pytest
from docs.pages import ROOT, blocks, page

import paddle_unstructured

pytestmark = pytest.mark.usefixtures("static")


def program():
    """A Program with a BatchNorm behind its first layer, in the current global scope."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [None, 4, 8, 8])
        x = paddle.nn.functional.relu(paddle.nn.BatchNorm2D(8)(paddle.nn.Conv2D(4, 8, 3)(x)))
        x = paddle.nn.Conv2D(8, 16, 1)(x).mean([2, 3])
        for _ in range(3):
            x = paddle.nn.Linear(16, 16)(x)
        paddle.optimizer.Momentum(0.1).minimize(x.mean())
    paddle.static.Executor().run(startup)
    return main


def run(code: str) -> None:
    names = {name: getattr(paddle_unstructured, name) for name in paddle_unstructured.__all__}
    exec(code, {**names, "paddle": paddle, "program": program()})


def calls() -> list[str]:
    screen = blocks("docs/pruning.md", "python")[0].code
    shown = [ast.get_source_segment(screen, node) for node in ast.parse(screen).body if isinstance(node, ast.Expr)]
    return shown + [line for line in re.findall(r"`([^`]+)` \|$", page("docs/migration.md"), re.M) if "Pruner" in line]


@pytest.mark.parametrize("call", calls())
def test_every_pruner_that_the_pages_show_can_be_made(call):
    run(call)


def test_the_screen_and_the_table_are_found():
    assert len(calls()) >= 34


def parts() -> list[str]:
    """Each section of "Extend it" that has Python of ours to run."""
    sections = page("docs/extending.md").split("\n## ")
    return [section for section in sections if "UnstructuredPruner(" in section]


@pytest.mark.parametrize("section", parts(), ids=lambda text: text.splitlines()[0])
def test_what_extending_shows_runs(section):
    codes = re.findall(r"```python\n(.*?)```", section, re.S)
    assert all(len(code.strip().splitlines()) <= 30 for code in codes)
    names = {"paddle": paddle, "UnstructuredPruner": paddle_unstructured.UnstructuredPruner}
    for code in codes:
        names["program"] = program()
        exec(code, names)


def test_every_file_that_a_page_names_exists():
    """Paths of the repository in code spans; `*` and `...` stand for parts of names."""
    missing = []
    for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.M | re.S)
        spans = re.findall(r"`((?:paddle_unstructured|benchmarks|tests|examples|docs|demo)/[\w./]+)`", text)
        spans += re.findall(r"`(?:python|bash) ((?:benchmarks|scripts|demo)/\w+\.\w+)", text)
        missing += [f"{file.relative_to(ROOT)}: {path}" for path in spans if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda file: file.name
)
def test_tables_lists_and_code_begin_after_an_empty_line(file):
    """Else the site shows their bars and dashes as running text."""
    inside, before, found = False, "", []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        fence = line.lstrip().startswith("```")
        begins = re.match(r"\||[-*] |\d+\. ", line) and not re.match(r"\||[-*] |\d+\. | {2,}\S", before)
        if not inside and (begins or fence) and before and not before.startswith("<!--"):
            found += [f"line {number}: {line[:60]}"]
        inside, before = inside != fence, line
    assert found == []


def test_what_extending_quotes_is_in_the_sources():
    """The indented blocks are cut out of the package: line by line they are still there."""
    sources = "".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "paddle_unstructured" / "runtime").rglob("*.*")
        if file.suffix in (".py", ".cpp")
    )
    quoted = [block for language in ("python", "c++") for block in quotes(language)]
    assert quoted and [line for block in quoted for line in block.splitlines() if line.strip() not in sources] == []


def quotes(language: str) -> list[str]:
    return re.findall(rf"^    ```{re.escape(language)}\n(.*?)^    ```$", page("docs/extending.md"), re.M | re.S)
