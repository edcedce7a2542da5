# SPDX-License-Identifier: Apache-2.0
# Sourced by the launchers: where the repository is, which Python runs it, and how the runs of one kind begin.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ -z "${PYTHON:-}" ]]; then
  PYTHON="$ROOT/.venv/bin/python"
  [[ -x "$PYTHON" ]] || PYTHON=python3
fi
RUNS="${RUNS:-$ROOT/runs}"

# Paddle's chatter at start-up says nothing about a run; errors still show.
export GLOG_minloglevel="${GLOG_minloglevel:-2}"
if [[ -z "${PYTHONWARNINGS:-}" ]]; then
  for module in utils.cpp_extension.extension_utils utils.inplace_utils pir.math_op_patch nn.layer.norm; do
    PYTHONWARNINGS="${PYTHONWARNINGS:+$PYTHONWARNINGS,}ignore::UserWarning:paddle.$module"
  done
  export PYTHONWARNINGS
fi

train() { "$PYTHON" "$ROOT/demo/train.py" "$@"; }
evaluate() { "$PYTHON" "$ROOT/demo/evaluate.py" "$@"; }

# train_mobilenet NAME [IMAGENET_DIR] [train.py flags]: MobileNetV1 on ImageNet with the launcher's RECIPE.
# The folder may also come from $IMAGENET_DIR; flags that are given win over the recipe.
train_mobilenet() {
  local name=$1 data=${IMAGENET_DIR:-}
  shift
  if [[ $# -gt 0 && $1 != -* ]]; then
    data=$1
    shift
  fi
  if [[ -z $data ]]; then
    echo "usage: bash $0 IMAGENET_DIR [train.py flags]" >&2
    exit 2
  fi
  train --data imagenet --data_dir "$data" --model MobileNet \
    --batch_size 256 --batch_size_for_validation 256 --lr 0.05 --lr_strategy cosine_decay --l2_decay 3e-5 \
    --test_period 5 --model_period 5 --model_path "$RUNS/$name" "${RECIPE[@]}" "$@"
}

# train_published NAME DATA [DATA_DIR] [train.py flags]: a detector or segmenter on a user's data with the launcher's RECIPE.
# The folder may also come from $DATA_DIR; flags that are given win over the recipe.
train_published() {
  local name=$1 data=$2 folder=${DATA_DIR:-}
  shift 2
  if [[ $# -gt 0 && $1 != -* ]]; then
    folder=$1
    shift
  fi
  if [[ -z $folder ]]; then
    echo "usage: bash $0 DATA_DIR [train.py flags]" >&2
    exit 2
  fi
  train --data "$data" --data_dir "$folder" --model_path "$RUNS/$name" "${RECIPE[@]}" "$@"
}

# train_on_ranks RANKS [train.py flags]: train.py under Paddle's launcher; $LAUNCH are further flags of the launcher.
# Each rank's log is in $LOGS. If the job fails, the ranks' last words are repeated on the screen.
train_on_ranks() {
  local ranks=$1 code=0 LOGS=${LOGS:-$RUNS/logs} launch
  shift
  # Paddle's launcher takes an empty list of GPUs for GPUs, and crashes.
  [[ -n "${CUDA_VISIBLE_DEVICES-x}" ]] || unset CUDA_VISIBLE_DEVICES
  read -ra launch <<<"${LAUNCH:---host 127.0.0.1}"
  mkdir -p "$LOGS"
  local begun="$LOGS/.begun"
  touch "$begun"
  "$PYTHON" -m paddle.distributed.launch "${launch[@]}" --nproc_per_node "$ranks" --log_dir "$LOGS" \
    "$ROOT/demo/train.py" --is_distributed True "$@" || code=$?
  if [[ $code -ne 0 ]]; then
    find "$LOGS" -name 'workerlog.*' -newer "$begun" -exec grep -h " ends after step " {} + | tail -n "$ranks" >&2 || true
  fi
  return "$code"
}
