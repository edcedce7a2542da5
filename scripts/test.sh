#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole suite, in an environment of its own: .venv with the test extras. Two processes share it, whole files at a
# time; a command line with `-n 0` runs it in one. Arguments go to pytest.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$ROOT/scripts/environment.sh"
cd "$ROOT"
export GLOG_minloglevel="${GLOG_minloglevel:-2}"
exec "$ROOT/.venv/bin/python" -m pytest -m "not slow" --durations=25 -n 2 --dist loadfile "$@"
