#!/usr/bin/env bash
# The suite with its slow tests. Arguments go to pytest.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/test.sh" -m "slow or not slow" "$@"
