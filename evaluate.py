"""Evaluate runs at other lengths: python evaluate.py eval.lengths=[512,1024,2048]."""

from omegaconf import DictConfig

from alibi.commands import evaluate
from alibi.config import entry, evaluation_from
from alibi.streams import keep_streams


@entry("evaluate")
def main(composed: DictConfig) -> None:
    evaluate(evaluation_from(composed))


if __name__ == "__main__":
    keep_streams()
    main()
