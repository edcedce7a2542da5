#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to a sparse int8 model: train a MobileNet on Fashion-MNIST, prune 75 % of its 1x1 convolutions and linear
# layers in blocks of 1 output x 4 inputs, convert it to int8, and print accuracy at every stage, size and speed beside
# ONNX Runtime's dense float32 and int8.
#   bash scripts/dense_to_int8.sh [--quick] [FASHION_MNIST_DIR]
# Width 0.25, 1 + 2 epochs: about half an hour, as Paddle trains depthwise convolutions on one core. --quick: on
# scikit-learn's digits, under two minutes.
# $RATIO (0.75), $BLOCK (1x4, or 2x4), $WIDTH, $EPOCHS and $PRUNING_EPOCHS change that; $QAT_EPOCHS (0) adds
# quantization-aware epochs after the pruning, and a row for the model with the ranges that they learned.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
OUT="$RUNS/dense_to_int8" RATIO="${RATIO:-0.75}" BLOCK="${BLOCK:-1x4}" QAT_EPOCHS="${QAT_EPOCHS:-0}"
DATA=(--data fashion_mnist) BATCH=128 EPOCHS="${EPOCHS:-1}" PRUNING_EPOCHS="${PRUNING_EPOCHS:-2}"
if [[ ${1:-} == --quick ]]; then
  shift
  OUT="$RUNS/dense_to_int8_quick" DATA=(--data digits) BATCH=32 EPOCHS=4 PRUNING_EPOCHS=4
fi
if [[ ${1:-} == -* || $# -gt 1 ]]; then
  echo "usage: bash $0 [--quick] [FASHION_MNIST_DIR]" >&2
  exit 2
fi
[[ $# -eq 0 ]] || DATA+=(--data_dir "$1")
COMMON=("${DATA[@]}" --model MobileNet --width "${WIDTH:-0.25}" --batch_size "$BATCH" --l2_decay 5e-4 --lr 0.05)
COMMON+=(--test_period 100)
rm -rf "$OUT"

# accelerate_int8 PREFIX FILE...: convert what PREFIX was exported as, calibrated on these files
accelerate_int8() {
  "$PYTHON" -m paddle_unstructured accelerate "$OUT/$1/inference" -o "$OUT/${1/pruned/calibrated}" \
    --int8 --calibrate "${@:2}"
}

echo "== dense"
train "${COMMON[@]}" --pruning_strategy dense --num_epochs "$EPOCHS" --model_path "$OUT/dense"

echo "== the same net, $RATIO of its weights pruned in blocks of $BLOCK"
train "${COMMON[@]}" --recipe best --ratio "$RATIO" --block "$BLOCK" --pretrained_model "$OUT/dense" \
  --num_epochs "$PRUNING_EPOCHS" --model_path "$OUT/pruned"

echo "== int8"
"$PYTHON" "$ROOT/demo/calibration_images.py" "$OUT/calibration.npy" "${DATA[@]}"
accelerate_int8 pruned "$OUT/calibration.npy"
INT8=(--int8 "$OUT/calibrated")

if [[ $QAT_EPOCHS -gt 0 ]]; then
  echo "== quantization-aware"
  train "${COMMON[@]}" --pruning_strategy static --quantize_aware --lr 0.005 --pretrained_model "$OUT/pruned" \
    --num_epochs "$QAT_EPOCHS" --model_path "$OUT/quantization_aware"
  accelerate_int8 quantization_aware "$OUT/quantization_aware/inference/model.ranges.json"
  INT8+=(--int8 "$OUT/quantization_aware")
fi

echo "== accuracy, size and speed"
"$PYTHON" "$ROOT/benchmarks/int8.py" "$OUT/dense/inference" "$OUT/pruned/inference" "$OUT/calibration.npy" \
  "${INT8[@]}" "${DATA[@]}"
