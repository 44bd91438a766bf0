"""Evaluate a checkpoint on a task: its answers at each length, into result files. What a text is to perplexity, fixed
strings are here, the same for every run with the task's settings and training length."""

import time
from dataclasses import asdict, dataclass

from alibi.analysis.statistics import LEVEL, RESAMPLES, answer_intervals
from alibi.data import DataConfig
from alibi.data.tasks import HELD_OUT, Task, task_of
from alibi.environment import environment, peak_memory_mib, reset_peak_memory
from alibi.evaluation.adapted import Adapted
from alibi.evaluation.answers import Answers, answer
from alibi.evaluation.checkpoint_results import open_model
from alibi.evaluation.evaluation_settings import EvaluationSettings, in_order
from alibi.evaluation.score import fast_batch_tokens
from alibi.model import Adaptation, same_weights
from alibi.processes import ALONE, Processes
from alibi.results import SCHEMA, Measured, OpenResult, adapt_slug, protocol_name
from alibi.runs import Checkpoint, Guest

LEARNED = 0.99  # exact match at the training length
ABOUT_INTERVALS = {
    "level": LEVEL,
    "resamples": RESAMPLES,
    "method": "exact match: Wilson over strings; accuracy: bootstrap over strings, expanded percentile interval",
    "holds_for": "these weights, over strings of this kind; another seed of training moves the numbers too",
}


@dataclass(frozen=True)
class EvaluationTask:
    """
    Attributes:
        own: the task that the run was trained on, which may differ in what it is tested on.
    """

    task: Task
    split: str
    own: Task

    @property
    def title(self) -> str:
        return f"{HELD_OUT:,} strings of {self.task.name} {self.split} at each length"

    @property
    def notes(self) -> list[str]:
        return (
            [] if self.is_own else [f"this is not the run's own {self.own.name}: the result's name includes its hash"]
        )

    @property
    def is_own(self) -> bool:
        return self.task.settings == self.own.settings


def open_task(checkpoint: Checkpoint | Guest, data: DataConfig, settings: EvaluationSettings) -> EvaluationTask:
    """
    Raises:
        ValueError: settings that a task would ignore, lengths that it lacks, other symbols than the run's, a guest.
    """
    if isinstance(checkpoint, Guest):
        raise ValueError(f"{checkpoint.run.name} cannot be evaluated on {data.name}, whose symbols it does not know.")
    settings.check_task(data.name)
    trained = checkpoint.config["train"]["seq_len"]
    task, own = (task_of(data.name, of.task, trained) for of in (data, checkpoint.data_config))
    if task.symbols != own.symbols:
        raise ValueError(f"data.task ({data.task}) has other symbols than {checkpoint.run}, which knows its own alone.")
    for length in settings.lengths or []:
        task.check_length(length, "eval.lengths")
    return EvaluationTask(task, settings.split, own)


def evaluate_task(
    checkpoint: Checkpoint,
    what: EvaluationTask,
    settings: EvaluationSettings,
    precision: str,
    procs: Processes,
    adaptations: list[Adaptation | None],
) -> list[OpenResult]:
    """Answer the strings of every length of `settings` into result files, one an adaptation; the caller ends them."""
    with procs.together():
        adapted = open_model(checkpoint, settings, procs.device, precision)
    files: list[OpenResult] = []

    def open_files() -> list[set[int]]:
        for adaptation in adaptations:
            head, path = _head(adapted, what, adaptation, precision, procs), checkpoint.run / "evaluation"
            files.append(OpenResult(path / _name(checkpoint, what, head), head, lengths, None, procs.say))
            files[-1].open(settings.reuse)
        return [file.done for file in files]

    lengths, note = in_order(settings.lengths)
    if note:
        procs.say(note)
    for number, (adaptation, done) in enumerate(zip(adaptations, procs.on_main(open_files), strict=True)):
        if todo := [length for length in lengths if length not in done]:
            learned = has_learned(adapted, what, adaptation, settings, procs)
        for length in todo:
            row = task_row(adapted, what, adaptation, length, settings, procs) | {"learned": learned}
            procs.on_main(lambda number, row: files[number].add(row), number, row | adapted.in_row(adaptation, length))
    return files


def _answered(
    adapted: Adapted,
    task: Task,
    split: str,
    adaptation: Adaptation | None,
    length: int,
    settings: EvaluationSettings,
    procs: Processes,
) -> Answers:
    config = adapted.config(adaptation, length)
    model = same_weights(adapted.model, config) if adaptation else adapted.model
    batch_tokens = settings.batch_tokens or fast_batch_tokens(procs.device)
    return answer(model, task.held_out(split, length), batch_tokens, adapted.precision, procs)


def has_learned(
    adapted: Adapted,
    what: EvaluationTask,
    adaptation: Adaptation | None,
    settings: EvaluationSettings,
    procs: Processes = ALONE,
) -> bool:
    """Whether the run answers the strings of its own task at its training length."""
    found = _answered(adapted, what.own, what.split, adaptation, what.own.trained, settings, procs)
    return found.exact_match >= LEARNED


def task_row(
    adapted: Adapted,
    what: EvaluationTask,
    adaptation: Adaptation | None,
    length: int,
    settings: EvaluationSettings,
    procs: Processes = ALONE,
) -> dict:
    """The row of a result file for one length."""
    reset_peak_memory(procs.device)
    begun, strings = time.perf_counter(), what.task.held_out(what.split, length)
    found = _answered(adapted, what.task, what.split, adaptation, length, settings, procs)
    return {
        "length": length,
        "stride": length,
        "scored_tokens": found.answers,
        "nll_nats": found.nats,
        "accuracy": found.accuracy,
        "exact_match": found.exact_match,
        "strings": len(found.right_S),
        "baseline": what.task.baseline(strings),
        "interval": answer_intervals(found.right_S, found.answers_S),
        "test_sha256": strings.sha256,
        "tokens_per_sec": strings.inputs_SL.size / (time.perf_counter() - begun),
        "peak_memory_mib": max(procs.gather(peak_memory_mib(procs.device))),
        "skip_far_keys": settings.skip_far_keys,
    }


def _head(
    adapted: Adapted, what: EvaluationTask, adaptation: Adaptation | None, precision: str, procs: Processes
) -> dict:
    task, tokenizer, model = what.task, what.task.tokenizer, adapted.opened
    about = {"name": tokenizer.name, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256}
    settings = asdict(task.settings)
    data = {"name": task.name, "split": what.split, "sha256": task.identity(what.split), "task": settings}
    return {
        "schema": SCHEMA,
        "checkpoint": model.about,
        "data": data | {"form": "strings", "tokenizer": about},
        "protocol": {"name": protocol_name(None)},
        "scorer": "full",
        "precision": precision,
        "made_with": environment(procs.device) | {"processes": procs.number},
        "intervals": ABOUT_INTERVALS | {"units": HELD_OUT},
        **adapted.in_file(adaptation),
    }


def _name(checkpoint: Checkpoint, what: EvaluationTask, head: dict) -> str:
    """Of the result file."""
    adapt = adapt_slug(head["adapt"]["name"], head["adapt"]["set"]) if "adapt" in head else ""
    data = head["data"]
    measured = Measured(
        data["split"], data["sha256"], head["protocol"]["name"], head["precision"], "full", data["name"], adapt
    )
    return f"{checkpoint.path.name}-{measured.slug(what.own.identity(what.split))}.json"
