#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to a pruned net: .venv, install, train LeNet on real digits, prune 90 % of it with GMP, test it.
# Takes about a minute on two cores once pip has its packages. $PYTHON makes the environment (default: python3).
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

"${PYTHON:-python3}" -m venv "$ROOT/.venv"
PYTHON="$ROOT/.venv/bin/python"
"$PYTHON" -m pip install --quiet --disable-pip-version-check -e "$ROOT[cpu,demo]"
source "$ROOT/scripts/common.sh"

rm -rf "$RUNS/quickstart"
dense="$RUNS/quickstart/dense" sparse="$RUNS/quickstart/gmp90"

echo "== a dense LeNet on scikit-learn's handwritten digits"
train --data digits --model LeNet --pruning_strategy dense \
  --num_epochs 30 --batch_size 32 --lr 0.05 --l2_decay 5e-4 --model_path "$dense"

echo "== the same net, 90 % pruned step by step"
train --data digits --model LeNet --pruning_strategy gmp --ratio 0.9 --pretrained_model "$dense" \
  --num_epochs 40 --batch_size 32 --lr 0.05 --l2_decay 5e-4 --model_path "$sparse"

echo "== the exported models"
evaluate --pruned_model "$dense/inference" | tail -n 1
evaluate --pruned_model "$sparse/inference"
