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
