#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# train.py on several ranks: one for each GPU, or CPU processes.
#   bash scripts/train_distributed.sh RANKS [train.py flags]
# On several machines, run it on each of them with the launcher's flags for them:
#   LAUNCH="--master 10.0.0.1:6170 --nnodes 2" bash scripts/train_distributed.sh RANKS_PER_MACHINE [train.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

train_on_ranks "${1:?usage: bash $0 RANKS [train.py flags]}" "${@:2}"
