#!/usr/bin/env bash
# From a bare clone to the report: five position methods, trained at length 64 and tested at up to 2,048, on the sources
# of the Python standard library. Takes minutes on two cores; run again, it skips what is done.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install requirements.txt
python scripts/study.py scripts/studies/quickstart.yaml
