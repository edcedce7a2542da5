# SPDX-License-Identifier: Apache-2.0
"""The names of the package as a type checker sees them; `__init__.py` imports each when it is first asked for."""

from ..channels.shrink import Removal as Removal
from ..channels.shrink import remove_channels as remove_channels
from ..compression.compress import Sizes as Sizes
from ..compression.compress import compress as compress
from ..compression.compress import decompress as decompress
from ..compression.tensors import read_compressed as read_compressed
from ..patterns import parse_pattern as parse_pattern
from ..saved_model import Files as Files
from ..saved_model import Model as Model
from ..saved_model import find_model as find_model
from ..saved_model import open_model as open_model
from ..saved_model import save_model as save_model
from .checks import CheckResult as CheckResult
from .checks import check as check
from .export_program import Exported as Exported
from .export_program import export as export
from .export_saved import export_model as export_model
from .export_saved import save_checkpoint as save_checkpoint
from .onnx import to_onnx as to_onnx
from .paddle_lite import lite_report as lite_report
from .recalibration import recalibrate as recalibrate
from .weight_only_int8 import quantize_weights as quantize_weights

__all__: list[str]
