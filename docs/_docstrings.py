# SPDX-License-Identifier: Apache-2.0
"""Docstrings of this package as the site's parser wants them."""

from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Our heading is `Example:`; the parser knows doctests under `Examples:` only."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
