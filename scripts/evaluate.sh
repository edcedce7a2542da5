#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Test what a run has saved: accuracy and where the zeros are.
#   bash scripts/evaluate.sh runs/mobilenet_ratio [evaluate.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

evaluate --pruned_model "${1:?usage: bash $0 RUN [evaluate.py flags]}" "${@:2}"
