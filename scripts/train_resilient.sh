#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# train.py on several ranks, begun again from its last checkpoint when a rank dies, up to RESTARTS times.
#   bash scripts/train_resilient.sh RESTARTS RANKS RUN [train.py flags]
# RUN is the --model_path; if it holds checkpoints already, the run goes on after them. With --model_period 1 no more
# than an epoch is lost. $LAUNCH is as for train_distributed.sh.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

restarts=${1:?usage: bash $0 RESTARTS RANKS RUN [train.py flags]}
ranks=${2:?usage: bash $0 RESTARTS RANKS RUN [train.py flags]}
run=${3:?usage: bash $0 RESTARTS RANKS RUN [train.py flags]}
shift 3

later=() # the flags of a run that goes on: all but where it started
given=("$@")
for ((i = 0; i < $#; i++)); do
  case ${given[i]} in
    --pretrained_model | --checkpoint | --last_epoch) i=$((i + 1)) ;;
    --pretrained_model=* | --checkpoint=* | --last_epoch=*) ;;
    *) later+=("${given[i]}") ;;
  esac
done

trap 'exit 130' INT TERM
for ((attempt = 0; attempt <= restarts; attempt++)); do
  if compgen -G "$run/epoch_*" >/dev/null; then
    flags=(--checkpoint "$run" "${later[@]}")
  else
    flags=("$@")
  fi
  code=0
  train_on_ranks "$ranks" --model_path "$run" "${flags[@]}" || code=$?
  [[ $code -eq 0 ]] && exit 0
  echo "attempt $((attempt + 1)) of $((restarts + 1)) ended with exit code $code" >&2
done
exit "$code"
