# SPDX-License-Identifier: Apache-2.0
"""The names of the package as a type checker sees them; `__init__.py` imports each when it is first asked for."""

from .benchmarking import BenchmarkResult as BenchmarkResult
from .benchmarking import benchmark as benchmark
from .bf16.options import Bf16 as Bf16
from .conversion import ConversionTable as ConversionTable
from .conversion import convert as convert
from .int8.options import Int8 as Int8
from .predictor import create_predictor as create_predictor
from .session import Session as Session

__all__: list[str]
