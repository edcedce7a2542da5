#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# MobileNetV1 without pruning: the trained net that the pruning runs start from.
#   bash scripts/train_dense.sh IMAGENET_DIR [more train.py flags]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

RECIPE=(--pruning_strategy dense --lr 0.1 --num_epochs 120)
train_mobilenet mobilenet_dense "$@"
