#!/usr/bin/env bash
# Environment, linter, all tests. Arguments go to pytest: bash scripts/test.sh tests/data -x
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install requirements-dev.txt
install_browser
ruff check .
ruff format --check .
python -m pytest "$@"
