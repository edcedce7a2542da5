# SPDX-License-Identifier: Apache-2.0
"""The build step that pyproject.toml cannot say: a wheel brings the runtime's kernels compiled.

The wheel is one for every Python 3 (the library is called through ctypes) and for one platform. Where kernels cannot be
compiled, because there is no x86-64 or ARM64, no Linux or no compiler, the wheel holds Python alone and says so. The
wheel is for the machine that the compiler compiles for: `CXX` may name a cross compiler.
An editable install compiles nothing; the kernels are compiled when they are first used.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

sys.path.insert(0, str(Path(__file__).resolve().parent))
from paddle_unstructured.runtime import compiler as cxx  # noqa: E402
from paddle_unstructured.runtime import kept  # noqa: E402

PREBUILT = Path("paddle_unstructured", "runtime", "prebuilt")


def find_compiler() -> str | None:
    """What compiles the kernels; None where they cannot be compiled."""
    if sys.platform != "linux":
        return None
    try:
        compiler = cxx.find_compiler()
        return compiler if cxx.machine_of(compiler) in cxx.MACHINES else None
    except cxx.BuildError as error:
        logging.warning("the wheel is made without the compiled kernels: %s", error)
        return None


class PlatformDistribution(Distribution):
    def has_ext_modules(self) -> bool:  # decides between purelib and platlib
        return find_compiler() is not None


class BuildWithKernels(build_py):
    def run(self) -> None:
        super().run()
        compiler = find_compiler()
        if compiler and not self.editable_mode:
            folder = Path(self.build_lib) / PREBUILT
            folder.mkdir(parents=True, exist_ok=True)
            static = cxx.PORTABLE_LINK if cxx.links(compiler, cxx.PORTABLE_LINK) else ()
            library = cxx.build_kernels(folder, compiler, link=static)
            kept.write_stamp(library, sources=cxx.kernel_digest(), compiler=cxx.version_of(compiler))


class WheelOfEveryPython(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        compiler = find_compiler()
        return "py3", "none", f"linux_{cxx.machine_of(compiler)}" if compiler else super().get_tag()[2]


setup(
    distclass=PlatformDistribution,
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelOfEveryPython},
)
