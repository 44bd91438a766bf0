"""WikiText, guests and tokenizers from a hub: the text of the files, whatever happens on the way, or one message."""

import errno
import logging
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path
from socket import socket

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import SIGNATURE, HubServer
from huggingface_hub import constants

from alibi.commands.evaluate_command import OtherText
from alibi.data import DataConfig, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.pretrained import load_pretrained
from alibi.data.wikitext import FILE_SPLIT
from alibi.processes import ALONE
from alibi.training import RunConfig
from alibi.training.run_data import prepare_data

pytestmark = pytest.mark.slow

sys.path.append(str(Path(__file__).parents[1] / "interop"))  # guests.py, which needs transformers
CONFIGS = [
    ("wikitext103", "wikitext-103-raw-v1", False),
    ("wikitext103", "wikitext-103-v1", True),
    ("wikitext2", "wikitext-2-raw-v1", False),
    ("wikitext2", "wikitext-2-v1", True),
]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def repository(tmp_path, raw_lines, token_lines) -> Path:
    """WikiText as the hub holds it; the train split in two shards."""
    root = tmp_path / "repository"
    for _, config, words in CONFIGS:
        (root / config).mkdir(parents=True)
        for split, file_split in FILE_SPLIT.items():
            lines = (token_lines if words else raw_lines)[file_split]
            rows, parts = ["" if line == " \n" else line for line in lines], 2 if split == "train" else 1
            for part in range(parts):
                share = rows[len(rows) * part // parts : len(rows) * (part + 1) // parts]
                pq.write_table(pa.table({"text": share}), root / config / f"{split}-{part:05}-of-{parts:05}.parquet")
    (root / "README.md").write_text("---\n---\n")
    return root


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Let the hub's client ask at an address, with a cache of its own."""

    def call(url: str, cache: str = "hub-cache") -> Path:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / cache))
        return tmp_path / cache

    return call


@pytest.fixture
def hub(repository, use):
    with HubServer({"datasets/Salesforce/wikitext": repository}) as server:
        use(server.url)
        yield server
    huggingface_hub.close_session()


@pytest.fixture
def impatient(monkeypatch):
    """The client's waits, at a hundredth of their length."""
    monkeypatch.setattr("alibi.data.hub.SILENT_SECONDS", 0.05)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 100))


def lines_of(name="wikitext2", split="train", words=False) -> list[str]:
    return [line for line, _ in open_text(DataConfig(name), split, words).lines()]


@pytest.mark.parametrize(("name", "config", "words"), CONFIGS)
def test_text_is_that_of_the_classic_files_and_there_again_without_a_network(
    name, config, words, hub, use, corpus, cache, raw_lines, token_lines
):
    texts = {split: open_text(DataConfig(name), split, words) for split in FILE_SPLIT}
    for split, text in texts.items():
        classic = open_text(DataConfig(name, str(corpus)), split, words)
        assert (text.sha256, text.form) == (classic.sha256, classic.form)
    assert all(f"/{config}/" in line for line in hub.asked if "/resolve/" in line), "no more than is needed"
    tokenizer = prepare_tokenizer(TokenizerConfig("word" if words else "byte"), texts["train"], cache, quiet=True)
    before = prepare_tokens(texts["test"], tokenizer, cache, quiet=True)
    use(NOWHERE)
    assert lines_of(name, "validation", words) == (token_lines if words else raw_lines)["valid"]
    again = prepare_tokens(open_text(DataConfig(name), "test", words), tokenizer, cache, quiet=True)
    assert again.text == before.text


def test_a_run_knows_its_own_text_of_every_split(hub, cache):
    config = RunConfig(data=DataConfig("wikitext2"), tokenizer=TokenizerConfig("byte"))
    config.paths.cache = str(cache)
    texts = prepare_data(config, ALONE)
    assert texts.sha256 == {split: open_text(DataConfig("wikitext2"), split, False).sha256 for split in FILE_SPLIT}


