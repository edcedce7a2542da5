#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The suite with its slow tests. Arguments go to pytest.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/test.sh" -m "slow or not slow" "$@"
