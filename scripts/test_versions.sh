#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A slice of the suite on several versions of Paddle, numpy and Python, each in an environment of its own.
# Prints a table; docs/versions.md holds the last one. What cannot be installed is skipped with a word.
#
#     bash scripts/test_versions.sh                      # all below, several hours on two busy cores
#     bash scripts/test_versions.sh "3.11 3.2.2 1.26"    # Python, Paddle, numpy
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
WORK="${VERSIONS:-$ROOT/.venv-versions}"
SLICE=(tests/pruner tests/ranking tests/compat/test_gmp.py tests/export/test_export_program.py tests/cli
  tests/runtime/test_engine.py tests/runtime/test_predictor.py tests/runtime/test_conversion.py
  tests/dygraph tests/training tests/reconstruction tests/budget tests/test_checkpoint.py)
CASES=(
  "3.11 3.0.0 1.26" "3.11 3.0.0 2" "3.11 3.1.1 1.26" "3.11 3.1.1 2" "3.11 3.2.2 1.26" "3.11 3.2.2 2"
  "3.11 3.3.1 1.26" "3.11 newest 2" "3.9 newest 1.26" "3.10 newest 2" "3.12 newest 2" "3.13 newest 2"
)
[[ $# -eq 0 ]] || CASES=("$@")

# The newest Python of a minor version: pyenv's, or the one on PATH.
find_python() {
  local found
  found=$(compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1.*/bin/python" | sort -V | tail -n 1) || true
  [[ -n $found ]] || found=$(command -v "python$1") || return 1
  echo "$found"
}

# An environment with these versions; kept for the next time.
make_environment() { # FOLDER PYTHON PADDLE NUMPY
  local paddle="paddlepaddle>=3.0" numpy="numpy==$4.*"
  [[ -e $1/made ]] && return
  [[ $3 == newest ]] || paddle="paddlepaddle==$3"
  "$2" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check "$paddle" "$numpy" setuptools hypothesis pytest \
    safetensors zstandard jinja2 pillow pyyaml "matplotlib>=3.7" && touch "$1/made"
}

mkdir -p "$WORK"
cd "$ROOT"
export GLOG_minloglevel="${GLOG_minloglevel:-2}" PYTHONPATH="$ROOT"
code=0
echo "| Python | paddlepaddle | numpy | result |"
echo "|---|---|---|---|"
for case in "${CASES[@]}"; do
  read -r python paddle numpy <<<"$case"
  folder="$WORK/$python-$paddle-$numpy"
  if ! found=$(find_python "$python"); then
    echo "| $python | $paddle | $numpy | skipped: there is no such Python here |"
    continue
  fi
  if ! make_environment "$folder" "$found" "$paddle" "$numpy" >"$folder.log" 2>&1; then
    echo "| $python | $paddle | $numpy | skipped: cannot be installed together |"
    continue
  fi
  # Each Python and Paddle compiles an operator of its own at its first conversion, a minute alone.
  versions=$("$folder/bin/python" -W ignore -c \
    'import platform, numpy, paddle; print(platform.python_version(), "|", paddle.__version__, "|", numpy.__version__)')
  "$folder/bin/python" -m pytest -q -m "not slow" -p no:cacheprovider "${SLICE[@]}" >"$folder.log" 2>&1 || code=1
  echo "| $versions | $(tail -n 1 "$folder.log" | sed -E 's/^=+ | =+$//g; s/ in [0-9].*//') |"
done
exit "$code"