def test_the_real_text_has_the_published_counts(wikitext, tmp_path, use):
    root = tmp_path / "real"
    (root / "wikitext-2-raw-v1").mkdir(parents=True)
    for split in FILE_SPLIT:
        source = wikitext / f"wiki.{'valid' if split == 'train' else FILE_SPLIT[split]}.raw"
        rows = ["" if line == " " else f"{line}\n" for line in source.read_text(encoding="utf-8").split("\n")[:-1]]
        path = root / "wikitext-2-raw-v1" / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.table({"text": rows}), path)
    with HubServer({"datasets/Salesforce/wikitext": root}) as server:
        use(server.url)
        text = open_text(DataConfig("wikitext2"), "validation", False)
        lines = list(text.lines())
    huggingface_hub.close_session()
    assert (len(lines), sum(begins for _, begins in lines)) == (3760, 60)
    assert sum(len(line.split()) + 1 for line, _ in lines) == 217_646


@pytest.mark.parametrize("fault", ["truncate", "stall", 429, 408])
def test_what_passes_is_got_over(fault, hub, impatient, raw_lines):
    hub.fail(fault, r"GET .*stored", times=1)
    assert lines_of() == raw_lines["train"]
    assert hub.left == 0


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (500, ""), (401, ""), (403, ""), (404, ""), ("reset", ""), ("stall", "/api/"), ("stall", "HEAD"),
        ("stall", "stored"), (500, "tree"), (500, "HEAD"), (403, "stored"), ("truncate", "stored"), ("reset", "stored"),
    ],
)  # fmt: skip
def test_what_stays_is_one_message_in_bounded_time_and_the_cache_is_whole(fault, match, hub, impatient, raw_lines):
    hub.fail(fault, match)
    began = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        lines_of()
    assert time.monotonic() - began < 3, "of 300 s at the client's own pace"
    told = str(caught.value)
    assert "the hub did not give Salesforce/wikitext" in told
    assert "data.path" in told
    assert "data=stdlib" in told
    assert "\n" not in told
    assert SIGNATURE not in told
    hub.fail(None)
    assert lines_of() == raw_lines["train"]
    hub.fail(fault, match)
    assert lines_of() == raw_lines["train"], "what is there needs no hub"


def test_waits_have_limits_of_their_own(hub, monkeypatch):
    given = []
    monkeypatch.setattr("alibi.data.hub._limited", lambda request: given.append(request.extensions["timeout"]))
    lines_of()
    assert {"connect": None, "read": None, "write": None, "pool": None} in given, "the client would wait for ever"
    monkeypatch.undo()
    from alibi.data import hub as ours

    request = type("Request", (), {"extensions": {"timeout": {"connect": None, "read": 60, "write": 1}}})
    ours._limited(request)
    assert request.extensions["timeout"] == {"connect": 4, "read": 5, "write": 5, "pool": 5}


def test_a_damaged_download_is_named_with_what_to_remove(hub, raw_lines):
    hub.fail("damage", "stored")
    for fault in (None, None):
        with pytest.raises(ValueError, match=r"train-0000.-of-00002\.parquet is damaged.*HF_HOME") as caught:
            lines_of()
        hub.fail(fault)
    folder = Path(str(caught.value).partition("Remove ")[2].partition(" (in")[0])
    assert folder.name == "datasets--Salesforce--wikitext"
    shutil.rmtree(folder)
    assert lines_of() == raw_lines["train"]


