"""README and docs: what they show works as written, what they name exists, and a figure has one source."""

import importlib
import math
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from statistics import mean

import pytest
import study
import yaml
from hydra import compose, initialize_config_dir
from pages import PAGES, ROOT, blocks, commands, unsourced

import alibi
from alibi.analysis import compare_files
from alibi.analysis.judged import judged
from alibi.analysis.measures import context_use
from alibi.config import CONFIGS, evaluation_from, register, run_of
from alibi.data.tasks import Task
from alibi.training import train

README = PAGES["README.md"]


def overrides_of(words: list[str]) -> list[str]:
    """Overrides of one job: of a sweep's values the first; Hydra's own settings are the sweep's."""
    settings = [word for word in words if "=" in word and not word.startswith(("-", "hydra"))]
    return [word if re.search(r"[\[{]", word) else word.partition(",")[0] for word in settings]


@pytest.mark.parametrize("words", [words for _, words in commands()], ids=" ".join)
def test_every_command_is_one_that_there_is(words, monkeypatch, request):
    """Entries compose, scripts take the options, studies are read; what is downloaded or needs a cluster is not run."""
    name = next((word for word in words if re.fullmatch(r"[\w/]+\.(py|sh)", word)), None)
    if name is None:
        assert words[0] in ("source", "pip", "wandb", "cd") or words[0].startswith("head_node="), words
        return
    assert (ROOT / name).exists()
    arguments = words[words.index(name) + 1 :]
    if name == "train.py":
        overrides = overrides_of(arguments)
        if any(word.startswith("train.init_from=") for word in overrides):  # an origin like the one that is named
            run = request.getfixturevalue("tmp_path") / "origin"
            train(request.getfixturevalue("small_run")("rotary", max_steps=1), run)
            overrides = [f"train.init_from={run}" if "init_from=" in word else word for word in overrides]
        run_of(overrides)
    elif name == "evaluate.py":
        register()
        with initialize_config_dir(CONFIGS, version_base="1.3"):
            evaluation_from(compose("evaluate", overrides_of(arguments)))
    elif name == "scripts/study.py":
        assert study.read_study(ROOT / arguments[0]).train
    elif name.endswith(".py"):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.syspath_prepend(ROOT / "scripts")
        importlib.import_module(Path(name).stem).parse()


def test_a_command_with_a_misspelt_option_or_setting_would_be_found(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["report.py", "outputs", "--ouch", "x"])
    with pytest.raises(SystemExit):
        importlib.import_module("report").parse()
    with pytest.raises(ValueError, match=r"did you mean train\.seq_len"):
        run_of(overrides_of(shlex.split("model=alibi,rotary train.seqlen=4")))


def test_the_new_position_method_works_as_written(tmp_path, corpus, cache):
    """Added to a copy of the project as the README says, it trains and is evaluated past its length."""
    for name in ("alibi", "configs", "train.py", "evaluate.py"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path / name], check=True)
    [code] = [block for block in blocks("README.md", "python") if "class Relaxed" in block]
    (tmp_path / "alibi" / "positions" / "relaxed.py").write_text(code)
    settings, path = re.search(r"`(position: .*?)` as\s+`(configs/model/\w+\.yaml)`", README).groups()
    (tmp_path / path).write_text(settings)
    script = f"""
        import sys, train, evaluate, alibi
        assert alibi.__file__.startswith({str(tmp_path)!r}), alibi.__file__
        common = ["tracking.wandb=disabled", "device=cpu", "paths.cache={cache}"]
        sys.argv = ["train.py", "model=relaxed", "model.position.start=3", "size=tiny", "data=wikitext2",
                    "data.path={corpus}", "tokenizer=byte", "train.seq_len=32", "train.batch_tokens=64",
                    "train.max_steps=2", *common]
        train.main()
        sys.argv = ["evaluate.py", "eval.lengths=[32,300]", "eval.max_tokens=1000", *common]
        evaluate.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "position 16" in done.stdout  # two numbers for each of four heads and two layers
    assert re.search(r"^relaxed .*\*", done.stdout, re.M)


def test_the_commands_after_the_quick_start_find_its_runs(small_run, cache, tmp_path, monkeypatch, capsys):
    """Its runs lie in a folder of their own, beside the figures that it draws there; each command runs as written."""
    settings = yaml.safe_load((ROOT / "configs" / "experiment" / "quickstart.yaml").read_text())
    outputs = settings["paths"]["outputs"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIBI_CACHE", str(cache))
    config = small_run(max_steps=2)
    config.paths.outputs = outputs
    train(config, tmp_path / outputs / "alibi-tiny-stdlib-L16-seed0-1a2b3c4d")
    (tmp_path / outputs / "perplexity-drawn-by-the-quick-start.png").write_bytes(b"")
    shown = [words[1:] for _, words in commands() if any(word.startswith(outputs) for word in words)]
    shown += [words[1:] for _, words in commands() if f"runs={outputs}/latest" in words]
    assert {Path(name).stem for name, *_ in shown} == {"evaluate", "report", "generate", "precision"}
    for name, *arguments in sorted(shown):
        more = ["device=cpu", "tracking.wandb=disabled"] if name == "evaluate.py" else []
        arguments = [word.replace("L=64", "L=16") for word in arguments]  # the label of a line
        monkeypatch.setattr(sys, "argv", [str(ROOT / name), *arguments, *more])
        runpy.run_path(str(ROOT / name), run_name="__main__")
        assert capsys.readouterr().out, name
    assert (tmp_path / "outputs" / "report" / "index.html").exists()


def test_every_example_of_the_library_works(small_run, tmp_path, monkeypatch, capsys):
    train(small_run(max_steps=2), tmp_path / "outputs" / "run")
    monkeypatch.chdir(tmp_path)
    examples = blocks("docs/library.md", "python")
    assert len(examples) == 4
    names = {}
    for code in examples:
        exec(code, names)
    printed = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in printed[-2:]] == [2, 1], "three perplexities"


def anchors(text: str) -> set[str]:
    """Of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_the_index_has_every_page():
    listed = set(re.findall(r"^- \[(\w+\.md)\]\(\1\): ", PAGES["docs/README.md"], re.M))
    assert listed == {Path(page).name for page in PAGES} - {"README.md"}


