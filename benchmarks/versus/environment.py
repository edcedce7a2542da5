# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's own environment: a virtual environment with the pins it needs, made once and kept in a cache folder."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "paddle_unstructured"


def slim_python(paddle: str, say=print) -> Path:
    """The interpreter of an environment with PaddleSlim and this version of Paddle; the first call makes it.

    The pins are those of the extra "slim" in setup.py: without them PaddleSlim 2.6.0 cannot be imported.
    """
    folder = CACHE / f"paddleslim-2.6.0-paddle-{paddle}"
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.is_file():
        say(f"making {folder} (once; some 200 MB are downloaded)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", f"paddlepaddle=={paddle}", *pins()]
        subprocess.run(install, check=True)
        subprocess.run([str(python), "-c", "import paddleslim"], check=True, capture_output=True, env=variables("slim"))
        done.touch()
    return python


def pins() -> list[str]:
    """The requirements of the extra "slim", and what the demo's data need."""
    needs = re.search(r"^slim = (\[.*?\])", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)[1]
    return [*ast.literal_eval(needs), "pillow", "tqdm", "pycocotools"]


def python_of(side: str, paddle: str) -> str:
    return sys.executable if side == "ours" else str(slim_python(paddle))


def variables(side: str, threads: int = 1) -> dict[str, str]:
    """The environment of a worker: legacy Programs for PaddleSlim, and the same number of threads for both."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("benchmarks", "demo", "."))
    own = {
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": str(threads),
        "GLOG_minloglevel": "2",
        "PYTHONWARNINGS": "ignore",
        "FLAGS_enable_pir_api": "1" if side == "ours" else "0",
    }
    return {**os.environ, **own}
