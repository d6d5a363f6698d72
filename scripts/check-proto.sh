#!/bin/sh
# Fails if the committed code is not what proto/ generates.
set -eu
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate-proto.sh "$fresh"
for file in "$fresh"/*; do
  if ! cmp -s "$file" "scaler/pb/$(basename "$file")"; then
    echo "scaler/pb/$(basename "$file") is not what proto/ generates: run 'make proto' and commit" >&2
    exit 1
  fi
done
echo "scaler/pb is in step with proto/"
