# SPDX-License-Identifier: Apache-2.0
"""The arrows of the package: which folder may import which, and who may know what a Program is."""

import ast
import re
from pathlib import Path

import pytest

import paddle_unstructured

PACKAGE = Path(paddle_unstructured.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
OTHERS = sorted(
    file for folder in ("tests", "demo", "benchmarks", "examples") for file in (PACKAGE.parent / folder).rglob("*.py")
)
LEVELS = [  # each may import what stands before it, and nothing that stands behind it
    *("arguments", "needs_paddle"),
    *("lazy_names", "formats", "schedules", "graph", "ranking", "checkpoint", "criteria", "patterns", "selection"),
    *(
        "allocation",
        "reporting",
        "inference",
        "saved_model",
        "compression",
        "compat",
        "channels",
        "distributed",
        "masking",
    ),
    *(
        "pruner",
        "gmp_pruner",
        "dygraph",
        "sensitivity",
        "export",
        "reconstruction",
        "runtime",
        "budget",
        "training",
        "cli",
        "__main__",
        "__init__",
    ),
]
KNOW_PROGRAMS = {
    "graph",
    "channels",
    "saved_model",
    "export",
    "training",
    "runtime",
    "compression",
    "distributed",
    "reconstruction",
}
WITHOUT_PADDLE = {"arguments", "needs_paddle", "formats", "schedules", "lazy_names"}
ROOMS = {  # of the runtime: each may take from these, and from the files beside them
    "ops": set(),
    "rest": set(),
    "precision": set(),
    "int8": {"precision"},
    "bf16": {"precision"},
}
SHIMS = {"export/runtime/__init__.py"}  # old names, for one release


def place_of(file: Path) -> tuple[str, ...]:
    """Folders and file below the package, ("ranking", "cut")."""
    return file.relative_to(PACKAGE).with_suffix("").parts


def imports(file: Path) -> list[tuple[str, ...]]:
    """What a file takes from the package when it is imported or run: modules by their place. Types do not count."""
    tree, found = ast.parse(file.read_text(encoding="utf-8")), []
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in for_types:
            base = place_of(file)[:-1][: len(place_of(file)) - node.level]
            module = base + tuple(node.module.split(".") if node.module else ())
            found += [(*module, alias.name) if is_module((*module, alias.name)) else module for alias in node.names]
    return found


def is_module(place: tuple[str, ...]) -> bool:
    path = PACKAGE.joinpath(*place)
    return path.is_dir() or path.with_suffix(".py").is_file()


def code_of(file: Path) -> str:
    """The file without docstrings, comments and strings."""
    return re.sub(r'"""[\s\S]*?"""|#.*|"[^"\n]*"', "", file.read_text(encoding="utf-8"))


def name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def test_every_folder_and_file_has_its_level():
    assert {place_of(file)[0] for file in FILES} == set(LEVELS)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_arrows_run_one_way(file):
    own = place_of(file)[0]
    if name(file) not in SHIMS:
        wrong = [m for m in imports(file) if m and m[0] in LEVELS and LEVELS.index(m[0]) > LEVELS.index(own)]
        assert wrong == []


@pytest.mark.parametrize("file", [f for f in FILES if len(place_of(f)) > 2 and place_of(f)[0] == "runtime"], ids=name)
def test_rooms_of_the_runtime_take_only_what_they_may(file):
    """`precision` holds what int8 and bfloat16 share; neither knows of the other."""
    room = place_of(file)[1]
    taken = {m[1] for m in imports(file) if m[0] == "runtime" and PACKAGE.joinpath(*m[:2]).is_dir()}
    assert taken - {room} <= ROOMS[room]


def test_no_two_files_need_each_other():
    graph = {place_of(file): set() for file in FILES}
    for file in FILES:
        for module in imports(file) if name(file) not in SHIMS else ():
            graph[place_of(file)] |= {module} if module in graph else {(*module, "__init__")} & graph.keys()
    done, open_ = set(), []

    def visit(node):
        assert node not in open_, " -> ".join(map("/".join, [*open_[open_.index(node) :], node]))
        if node not in done:
            open_.append(node)
            for target in sorted(graph[node] - {node}):
                visit(target)
            done.add(open_.pop())

    for node in sorted(graph):
        visit(node)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_only_some_folders_know_what_a_program_is(file):
    if place_of(file)[0] not in KNOW_PROGRAMS:
        assert re.findall(r"paddle\.(?:static|pir|base)\b|libpaddle|_pir_ops|_C_ops", code_of(file)) == []


@pytest.mark.parametrize("file", [f for f in FILES if place_of(f)[0] in WITHOUT_PADDLE], ids=name)
def test_files_and_schedules_do_without_paddle(file):
    assert not re.search(r"\bpaddle\b", code_of(file))


@pytest.mark.parametrize("file", FILES, ids=name)
def test_the_library_logs_and_does_not_print(file):
    assert place_of(file)[0] == "cli" or "print(" not in code_of(file)


@pytest.mark.parametrize("file", [*FILES, *OTHERS], ids=lambda file: str(file.relative_to(PACKAGE.parent)))
def test_python_3_9_can_run_every_file(file):
    """As far as it shows in the text: syntax, unions of types that are no annotations, and arguments of zip."""
    text, annotations = file.read_text(), set()
    tree = ast.parse(text, feature_version=(3, 9))
    for node in ast.walk(tree):
        for written in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            annotations |= {id(part) for part in ast.walk(written)} if written is not None else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.NamedExpr):  # which `ast` does not know
            assert text.splitlines()[node.slice.lineno - 1][node.slice.col_offset - 1] == "(", f"line {node.lineno}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and id(node) not in annotations:
            sides = {part.id for part in (node.left, node.right) if isinstance(part, ast.Name)}
            assert not sides & {"int", "str", "float", "bool", "bytes", "Tensor", "Any"}, f"line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
            assert not node.keywords, f"line {node.lineno}"


def test_modules_that_stand_on_one_path_have_names_of_their_own():
    """The suite puts tests, demo and benchmarks on it: of two files of one name only the first can be imported."""
    root, found = PACKAGE.parent, {}
    for folder in ("tests", "demo", "benchmarks"):
        for path in (root / folder).iterdir():
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                found.setdefault(path.stem, []).append(folder)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
