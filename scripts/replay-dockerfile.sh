#!/bin/sh
# Runs the pip steps of the Dockerfile without a container engine: replay-dockerfile.sh [PYTHON]
# The same locks, flags and order, in a temporary folder; then asks the installed command for its version
# and for a policy check. It takes about a minute and needs the package index.
set -eu
cd "$(dirname "$0")/.."
repository=$PWD
python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The build context, as .dockerignore leaves it.
mkdir -p "$work/context/requirements"
cp requirements/runtime.lock requirements/build.lock "$work/context/requirements/"
cp pyproject.toml README.md LICENSE "$work/context/"
cp -R scaler "$work/context/"
find "$work/context" -name __pycache__ -prune -exec rm -rf {} +
cd "$work/context"

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
"$python" -m venv "$work/build"
"$python" -m venv "$work/run"
echo "runtime.lock"
"$work/run/bin/pip" install --quiet --no-deps --require-hashes --only-binary :all: --requirement requirements/runtime.lock
echo "build.lock"
"$work/build/bin/pip" install --quiet --no-deps --require-hashes --only-binary :all: --requirement requirements/build.lock
echo "wheel"
"$work/build/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
"$work/run/bin/pip" install --quiet --no-deps --no-index dist/*.whl
"$work/run/bin/pip" check
"$work/run/bin/python" -m compileall -q "$work/run/lib"
"$work/run/bin/pip" uninstall --yes --quiet pip
cd /
env -i PATH="$work/run/bin" PYTHONDONTWRITEBYTECODE=1 celery-scaler --version
env -i PATH="$work/run/bin" PYTHONDONTWRITEBYTECODE=1 celery-scaler check "$repository/policies/examx.yaml" --environment production
du -sh "$work/run" | sed 's/\t.*/ in the environment/'
