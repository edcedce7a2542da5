#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds run_model.cpp against the engine that the package brings or has compiled.
#   bash examples/cpp/build.sh [OUT]      # OUT: default ./run_model. $PYTHON: default python. $CXX: default g++
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
library=$("${PYTHON:-python}" -c "from paddle_unstructured.runtime.build import kernel_library; print(kernel_library())")
headers=$("${PYTHON:-python}" -c "from paddle_unstructured.runtime.compiler import SOURCES; print(SOURCES / 'engine')")
"${CXX:-g++}" -std=c++17 -O2 -Wall -Wextra -I "$headers" "$HERE/run_model.cpp" "$library" \
  -Wl,-rpath,"$(dirname "$library")" -o "${1:-run_model}"
