#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# LeNet on Fashion-MNIST: trained densely, then 90 % pruned with GMP. About 7 minutes on two cores.
#   bash scripts/fashion_lenet_gmp90.sh [train.py flags for both runs, --data_dir for one]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

dense="$RUNS/fashion_lenet/dense" sparse="$RUNS/fashion_lenet/gmp90"
FLAGS=(--data fashion_mnist --model LeNet --batch_size 64 --lr 0.05 --l2_decay 5e-4 --test_period 1)

train "${FLAGS[@]}" --pruning_strategy dense --num_epochs 10 --model_path "$dense" "$@"
train "${FLAGS[@]}" --pruning_strategy gmp --ratio 0.9 --num_epochs 10 \
  --pretrained_model "$dense" --model_path "$sparse" "$@"

evaluate --pruned_model "$dense/inference" | tail -n 1
evaluate --pruned_model "$sparse/inference"
