# SPDX-License-Identifier: Apache-2.0
"""Jobs of several ranks as a user starts them, each with an end: whatever a test leaves running is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Iterator

ROOT = Path(__file__).resolve().parent.parent
WORKERS = ROOT / "tests" / "workers"
_MARK = "PADDLE_UNSTRUCTURED_JOB"


class Job:
    """A command in a session of its own; on exit all processes that came of it are killed.

    Args:
        command: What to run.
        folder: Its output goes into `output` there; the launcher's logs into `logs`.
        environment: Variables on top of this process's.
    """

    def __init__(self, command: list[Any], folder: Path, **environment: str) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PADDLE_", "CUDA_VISIBLE"))}
        paths = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
        self._output = open(folder / "output", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **inherited,
                "PYTHONPATH": paths,
                "OMP_NUM_THREADS": "1",
                "GLOG_minloglevel": "2",
                _MARK: self.mark,
                "PYTHON": sys.executable,
                **environment,
            },
        )

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        for _ in range(50):
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        for pid, _ in self._processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self._output.close()

    def wait(self, seconds: float) -> int:
        """The exit code; TimeoutExpired if it takes longer."""
        return self.process.wait(seconds)

    def succeed(self, seconds: float) -> str:
        """Wait, demand success, and give the output."""
        code = self.wait(seconds)
        assert code == 0, f"exit code {code}\n{self.output()}\n{self.logs()}"
        return self.output()

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def log(self, rank: int) -> str:
        """What a rank of the node has written."""
        return "".join(file.read_text(errors="replace") for file in self.folder.glob(f"**/workerlog.{rank}"))

    def logs(self) -> str:
        return self.log(0) + self.log(1)

    def pid(self, rank: int, seconds: float = 30) -> int:
        """The process of a rank, as soon as there is one."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for pid, variables in self._processes():
                if f"PADDLE_TRAINER_ID={rank}" in variables:
                    return pid
            time.sleep(0.02)
        raise TimeoutError(f"no rank {rank} within {seconds} s\n{self.output()}")

    def pids(self) -> list[int]:
        return [pid for pid, _ in self._processes()]

    def wait_for(self, path: Path, seconds: float = 60) -> None:
        """Wait until a file is there; fail if the job ends before."""
        until = time.monotonic() + seconds
        while not path.exists():
            assert self.process.poll() is None and time.monotonic() < until, self.output() + self.logs()
            time.sleep(0.005)

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit():
                    variables = (folder / "environ").read_text(errors="replace").split("\0")
                    if f"{_MARK}={self.mark}" in variables:
                        yield int(folder.name), variables
            except OSError:  # another user's, or gone by now
                continue


def launch(
    script: Path, *arguments: Any, folder: Path, options: tuple[Any, ...] = ("--nproc_per_node", 2), **environment: str
) -> Job:
    """Start a script on ranks of this machine."""
    command = [
        sys.executable,
        "-m",
        "paddle.distributed.launch",
        "--host",
        "127.0.0.1",
        *options,
        "--log_dir",
        folder / "logs",
        script,
        *arguments,
    ]
    return Job(command, folder, **environment)
