"""Train one run, or with -m a sweep of runs: python train.py model=alibi train.seq_len=512."""

import hydra
from omegaconf import DictConfig

from alibi.config import CONFIGS, plain_errors, register, run_from
from alibi.processes import one_message
from alibi.streams import keep_streams
from alibi.sweeps import is_sweep, run_job
from alibi.training import train

register()


@hydra.main(config_path=CONFIGS, config_name="train", version_base="1.3")
def main(composed: DictConfig) -> str:
    if is_sweep():
        return run_job(composed)
    with one_message(), plain_errors():
        return train(*run_from(composed))


if __name__ == "__main__":
    keep_streams()
    main()
