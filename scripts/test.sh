#!/usr/bin/env bash
# Environment, linter, all tests. Arguments go to pytest: bash scripts/test.sh tests/data -x
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install requirements-dev.txt
install_browser
ruff check .
ruff format --check .
# One thread a process: threads that wait for each other beside a busy process make a step of tiny tensors far slower.
# A file's tests stay in one process, which builds the file's shared runs once.
export OMP_NUM_THREADS=1
python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
