"""Shared by several tests: the real WikiText if it is at hand, a small text like it, token streams, a model, a run."""

import importlib
import random
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from alibi.data import DataConfig, TokenFile, TokenizerConfig
from alibi.model import LanguageModel, ModelConfig
from alibi.paths import PathsConfig
from alibi.tracking import TrackingConfig
from alibi.training import RunConfig
from alibi.training.optimizer import OptimizerConfig
from alibi.training.training_settings import TrainSettings

# The same examples on every machine, and no database: whoever runs the test sees the same failure.
settings.register_profile("laboratory", deadline=None, derandomize=True, database=None)
settings.load_profile("laboratory")

# Processes in the background or under nohup ignore both, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that parallel workers do not wait for one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


SHARED = Path(__file__).parents[1].parent / "shared"

PROSE = (
    "the lobster and of a Köln naïve 東京 Ελλάδα São 1 @,@ 500 co @-@ operation 0 @.@ 7 – 23 , . ; ( ) \" 's was "
    "found in it Zürich \u200bzero привет 🦞 e\u0301clair"
)
WORDS = PROSE.split(" ")
RARE = {"東京", "🦞", "Ελλάδα"}


@pytest.fixture(scope="session")
def wikitext() -> Path:
    """The folder with WikiText-2 that lies beside the repository; tests that need it are skipped without it."""
    folder = SHARED / "data" / "wikitext"
    if not (folder / "wiki.train.tokens").exists():
        pytest.skip("needs WikiText-2 in ../shared/data/wikitext")
    return folder


def generated_lines(articles: int, seed: int) -> list[str]:
    """Lines in WikiText's form: headings between blank lines, sections, a table legend that is no heading."""
    draw = random.Random(seed)
    lines = []

    def paragraph() -> str:
        return " " + " ".join(draw.choices(WORDS, k=draw.randint(3, 40))) + " \n"

    for number in range(articles):
        lines += [" \n", f" = Article {number} of {seed} = \n", " \n"]
        for section in range(draw.randint(1, 4)):
            lines += [paragraph() for _ in range(draw.randint(1, 4))]
            lines += [" \n", f" = = Section {section} = = \n", " \n", paragraph()]
        lines += [" = Legend = \n", paragraph()]
    return [*lines, " \n"]


ARTICLES = {"train": 60, "valid": 4, "test": 3}


@pytest.fixture(scope="session")
def raw_lines() -> dict[str, list[str]]:
    """Lines of a generated corpus, by the classic names of the splits."""
    return {split: generated_lines(count, seed) for seed, (split, count) in enumerate(ARTICLES.items())}


@pytest.fixture(scope="session")
def token_lines(raw_lines: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same lines with rare words replaced by `<unk>`, WikiText's other form."""

    def replaced(line: str) -> str:
        return " ".join("<unk>" if word in RARE else word for word in line.split(" "))

    return {split: [replaced(line) for line in lines] for split, lines in raw_lines.items()}


@pytest.fixture
def corpus(tmp_path: Path, raw_lines, token_lines) -> Path:
    """A folder with the generated corpus as the classic files, both forms complete."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for form, lines in (("raw", raw_lines), ("tokens", token_lines)):
        for split in ARTICLES:
            (folder / f"wiki.{split}.{form}").write_bytes("".join(lines[split]).encode())
    return folder


@pytest.fixture
def run_script(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run scripts/NAME.py with words as the command line does, in this process: exit code, stdout and stderr."""

    def run(name: str, *words: object) -> tuple[int, str, str]:
        path = str(Path(__file__).parents[1] / "scripts" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as stop:
            code = stop.code
            if isinstance(code, str):  # as Python itself does: the message to stderr, and exit code 1
                print(code, file=sys.stderr)
                code = 1
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def make_stream() -> Callable[..., TokenFile]:
    """A token stream from an array in memory, for what needs no file."""

    def make(ids, end_of_text: int = 0) -> TokenFile:
        ids = np.asarray(ids, np.uint16)
        return TokenFile(Path(), {}, {}, end_of_text, len(ids), len(ids), 1, ids)

    return make


@pytest.fixture
def tiny_config() -> ModelConfig:
    return ModelConfig(position={"name": "alibi"}, num_layers=1, d_model=16, num_heads=2)


@pytest.fixture
def tiny_model(tiny_config: ModelConfig) -> LanguageModel:
    """A model of a few thousand parameters over the byte tokenizer's 257 ids."""
    return LanguageModel(tiny_config, vocab_size=257, seed=1).eval()


@pytest.fixture
def small_run(corpus: Path, cache: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Settings of a run of a few updates on the generated corpus; keywords go to the train settings."""

    def make(method: str = "alibi", seed: int = 0, tokenizer: str = "byte", dropout: float = 0.1, **train) -> RunConfig:
        values = {"seq_len": 16, "batch_tokens": 64, "micro_batch_tokens": 32, "max_steps": 6}
        values |= {"eval_every": 4, "checkpoint_every": 2, "keep_last": 10}
        rates = {"dropout": dropout, "attention_dropout": dropout, "activation_dropout": dropout}
        return RunConfig(
            model=ModelConfig(position={"name": method}, num_layers=2, d_model=16, num_heads=2, **rates),
            data=DataConfig("wikitext2", str(corpus)),
            tokenizer=TokenizerConfig(tokenizer),
            optimizer=OptimizerConfig(lr=1e-2, min_lr=1e-3),
            train=TrainSettings(**(values | train)),
            tracking=TrackingConfig("disabled"),
            paths=PathsConfig(str(tmp_path / "outputs"), str(cache)),
            seed=seed,
            device="cpu",
            precision="fp32",
        )

    return make


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, cache):
    """Run an entry as the command line does, in this process; returns exit code and what it printed."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    monkeypatch.setenv("ALIBI_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(entry, *overrides):
        monkeypatch.setattr(sys, "argv", [f"{entry}.py", *overrides])
        capsys.readouterr()
        try:
            importlib.import_module(entry).main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run
