#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Format, lint, types and arrows: a minute, once .venv is made. Says all that is wrong, not only the first.
set -uo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
if [[ -z "${TOOLS:-}" ]]; then
  bash scripts/environment.sh || exit
  TOOLS="$ROOT/.venv/bin"
fi
export GLOG_minloglevel="${GLOG_minloglevel:-2}"
failed=()

check() { # NAME COMMAND...
  local name=$1
  shift
  echo "== $name"
  "$@" || failed+=("$name")
}

mapfile -t sources < <(git ls-files '*.cpp' '*.cc' '*.h' '*.inl')
check "ruff format" "$TOOLS/ruff" format --check .
check "ruff check" "$TOOLS/ruff" check .
check "mypy" "$TOOLS/mypy"
[[ ! -e .clang-format ]] || check "clang-format" "$TOOLS/clang-format" --dry-run -Werror "${sources[@]}"
check "arrows" "$TOOLS/python" -m pytest -q tests/test_architecture.py

[[ ${#failed[@]} -eq 0 ]] || { echo "failed: ${failed[*]}" >&2; exit 1; }
