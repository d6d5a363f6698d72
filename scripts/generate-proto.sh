#!/bin/sh
# Writes the Python code of proto/ into a folder: generate-proto.sh FOLDER
# The path is mapped so that the generated imports are absolute within the package;
# mypy-protobuf's stubs type the servicer under mypy --strict.
set -eu
cd "$(dirname "$0")/.."
out=$1
bin=$PWD/${VENV:-.venv}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -Iscaler/pb=proto \
  --python_out="$work" --grpc_python_out="$work" --mypy_out=quiet:"$work" --mypy_grpc_out=quiet:"$work" \
  scaler/pb/externalscaler.proto
cp "$work"/scaler/pb/externalscaler_pb2* "$out/"
