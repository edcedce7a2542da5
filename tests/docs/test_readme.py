"""What the README shows runs as it stands there."""

import ast
import re
from pathlib import Path

import paddle
import pytest

import paddle_unstructured

pytestmark = pytest.mark.usefixtures("static")
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


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
    screen = README.split("## One screen of algebra")[1].split("```python")[1].split("```")[0]
    table = README.split("## Coming from")[1].split("\n## ")[0]
    shown = [ast.get_source_segment(screen, node) for node in ast.parse(screen).body if isinstance(node, ast.Expr)]
    return shown + [line for line in re.findall(r"`([^`]+)` \|$", table, re.M) if "Pruner" in line]


@pytest.mark.parametrize("call", calls())
def test_every_pruner_that_the_readme_shows_can_be_made(call):
    run(call)


def test_the_screen_and_the_table_are_found():
    assert len(calls()) >= 34


def test_a_criterion_of_the_users_own_is_three_lines():
    code = README.split("A criterion of your own")[1].split("```python")[1].split("```")[0]
    assert len(code.strip().splitlines()) == 3
    run(code)
