# SPDX-License-Identifier: Apache-2.0
"""python -m paddle_unstructured"""

import sys

from .cli import main

sys.exit(main())
