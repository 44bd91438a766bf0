"""Train one run, or with -m a sweep of runs: python train.py model=alibi train.seq_len=512."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alibi.config import entry, run_from
from alibi.streams import keep_streams
from alibi.sweeps import is_sweep, run_job
from alibi.training import train


@entry("train")
def main(composed: DictConfig) -> str:
    if is_sweep():
        return run_job(composed)
    return train(*run_from(composed, HydraConfig.get().overrides.task))


if __name__ == "__main__":
    keep_streams()
    main()
