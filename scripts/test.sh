#!/usr/bin/env bash
# Environment, linter, all tests. Arguments go to pytest:
#   bash scripts/test.sh tests/data -x
#   bash scripts/test.sh -m "not slow"     leaves out kills, many processes, long lengths and the browser
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install requirements-dev.txt
install_browser
ruff check .
ruff format --check .
# One thread a process: with tiny tensors, threads waiting for each other next to a busy process are far slower.
# All tests of a file run in one process, so that the file's shared runs are made once.
export OMP_NUM_THREADS=1
# Files with slow tests start first (tests/conftest.py), where xdist would start those with the most tests.
python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
