"""A checkpoint of the ALiBi authors, from their fork of fairseq, as a run folder for evaluate.py.

    python scripts/import_fairseq.py alibi_wt103_L512.pt dict.txt outputs/authors-L512
    python evaluate.py runs=outputs/authors-L512 data=wikitext103 'eval.lengths=[512,1024,2048,3072]'

DICT is the dict.txt that fairseq-preprocess makes, or wiki.train.tokens, from which it makes it. Code in the
checkpoint is refused, not run. The model's settings are read from the checkpoint; batch and optimizer are recorded as
the paper's, since the file need not say.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from alibi.data import DataConfig, TokenizerConfig
from alibi.data.text import read_lines
from alibi.data.tokenizers import WordTokenizer
from alibi.files import file_sha256, write_atomically
from alibi.interop.fairseq import FairseqCheckpoint, read_fairseq_checkpoint, read_fairseq_dictionary
from alibi.paths import user_path
from alibi.pointers import refuse_pointer
from alibi.runs import CONFIG, RunFolder, settings_text
from alibi.script import script, script_parser
from alibi.settings import LARGEST
from alibi.training import RunConfig
from alibi.training.optimizer import OptimizerConfig
from alibi.training.training_settings import TrainSettings

BATCH_TOKENS = 73728
RECIPE = {"lr": 1.0, "min_lr": 1e-4, "warmup_steps": 16000, "warmup_init_lr": 1e-7, "cosine_steps": 270000, "clip": 0.1}
# sha256 of WikiText-103's validation text in words, which identifies the text that a run validates on.
WIKITEXT103_VALIDATION = "9aee9f52d6e77de6c7751fc5e7c44287db3ec0eaf15477098acc6b93c1c4250b"


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("checkpoint", type=user_path, help="a .pt of the authors' repository")
    parser.add_argument("dict", type=user_path, help="fairseq's dict.txt, or wiki.train.tokens")
    parser.add_argument("out", type=user_path, help="the run folder to make; must be new or empty")
    return parser.parse_args()


def import_checkpoint(path: Path, dictionary: Path, out: Path) -> str:
    """Make the run folder, and say what was made.

    Raises:
        ValueError: a checkpoint of something else, with code in it or damaged; another dictionary; OUT is not empty.
        FileNotFoundError: no such file.
    """
    refuse_pointer(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already, and not empty; name a new folder.")
    source = read_fairseq_checkpoint(path)
    source.model_config()  # report another architecture before another vocabulary
    tokenizer = tokenizer_of(dictionary, source)
    model = source.load_model()
    config = asdict(run_config(source, out))
    state = {"wandb_id": None, "imported_from": {"file": path.name, "sha256": file_sha256(path)}}
    known = is_wikitext103(source)
    texts = {"train": "", "validation": WIKITEXT103_VALIDATION if known else ""}
    folder, text = RunFolder(out), settings_text(config)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / CONFIG, text)
    folder.save_checkpoint(source.updates, model, state, text, tokenizer, texts)
    folder.point_best(source.updates)
    length, count = source.seq_len, model.count_parameters().total
    return (
        f"{out}: {count:,} parameters, {tokenizer.vocab_size:,} ids, {source.updates:,} updates at length {length}; "
        f"every tensor was used.\npython evaluate.py runs={out} data=wikitext103 'eval.lengths=[{length},{2 * length}]'"
    )


def tokenizer_of(path: Path, source: FairseqCheckpoint) -> WordTokenizer:
    """
    Raises:
        ValueError: a dictionary of another size than the checkpoint's.
    """
    if path.suffix == ".tokens":
        tokenizer = TokenizerConfig("word", pad_to_multiple_of=8).train(read_lines(path))
    else:
        tokenizer = WordTokenizer(read_fairseq_dictionary(path))
    if tokenizer.vocab_size != source.vocab_size:
        raise ValueError(
            f"{path} gives {tokenizer.vocab_size:,} ids, the four special symbols counted, and {source.path} has "
            f"{source.vocab_size:,}; give the dict.txt that the checkpoint was trained with."
        )
    return tokenizer


def run_config(source: FairseqCheckpoint, out: Path) -> RunConfig:
    """The configuration of a run of ours that would have ended with this checkpoint."""
    length = source.seq_len
    batch = max(1, round(BATCH_TOKENS / length)) * length
    seed = source.settings.get("seed")
    return RunConfig(
        model=source.model_config(),
        data=DataConfig("wikitext103"),
        tokenizer=TokenizerConfig("word", source.vocab_size),
        optimizer=OptimizerConfig("nag", **RECIPE),
        train=TrainSettings(seq_len=length, batch_tokens=batch, max_steps=max(1, source.updates)),
        run_dir=str(out),
        seed=seed if type(seed) is int and 0 <= seed < LARGEST else 1,
        precision="fp32",
    )


def is_wikitext103(source: FairseqCheckpoint) -> bool:
    """Whether its settings name the data that the authors' README prepares."""
    return "wikitext-103" in str(source.settings.get("data"))


if __name__ == "__main__":
    with script():
        options = parse()
        print(import_checkpoint(options.checkpoint, options.dict, options.out))
