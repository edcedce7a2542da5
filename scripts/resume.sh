#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Continue a run where its last checkpoint ends, with the flags it was started with.
#   bash scripts/resume.sh runs/mobilenet_ratio [train.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

train --checkpoint "${1:?usage: bash $0 RUN [train.py flags]}" "${@:2}"
