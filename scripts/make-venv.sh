#!/bin/sh
# Makes the virtual environment from the lock file: make-venv.sh PYTHON VENV
set -eu
python=$1 venv=$2
cd "$(dirname "$0")/.."

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "celery-scaler needs Python 3.11 or newer; '$python' is not. Set PYTHON=python3.12, for example." >&2
  exit 1
fi
# Debian ships ensurepip in a package of its own.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  else
    echo "Python's venv module is missing. Install it (Debian: apt-get install python3-venv) and try again." >&2
    exit 1
  fi
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "installing the locked dependencies into $venv (about half a minute)"
# --no-deps: the lock is complete (pip check below), and pip would otherwise look for the newest coverage[toml]
# beside the pinned coverage and refuse it for its missing hash.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
"$venv/bin/python" -m pip check --quiet --disable-pip-version-check