def test_a_shard_that_the_hub_lacks_is_no_short_text(hub, repository):
    (repository / "wikitext-2-raw-v1" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of the 2 shards of train: 00001"):
        lines_of()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_not_the_hubs_fault(code, command, hub, monkeypatch):
    def refused(*_, **__):
        try:
            raise OSError(code, "refused")
        except OSError as error:
            raise RuntimeError("Data processing error") from error

    monkeypatch.setattr("huggingface_hub.file_download.http_get", refused)
    exit_code, printed = command("train", "size=tiny", "data=wikitext2", "tracking.wandb=disabled", "device=cpu")
    assert (exit_code, "Traceback" in printed, "the hub did not" in printed) == (1, False, False)
    assert constants.HF_HUB_CACHE in printed
    assert "HF_HOME" in printed


def test_a_firewall_is_not_a_disk(hub, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", refused)
    with pytest.raises(ConnectionError, match="Operation not permitted"):
        lines_of()


def test_requests_are_not_logged(hub, caplog):
    caplog.set_level(logging.INFO)
    lines_of()
    assert not [record for record in caplog.records if "http" in record.getMessage()]


def test_without_a_network_training_says_what_to_do_at_once(command, use):
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        use(f"http://127.0.0.1:{free.getsockname()[1]}")  # nobody listens
        began = time.monotonic()
        code, printed = command("train", "model=alibi", "tracking.wandb=disabled", "device=cpu")
    huggingface_hub.close_session()
    assert time.monotonic() - began < 5
    assert (code, "Traceback" in printed) == (1, False)
    for remedy in ("data=stdlib", "data.path", "Salesforce/wikitext"):
        assert remedy in printed


@pytest.fixture
def guest_hub(tmp_path, use, raw_lines):
    from guests import CONFIGS, make_tokenizer, save_guest

    folder = save_guest(tmp_path / "model", CONFIGS["gpt2"], make_tokenizer(raw_lines["train"]))
    with HubServer({"models/someone/gpt": folder}) as server:
        use(server.url)
        yield server
    huggingface_hub.close_session()


def guest_nats(tmp_path, corpus, cache, name="hf:someone/gpt") -> float:
    from guests import evaluated

    text = OtherText("wikitext2", str(corpus))
    [result] = evaluated(name, tmp_path / "outputs", cache, text, lengths=[16], max_tokens=200)
    return result.rows[16]["nll_nats"]


def test_a_guest_of_the_hub_is_the_one_in_its_folder_and_there_again_without_a_network(
    guest_hub, tmp_path, corpus, cache, use
):
    nats = guest_nats(tmp_path, corpus, cache)
    assert nats == guest_nats(tmp_path, corpus, cache, f"hf:{tmp_path / 'model'}")
    use(NOWHERE)
    assert guest_nats(tmp_path, corpus, cache) == nats


def test_a_tokenizer_of_the_hub_is_the_one_in_its_folder_and_there_again_without_a_network(guest_hub, tmp_path, use):
    tokenizer = load_pretrained("someone/gpt", None)
    assert tokenizer.sha256 == load_pretrained(str(tmp_path / "model"), None).sha256
    assert not any("safetensors" in line for line in guest_hub.asked if "/resolve/" in line), "no weights"
    use(NOWHERE)
    assert load_pretrained("someone/gpt", None).sha256 == tokenizer.sha256
    with pytest.raises(ConnectionError, match="the hub did not give"):
        load_pretrained("no/such", None)


def test_a_guest_that_the_hub_does_not_give_is_one_message(guest_hub, tmp_path, corpus, cache, impatient, use):
    with pytest.raises(ConnectionError, match=r"the hub did not give hf:no/such .*401.*runs=hf:FOLDER"):
        guest_nats(tmp_path, corpus, cache, "hf:no/such")
    for fault, match in ((500, ""), ("truncate", "stored"), ("stall", "tokenizer.json")):
        use(guest_hub.url, f"{fault}-cache")
        guest_hub.fail(fault, match)
        with pytest.raises(ConnectionError, match="the hub did not give hf:someone/gpt"):
            guest_nats(tmp_path, corpus, cache)
    use(guest_hub.url, "damaged-cache")
    guest_hub.fail("damage", "stored")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged.*models--someone--gpt .*HF_HOME"):
        guest_nats(tmp_path, corpus, cache)
