#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to a fast model: train a MobileNet on Fashion-MNIST, prune 75 % of its 1x1 convolutions in blocks of two
# outputs, convert it, and compare top-1 (it must not change) and speed before and after.
#   bash scripts/train_to_fast.sh [FASHION_MNIST_DIR]
# Width 0.25, 1 + 1 epochs: about 18 minutes, as Paddle trains depthwise convolutions on one core. $WIDTH, $EPOCHS and
# $PRUNING_EPOCHS change that; $DENSE is a run of this net that is there already (as scripts/dense_to_int8.sh leaves one).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
OUT="$RUNS/train_to_fast"
DATA=(--data fashion_mnist)
if [[ ${1:-} == -* || $# -gt 1 ]]; then
  echo "usage: bash $0 [FASHION_MNIST_DIR]" >&2
  exit 2
fi
[[ $# -eq 0 ]] || DATA+=(--data_dir "$1")
COMMON=("${DATA[@]}" --model MobileNet --width "${WIDTH:-0.25}" --batch_size 128 --l2_decay 5e-4)
rm -rf "$OUT"

if [[ -z ${DENSE:-} ]]; then
  echo "== a dense MobileNet"
  DENSE="$OUT/dense"
  train "${COMMON[@]}" --pruning_strategy dense --num_epochs "${EPOCHS:-1}" --lr 0.05 --model_path "$DENSE"
fi

echo "== the same net, 75 % of its 1x1 convolutions pruned step by step"
train "${COMMON[@]}" --pruning_strategy gmp --ratio 0.75 --prune_params_type conv1x1_only --sparse_block 2 1 \
  --pretrained_model "$DENSE" --num_epochs "${PRUNING_EPOCHS:-1}" --lr 0.02 --model_path "$OUT/pruned"

echo "== converted: top-1 and speed"
"$PYTHON" "$ROOT/benchmarks/top1.py" "$OUT/pruned/inference" "$OUT/fast" "${DATA[@]}"
