# SPDX-License-Identifier: Apache-2.0
"""The C++ kernels and the Paddle operator: brought by the wheel, or compiled once and kept for every later process.

Two libraries: the kernels with their executor (`kernel_library`, no dependency at all), and the Paddle operator on top
of them (`operator_library`, one per Paddle version). A wheel brings the first; else both are compiled when first used
and kept in a folder that is named after a digest of sources, flags and Paddle version, so a stale one is never loaded,
and with a digest of the library, so a damaged one is not either.

    python -m paddle_unstructured.runtime.build             # compile now, for an image or at install time
    python -m paddle_unstructured.runtime.build --again     # with another compiler than before

Environment: `CXX` names the compiler, `PADDLE_UNSTRUCTURED_CACHE` the folder (default: ~/.cache/paddle_unstructured).
"""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Sequence

from . import compiler as cxx
from . import kept
from .compiler import BuildError

__all__ = ["BuildError", "Progress", "build_program", "kernel_library", "listening", "operator_library"]

PREBUILT = Path(__file__).resolve().parent / "prebuilt"  # filled by setup.py
_WITHOUT_KERNELS = (
    "A wheel of paddle_unstructured brings the kernels compiled. Without them pruning, reports and exports still work."
)
_WITHOUT_OPERATOR = (
    "Without the operator `Session` still runs every model that was converted whole, with the same numbers."
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a compilation is.

    Attributes:
        what: "the runtime's kernels" or "the Paddle operator".
        done: Units that are compiled; 0 when it begins.
        total: Units in all.
    """

    what: str
    done: int
    total: int


Listener = Callable[[Progress], None]


def _log_beginning(progress: Progress) -> None:
    if progress.done == 0:
        _log.warning("compiling %s, once, about a minute; kept in %s", progress.what, kept.home())


_listener: Listener = _log_beginning


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within it, `listener` is told of compilations, from the thread that waits for them; else the log says so.

    Example:
        >>> with listening(lambda progress: print(progress.done, progress.total)):  # doctest: +SKIP
        ...     path = kernel_library()
    """
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


@functools.cache
def kernel_library() -> Path:
    """The kernels and their executor: the wheel's, or those kept before, or compiled now (about 30 seconds).

    Raises:
        BuildError: There are none, and there is no compiler; or somebody else may have written the kept ones.
    """
    found = _prebuilt()
    if found:
        return found
    name = f"kernels-{cxx.digest([cxx.kernel_digest(), *_machine()])}"
    library = kept.find(name, cxx.KERNELS) or _compile_kernels(name)
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        raise BuildError(f"{library} was compiled, but cannot be loaded: {error}.") from error
    return library


@functools.cache
def operator_library() -> Path:
    """The Paddle operator, kept before, or compiled against the installed Paddle now (about 20 seconds).

    Raises:
        BuildError: It must be compiled, and there is no compiler; or there is no Paddle.
    """
    kernels = kernel_library()
    paddle, version = _paddle()
    parts = [str(kernels), cxx.kernel_digest(), cxx.operator_digest(), version, str(paddle), *_machine()]
    name = f"operator-{cxx.digest(parts)}"
    return kept.find(name, cxx.OPERATOR) or _compile_operator(name, kernels, paddle)


def build_program(source: Path, flags: Sequence[str]) -> Path:
    """Compile kernels, executor and a main program with other flags (sanitizers, say), and keep it; for tests."""
    compiler = cxx.find_compiler(source.name)
    texts = [path.read_text(encoding="utf-8") for path in sorted(source.parent.iterdir()) if path.is_file()]
    name = f"program-{cxx.digest([*flags, cxx.version_of(compiler), cxx.kernel_digest(), source.name, *texts])}"
    found = kept.find(name, "program")
    return found or kept.keep(
        name, "program", lambda draft: cxx.build_program(draft, compiler, source, flags), compiler=compiler
    )


def _compile_kernels(name: str) -> Path:
    what = "the runtime's kernels"
    compiler = cxx.find_compiler(what, _WITHOUT_KERNELS)
    _refuse_another_machine(compiler, what)

    def build(draft: Path) -> None:
        _listener(Progress(what, 0, 1))
        cxx.build_kernels(draft, compiler, tell=lambda done, total: _listener(Progress(what, done, total)))

    return kept.keep(name, cxx.KERNELS, build, compiler=cxx.version_of(compiler))


def _compile_operator(name: str, kernels: Path, paddle: Path) -> Path:
    what = "the Paddle operator"
    compiler = cxx.find_compiler(what, _WITHOUT_OPERATOR)

    def build(draft: Path) -> None:
        _listener(Progress(what, 0, 1))
        cxx.build_operator(draft, compiler, kernels, paddle)
        _listener(Progress(what, 1, 1))

    return kept.keep(name, cxx.OPERATOR, build, compiler=cxx.version_of(compiler))


def _refuse_another_machine(compiler: str, what: str) -> None:
    target, here = cxx.machine_of(compiler, what), platform.machine()
    if here in cxx.MACHINES and target != here:
        raise BuildError(
            f"{what} must be compiled for this machine, {here}, but {compiler} compiles for {target}; set CXX to "
            "another compiler. A wheel for another machine is made by scripts/build_wheel.sh."
        )


def _prebuilt() -> Path | None:
    """The library that the wheel brought, if it is whole, made of these sources, and loads on this machine."""
    library = PREBUILT / cxx.KERNELS
    if not library.is_file():
        return None
    stamp = kept.stamp_of(library)
    if stamp is None:
        why = "it is damaged; install the package again"
    elif stamp.get("sources") != cxx.kernel_digest():
        why = "it was compiled from other sources than those beside it"
    else:
        try:
            ctypes.CDLL(str(library))
            return library
        except OSError as error:
            why = str(error)
    _log.warning("%s is not used: %s. The kernels are compiled here instead.", library, why)
    return None


def _machine() -> list[str]:
    """A home folder may be shared by machines whose libraries do not load on each other."""
    return [platform.machine(), *platform.libc_ver()]


def _paddle() -> tuple[Path, str]:
    """Its folder and version."""
    try:
        import paddle
    except ImportError as error:
        raise BuildError(
            "the Paddle operator needs paddlepaddle; install it, or use runtime.Session, which runs without Paddle."
        ) from error
    return Path(paddle.__file__).parent, f"{paddle.version.full_version} {paddle.version.commit}"


def _main(arguments: Sequence[str]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if "--again" in arguments:
        kept.forget()
    _log.info("%s", kernel_library())
    _log.info("%s", operator_library())


if __name__ == "__main__":
    _main(sys.argv[1:])