def test_every_setting_that_they_name_exists():
    settings = (ROOT / "configs" / "train.yaml").read_text() + (ROOT / "configs" / "evaluate.yaml").read_text()
    named = []
    for page in PAGES.values():
        for line in re.findall(r"^\| `(?:train|eval)\.\*` \| (.*) \|$", page, re.M):
            named += re.findall(r"`([a-z_]+)`", line)
        named += re.findall(r"`(?:train|eval)\.(?!py)([a-z_]+)", page)
    assert len(named) > 40
    assert [name for name in named if not re.search(rf"^  {name}:", settings, re.M)] == []


def test_the_map_of_the_code_has_every_room_and_only_what_is_there():
    rows = [line for line in README.partition("## A map of the code")[2].splitlines() if line.startswith("| `")]
    named = {path for row in rows for path in re.findall(r"`([\w./]+)`", row) if "/" in path}
    assert all((ROOT / path).exists() for path in named)
    rooms = {f"alibi/{path.name}/" for path in (ROOT / "alibi").iterdir() if (path / "__init__.py").exists()}
    assert rooms <= named
    for row in rows:
        folders = [ROOT / path for path in re.findall(r"`(alibi/[\w/]+/)`", row)]
        for file in re.findall(r"`(\w+\.py)`", row):
            assert any((folder / file).exists() for folder in (*folders, ROOT)), file


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_a_figure_that_is_quoted_stands_in_its_source(page):
    assert unsourced(page, PAGES[page], PAGES) == []


@pytest.mark.parametrize(
    "text",
    [
        "A step takes 9,184 tokens/s with ALiBi ([docs/wikitext2.md](docs/wikitext2.md)).",
        "ALiBi is at 58.03 at 512 ([docs/wikitext2.md](docs/wikitext2.md)).",
        "ALiBi is at 58.02 at 512.",
    ],
)
def test_a_figure_of_no_source_or_with_no_link_to_it_would_be_found(text):
    assert len(unsourced("README.md", text, PAGES)) == 1
    assert unsourced("README.md", "ALiBi is at 58.02 ([study](docs/wikitext2.md)).", PAGES) == []


def perplexities(table: str) -> dict[str, list[float]]:
    """Values by run of the first table of the WikiText-2 page."""
    rows = re.findall(r"^\| \**(\w+ L=\d+(?: seed \d|, mean of 2 seeds))\** \| \**\d+\** \| (.*) \|$", table, re.M)
    return {
        name: [float(re.match(r"[\d.]+", cell.strip("* "))[0]) for cell in cells.split("|")] for name, cells in rows
    }


def test_the_wikitext2_page_agrees_with_itself():
    """Means are those of their seeds, and what the text says of 512 follows from the table."""
    page = PAGES["docs/wikitext2.md"]
    table = perplexities(page.partition("Lower is better")[0])
    assert len(table) == 21
    for name, means in table.items():
        if name.endswith("mean of 2 seeds"):
            seeds = [table[f"{name.partition(',')[0]} seed {seed}"] for seed in (0, 1)]
            assert means == pytest.approx([mean(pair) for pair in zip(*seeds, strict=True)], abs=0.0101)
    at_512 = [
        100 - 100 * table[f"alibi L=128 seed {one}"][2] / table[f"sinusoidal L=512 seed {other}"][2]
        for one in (0, 1)
        for other in (0, 1)
    ]
    assert f"is {min(at_512):.1f} to {max(at_512):.1f} % below" in page


