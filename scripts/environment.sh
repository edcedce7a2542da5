#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The environment of the checks and the suite: .venv at the top, this package in it, editable. Made again when
# pyproject.toml changes. $PYTHON makes it (default: python3); it needs nothing but venv and pip, and later g++.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
MADE_FROM="$ROOT/.venv/made-from"

if ! cmp -s "$ROOT/pyproject.toml" "$MADE_FROM"; then
  "${PYTHON:-python3}" -m venv "$ROOT/.venv"
  "$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$ROOT[test,dev]"
  cp "$ROOT/pyproject.toml" "$MADE_FROM"
fi
