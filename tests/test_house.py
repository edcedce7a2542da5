"""The arrows of the house: who may import whom, and who may know what a Program is."""
import re
from pathlib import Path

import paddle_unstructured

ROOMS = {path.stem: path.read_text() for path in Path(paddle_unstructured.__file__).parent.glob("*.py")}
PURE = {"allocation", "criteria", "lamp", "patterns", "rank", "schedules", "selection"}  # tensors and numbers only


def test_only_the_graph_the_export_and_the_ranks_know_program_types():
    for room, text in ROOMS.items():
        code = re.sub(r'"""[\s\S]*?"""|#.*|"[^"\n]*"', "", text)
        assert room == "distributed" or not re.search(r"paddle\.(static|pir|base)\b|libpaddle|_pir_ops", code), room
        assert room == "cli" or not re.search(r"\bprint\(", code), room


def test_arrows_run_one_way():
    for room, text in ROOMS.items():
        wanted = set(re.findall(r"^from \.([\w.]+) import", text, re.M))
        wanted |= {name for names in re.findall(r"^from \. import (.+)$", text, re.M) for name in names.split(", ")}
        assert room in ("__init__", "__main__", "cli", "recipe") or "pruner" not in wanted, room
        assert room not in PURE or wanted <= PURE | {"graph.base", "yaml_files"}, room


def test_lines_fit():
    root = Path(paddle_unstructured.__file__).parent.parent
    files = [path for folder in ("paddle_unstructured", "demo", "scripts", "tests")
             for path in (root / folder).rglob("*.py")]
    assert len(files) > 150
    long = [f"{path}:{number}" for path in files
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 120]
    assert long == []
