#!/usr/bin/env bash
# From a bare clone to the report: five position methods trained short and tested long, on the sources
# of the Python standard library. Minutes on two cores; run again, it skips what is done.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install requirements.txt
python train.py -m experiment=quickstart model=alibi,sinusoidal,rotary,t5,none
evaluate() {
    python evaluate.py 'runs=outputs/quickstart/*-tiny-*' eval.max_tokens=65536 eval.reuse=true \
        eval.figure_dir=outputs/quickstart tracking.wandb=disabled "$@"
}
evaluate 'eval.lengths=[64,128,256,512,1024,2048]'
evaluate 'eval.lengths=[64,256]' eval.stride=8 # why it changed
python scripts/report.py 'outputs/quickstart/*-tiny-*' --out outputs/quickstart/report
