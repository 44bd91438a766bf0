"""Evaluate a checkpoint: perplexity at each length and stride, into result files.

Everything is rebuilt from the checkpoint; only the text may be another one.
"""

import itertools
from functools import partial

import torch

from alibi.analysis import ABOUT_INTERVALS
from alibi.analysis.change import add_changes
from alibi.analysis.curves import how_far
from alibi.data import TokenFile
from alibi.environment import environment
from alibi.evaluation.adapted import Adapted, fitting
from alibi.evaluation.evaluation_settings import EvaluationSettings, in_order
from alibi.evaluation.evaluation_text import EvaluationText
from alibi.evaluation.measures.measures import Measures
from alibi.evaluation.score import (
    cached_scorer,
    expected_seconds,
    fast_batch_tokens,
    model_scorer,
    score_length,
    warm_up,
)
from alibi.model import Adaptation, LanguageModel
from alibi.processes import ALONE, Processes, duration
from alibi.results import SCHEMA, Measured, OpenResult, adapt_slug, protocol_name
from alibi.runs import Checkpoint, Guest, OpenModel, weight_settings


def evaluate_checkpoint(
    checkpoint: Checkpoint | Guest,
    text: EvaluationText,
    settings: EvaluationSettings,
    precision: str,
    procs: Processes = ALONE,
    adaptations: list[Adaptation | None] | None = None,
) -> list[OpenResult]:
    """Score every length of `settings` into result files, one a stride and adaptation; the caller ends them.

    A length that cannot be done is a row with its reason, and the others go on. Of several processes each
    scores its share, and only the main one writes, prints and has the files.
    """
    tokens, device = text.tokens, procs.device
    adaptations = fitting(checkpoint, settings) if adaptations is None else adaptations
    lengths = _lengths(settings, len(tokens), procs)
    files: list[OpenResult] = []
    with procs.together():
        adapted = open_model(checkpoint, settings, device, precision)
    model, kinds = adapted.opened, list(itertools.product(adaptations, settings.strides))
    measures = Measures(text, adapted, settings)

    def open_files() -> list[list[int]]:
        """Before anything is scored, so that a file that cannot be read is reported first; returns missing lengths."""
        made_with = environment(device) | {"processes": procs.number}
        reach = partial(how_far, within_percent=settings.within_percent)
        for adaptation, stride in kinds:
            how = protocol_name(stride), precision, "cached" if settings.cached else "full", tokens.text["name"]
            slug = adapt_slug(adaptation.name, adaptation.settings) if adaptation else ""
            measured = Measured(tokens.text["split"], text.sha256, *how, slug)
            name = f"{checkpoint.path.name}-{measured.slug(text.own_sha256)}.json"
            path = checkpoint.run / "evaluation" / name
            head = result_head(model, text, measured, made_with) | adapted.in_file(adaptation)
            files.append(OpenResult(path, head, lengths, reach, procs.say, measures.of_rows, measures.of_files))
            files[-1].open(settings.reuse)
        return [[n for n in lengths if n not in file.done] for file in files]

    todo = [
        (number, length, *kinds[number])
        for number, missing in enumerate(procs.on_main(open_files))
        for length in missing
    ]
    batch_tokens = settings.batch_tokens or fast_batch_tokens(device, settings.cached)
    if todo and not model.why_not(min(lengths[0], len(tokens))):
        warm_up(tokens, lengths[0], model.nats, device, batch_tokens)
    say_how_long([(length, stride) for _, length, _, stride in todo if stride], tokens, model, batch_tokens, procs)
    for number, length, adaptation, stride in todo:
        row = _scored_row(measures, adaptation, length, stride or length, batch_tokens, procs)
        procs.on_main(lambda number, row: files[number].add(row), number, row)
    for adaptation in adaptations:
        places = [number for number, (own, _) in enumerate(kinds) if own == adaptation]
        if procs.on_main(lambda own: any(files[n].lacks_measures for n in own), places):
            procs.on_main(_add_head, files, places, measures.measure(adaptation, batch_tokens, procs))
        procs.on_main(lambda own: add_changes([files[n].path for n in own], procs.say), places)
    return files


def _lengths(settings: EvaluationSettings, tokens: int, procs: Processes) -> list[int]:
    lengths, note = in_order(settings.lengths)
    if note:
        procs.say(note)
    for length in lengths:
        if length > tokens:
            procs.say(f"length {length} is above the {tokens} tokens of the split: evaluated as one window")
    return lengths