def rows_of(section: str) -> list[list[str]]:
    """Cells of a section's tables, without code marks and intervals."""
    rows = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("|")]
    return [[re.sub(r"`| \[.*\]", "", cell).strip() for cell in row] for row in rows]


def test_the_adaptation_page_says_what_its_results_say():
    """Changes against truncation, and perplexities after training on, each the mean over the seeds in docs/results."""
    _, adapted, tuned = PAGES["docs/adaptation.md"].split("\n## What ")

    def change(ratio: float) -> str:
        return f"{ratio - 1:+.2%}".replace("%", " %").replace("-", "−")

    part = compare_files([f"{ROOT}/docs/results/adaptation/*"]).sets[0]
    written = {row[0]: row[1:] for row in rows_of(adapted)[2:]}
    lines = judged(part, "truncation")
    assert len(lines) == 11 + 10
    for one in lines:
        of_alibi = one.line.first.checkpoint.model == "alibi"
        said = written[one.line.first.content.adapt.name][2 * of_alibi :]
        assert said[:2] == [change(one.lengths[n].value) for n in (512, 2048)]
    tokens = part.first.data.tokens
    nats = {line.first.method: {n: total / tokens for n, total in line.nats().items()} for line in part.lines}
    for place, method in enumerate(("rotary", "alibi")):
        gaps = [math.exp(nats[method][n] - nats[f"{method} + truncation"][n]) for n in (512, 2048)]
        assert written["null"][2 * place :][:2] == [change(gap) for gap in gaps]
    part = compare_files([f"{ROOT}/docs/results/adaptation*/*"]).sets[0]
    means = [
        [f"{mean.mean:.2f}" for mean in (line.seed_mean(n, "perplexity") for n in line.lengths)] for line in part.lines
    ]
    for row in rows_of(tuned)[2:]:
        assert row[-5:] in means, row


def test_the_tasks_page_says_what_its_results_say():
    """How many runs of each line in docs/results/tasks learned, and the means of their exact match and accuracy."""
    *_, found = PAGES["docs/tasks.md"].partition("\n## What was found\n")
    of_tasks = [compare_files([f"{ROOT}/docs/results/tasks/*-{name}-*"]).tasks for name in Task.registry]
    parts = [part for parts in of_tasks for part in parts]
    assert len(parts) == found.count("\n### ")
    for part in parts:
        section = found.partition(f"\n### {part.title}\n")[2].partition("\n### ")[0]
        told = {row[0]: row[1:] for row in rows_of(section)[2:]}
        assert told.pop("the trivial answer") == ["", *(f"({part.baseline[n]:.3f})" for n in part.lengths)]
        assert told.keys() == {line.label for line in part.lines}
        for line in part.lines:
            means = [[line.mean(n, metric) for metric in ("exact_match", "accuracy")] for n in part.lengths]
            cells = [f"{exact:.3f} ({right:.3f})" if line.learned else "" for exact, right in means]
            assert told[line.label] == [f"{len(line.learned)} of {len(line.runs)}", *cells]


def test_the_measures_page_says_what_its_results_say():
    """Of every line in docs/results/measures: the nats of the context sample, and what content and length do."""
    *_, found = PAGES["docs/measures.md"].partition("\n## What was found\n")
    [part] = compare_files([f"{ROOT}/docs/results/measures/*"]).sets
    told, uses = {row[0]: row[1:] for row in rows_of(found)[2:]}, context_use(part)
    assert told.keys() == {use.line.label for use in uses}
    for use in uses:
        far, trained = max(use.true), use.line.first.checkpoint.seq_len
        effects = [f"{mean.value:+.3f}".replace("-", "−") for mean in (use.content[far], use.length[far])]
        nats = [f"{use.true[n].value:.3f}" for n in (trained, far)]
        assert told[use.line.label] == [str(len(use.line.runs)), *nats, *effects, str(use.used)]


def test_the_citation_has_the_fields_of_its_format_and_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "references"} <= citation.keys()
    assert all("name" in author or {"family-names", "given-names"} <= author.keys() for author in citation["authors"])
    assert "arxiv.org/abs/2108.12409" in citation["references"][0]["url"]
    assert citation["version"] == alibi.__version__


def test_every_test_that_the_faults_page_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGES["docs/faults.md"])
    assert len(named) > 40
    assert [(f, name) for f, name in named if f"def {name}(" not in (ROOT / f).read_text()] == []


def test_no_placeholder_is_left():
    assert "@" not in re.sub(r"```.*?```", "", README, flags=re.S)
