#!/usr/bin/env bash
# The whole suite, in an environment of its own: .venv with the test extras. Arguments go to pytest.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

"${PYTHON:-python3}" -m venv "$ROOT/.venv"
PYTHON="$ROOT/.venv/bin/python"
"$PYTHON" -m pip install --quiet --disable-pip-version-check -e "$ROOT[test]"
cd "$ROOT"
export GLOG_minloglevel="${GLOG_minloglevel:-2}"
exec "$PYTHON" -m pytest -m "not slow" "$@"
