"""Evaluate runs at other lengths: python evaluate.py eval.lengths=[512,1024,2048]."""

import hydra
from omegaconf import DictConfig

from alibi.commands import evaluate
from alibi.config import CONFIGS, evaluation_from, plain_errors, register
from alibi.processes import one_message
from alibi.streams import keep_streams

register()


@hydra.main(config_path=CONFIGS, config_name="evaluate", version_base="1.3")
def main(composed: DictConfig) -> None:
    with one_message(), plain_errors():
        evaluate(evaluation_from(composed))


if __name__ == "__main__":
    keep_streams()
    main()