def _scored_row(
    measures: Measures,
    adaptation: Adaptation | None,
    length: int,
    stride: int,
    batch_tokens: int,
    procs: Processes,
) -> dict:
    """A row; why a length could not be scored is said."""
    adapted, text = measures.adapted, measures.text
    if reason := adapted.opened.why_not(min(length, len(text.tokens))):
        row = {"length": length, "stride": stride, "error": reason}
    else:
        if adaptation and adapted.settings.cached:
            procs.say(adapted.in_words(adaptation, length))
        how = adapted.scorer(adaptation, length), batch_tokens, procs, measures.sums()
        row = score_length(text, length, stride, *how)
    if error := row.get("error"):
        procs.say(f"length {length}: {error}")
    elif adapted.model is not None:
        row["skip_far_keys"] = adapted.settings.skip_far_keys
    return row | adapted.in_row(adaptation, length)


def _add_head(files: list[OpenResult], places: list[int], entries: dict) -> None:
    for place in places:
        files[place].add_head(entries)


def say_how_long(
    sliding: list[tuple[int, int]], tokens: TokenFile, model: OpenModel, batch_tokens: int, procs: Processes
) -> None:
    """Say how long these lengths and strides will take; nonoverlapping evaluation is quick."""
    possible = [one for one in sliding if not model.why_not(min(one[0], len(tokens)))]
    seconds = sum(expected_seconds(tokens, *one, model.nats, procs.device, batch_tokens) for one in possible)
    if possible:
        procs.say(f"sliding: about {duration(seconds / procs.number)} for {len(possible)} pairs of length and stride")


def open_model(
    checkpoint: Checkpoint | Guest, settings: EvaluationSettings, device: torch.device, precision: str
) -> Adapted:
    """A checkpoint's model or a guest, ready to be scored."""
    if isinstance(checkpoint, Guest):
        return Adapted(checkpoint.open(device, precision), settings, precision)
    model = checkpoint.load_model(device)
    model.transformer.skip_far_keys = settings.skip_far_keys
    scorer = cached_scorer(model, precision) if settings.cached else model_scorer(model, precision)
    return Adapted(OpenModel(scorer, checkpoint_head(checkpoint, model)), settings, precision, model)


def checkpoint_head(checkpoint: Checkpoint, model: LanguageModel) -> dict:
    """What a result file says about a run's weights."""
    config, count = checkpoint.config, model.count_parameters()
    train = config["train"]
    trained_tokens = checkpoint.step * train["batch_tokens"]
    return {
        "path": _shown(checkpoint.path.relative_to(checkpoint.run.parent).as_posix()),  # a run folder may be moved
        "sha256": checkpoint.sha256,
        "step": checkpoint.step,
        "model": model.config.method,
        "seq_len": train["seq_len"],
        "seed": config["seed"],
        "parameters": count.total,
        "parameters_in": {"position": count.position, "embedding": count.embedding, "rest": count.rest},
        "training": {
            "text_sha256": checkpoint.texts["train"],
            "tokens": trained_tokens,
            # Backward costs twice the forward pass.
            "flops": 3 * trained_tokens * model.flops_per_token(train["seq_len"]),
        },
        **({"origin": {name: _shown(value) for name, value in of.items()}} if (of := checkpoint.origin) else {}),
        "run": _shown(checkpoint.run.name),
        "settings": {name: _shown(value) for name, value in weight_settings(config).items()},
    }


def _shown(value: object) -> object:
    """A text as JSON can hold it: bytes of a name that are not UTF-8 become escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def result_head(model: OpenModel, text: EvaluationText, measured: Measured, made_with: dict) -> dict:
    """What a result file says about weights, text and protocol."""
    tokens, groups = text.tokens, text.groups
    return {
        "schema": SCHEMA,
        "checkpoint": model.about,
        "data": {
            **tokens.text,
            "documents": len(tokens.document_lines()),
            "documents_in_text": text.documents_in_text,
            **({"largest_document": tokens.largest_document()} if text.documents_in_text else {}),
            "tokens": len(tokens),
            "words": tokens.num_words,
            "bytes": tokens.num_bytes,
            "uncovered_bytes": text.uncovered_bytes,
            "sha256": measured.sha256,
            "tokenizer": tokens.tokenizer,
            "tokens_sha256": tokens.ids_sha256(),
        },
        "protocol": {"name": measured.protocol, "first_input": model.first_input},
        "scorer": measured.scorer,
        "precision": measured.precision,
        "made_with": made_with | {"packages": made_with["packages"] | model.packages},
        "groups": {"kind": groups.kind} | dict(zip(("tokens", "words", "bytes"), groups.sizes.T.tolist(), strict=True)),
        "intervals": ABOUT_INTERVALS | {"units": len(groups.sizes)},
    }
