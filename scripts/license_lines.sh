#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Gives every source file its licence line; does nothing to those that have one. Run it after files were added.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
line="SPDX-License-Identifier: Apache-2.0"

git ls-files -z '*.py' '*.pyi' '*.sh' '.ci/run' '*.cpp' '*.cc' '*.h' '*.inl' | while IFS= read -r -d '' file; do
  [[ -s $file ]] && ! head -n 3 "$file" | grep -q "$line" || continue
  case $file in
    *.py | *.pyi | *.sh | .ci/run) comment="# $line" ;;
    *) comment="// $line" ;;
  esac
  if [[ $(head -c 2 "$file") == "#!" ]]; then sed -i "1a $comment" "$file"; else sed -i "1i $comment" "$file"; fi
done
