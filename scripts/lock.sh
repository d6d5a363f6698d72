#!/bin/sh
# Resolves the dependencies for Python 3.11 to 3.14 into lock files with hashes: lock.sh UV
set -eu
uv=$1
cd "$(dirname "$0")/.."
compile() {
  out=$1; shift
  "$uv" pip compile "$@" --universal --python-version 3.11 --generate-hashes \
    --no-header --no-emit-index-url --no-emit-find-links --quiet -o "$out" >/dev/null
}
compile requirements/dev.lock pyproject.toml --all-extras --group dev
# The image reads the cluster.
compile requirements/runtime.lock pyproject.toml --extra kubernetes
# For the Dockerfile: what builds the wheel.
compile requirements/build.lock --group build
