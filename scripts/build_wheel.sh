#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The source distribution, and from it the wheel that brings the compiled kernels.
#
#     bash scripts/build_wheel.sh [FOLDER]      # default: dist
#
# For another machine, name a cross compiler: CXX=aarch64-linux-gnu-g++ bash scripts/build_wheel.sh makes the wheel for
# 64-bit ARM. The library in it needs the C library that it was linked to or a newer one: build on the oldest system
# that is to run it.
# $PYTHON must have the package `build` (default: that of .venv).
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
OUT="$(realpath -m "${1:-$ROOT/dist}")"
if [[ -z "${PYTHON:-}" ]]; then
  bash "$ROOT/scripts/environment.sh"
  PYTHON="$ROOT/.venv/bin/python"
fi

# From a copy of what git knows: an old build folder would leave modules in the wheel that are gone.
DRAFT="$(mktemp -d)"
trap 'rm -rf "$DRAFT"' EXIT
(cd "$ROOT" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$DRAFT")
cd "$DRAFT" # where no folder is called `build`, as the module is
"$PYTHON" -m build --outdir "$OUT"
python_wheel=$(compgen -G "$OUT/*-py3-none-any.whl" || true)
[[ -z $python_wheel ]] || { echo "$python_wheel holds no kernels: see above what was missing" >&2; exit 1; }
