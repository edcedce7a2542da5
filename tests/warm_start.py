# SPDX-License-Identifier: Apache-2.0
"""Python scripts run as if by a process of their own, without the two seconds that importing Paddle takes each time.

A server process has Paddle imported and forks for every script: `python SCRIPT ARGUMENTS` in a folder, with an
environment, to its exit code and what it printed. It ends when this process does.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Mapping, Sequence


def run_script(words: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess:
    """`subprocess.run([sys.executable, *words], ...)` for a script of this repository."""
    server = _server()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = [f"/proc/{os.getpid()}/fd/{stream.fileno()}" for stream in (out, err)]
        job = {"words": list(words), "env": dict(env), "cwd": str(cwd or Path.cwd()), "files": files}
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return subprocess.CompletedProcess([sys.executable, *words], code, *texts)


@cache
def _server() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve() -> None:
    import paddle  # noqa: F401

    from paddle_unstructured import export, pruner  # noqa: F401

    with suppress(ImportError):
        import sklearn.datasets  # noqa: F401
    answers = os.fdopen(os.dup(1), "w")  # what a script prints never gets in between
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def _become(words: list[str], env: dict[str, str], cwd: str, files: list[str]) -> None:
    """Be the process of a script, to its end."""
    for place, file in ((0, os.devnull), *enumerate(files, 1)):
        os.dup2(os.open(file, os.O_RDONLY if place == 0 else os.O_WRONLY), place)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv, sys.path[:1] = list(words), [os.path.dirname(os.path.abspath(words[0])), *paths]
    code = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, (int, type(None))):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
