#!/bin/sh
# Writes scaler/pb from proto/. The path is mapped so that the generated imports are absolute
# within the package; mypy-protobuf's stubs type the servicer under mypy --strict.
set -eu
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc \
  -Iscaler/pb=proto \
  --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
  scaler/pb/externalscaler.proto
