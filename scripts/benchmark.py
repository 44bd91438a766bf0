"""Speed and memory of every position method, beside other projects' models and the machine's own limit.

    python scripts/benchmark.py [--out outputs/benchmark] [--sections train attention evaluation] [--run RUN]

Three sections, each at every length and precision: the training step (forward, backward, clip, AdamW),
the attention of one block (forward and backward), and evaluation (nats of a window). Cases take turns,
one call each in every round, the order reversed in every second one, so that a noisy machine disturbs
all alike; a ratio is the median of the ratios within rounds. Memory is the growth of the resident peak
of a process of its own. Writes benchmark.json, benchmark.md and figures, each with the processor's name.
`--run` evaluates ALiBi with trained weights on the run's own text, as keys can be left out only as far as
the weights allow; "(all keys)" is the same model with nothing left out.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarking.cases import CPU, DENSE, LIMIT, SECTIONS, TORCH, Shape, build_model, known_names, text_of
from benchmarking.draw import draw, figure_paths, table

from alibi.config.known import choices
from alibi.environment import environment, peak_memory_mib
from alibi.files import write_atomically
from alibi.paths import expanded, user_path
from alibi.runs import load_model
from alibi.script import script, script_parser

# The method whose far keys can be left out, and whose weights `--run` gives.
TRAINED = "alibi"
PRECISIONS = ["fp32", "bf16"]


def seconds_of(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run_of(name: str, options: argparse.Namespace) -> dict:
    """The trained weights are ALiBi's: what evaluation builds a case from, besides its name and shape."""
    trained = options.run is not None and name.removesuffix(DENSE) == TRAINED
    return {"run": options.run} if trained else {}


def measure(section: str, names: list[str], shape: Shape, options: argparse.Namespace) -> list[dict]:
    """One row a case."""
    extra = {name: run_of(name, options) if section == "evaluation" else {} for name in names}
    works = {name: SECTIONS[section](name, shape, **extra[name]) for name in names}
    if section != "evaluation" or shape.length <= 8192:  # longer passes need no warm-up
        for work in works.values():
            work()
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            times[name].append(seconds_of(works[name]))
        print(f"  round {number + 1} of {options.rounds}", flush=True)
    rows = []
    for name in names:
        row = {
            "section": section,
            "name": name,
            "length": shape.length,
            "precision": shape.precision,
            "tokens": shape.step_tokens,
            "seconds": times[name],
            "tokens_per_sec": shape.step_tokens / statistics.median(times[name]),
        }
        for against in ("none", LIMIT, TORCH):
            if against in times and against != name:
                ratios = [mine / other for mine, other in zip(times[name], times[against], strict=True)]
                row.setdefault("time_over", {})[against] = statistics.median(ratios)
        if options.memory and name not in (LIMIT, TORCH):
            row["peak_memory_mib"] = peak_of(section, name, shape, extra[name])
        rows.append(row)
    return rows


def peak_of(section: str, name: str, shape: Shape, extra: dict) -> float:
    """MiB by which building a case and calling it raise the resident peak of a fresh process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarking.cases", "benchmarking.draw"])
    with context.Pool(1) as pool:
        return pool.apply(_peak_here, (section, name, shape, extra))


def _peak_here(section: str, name: str, shape: Shape, extra: dict) -> float:
    before = peak_memory_mib(CPU)
    work = SECTIONS[section](name, shape, **extra)
    work()
    if section == "train":  # the optimizer's state is there from the second step on
        work()
    return peak_memory_mib(CPU) - before


def names_for(section: str, length: int, options: argparse.Namespace) -> list[str]:
    """Methods first; peers where they are asked for; what everything is held against last."""
    names = [*options.methods]
    if TRAINED in names and length >= 1024:
        names.append(TRAINED + DENSE)
    if section != "attention" and length <= options.peers_up_to:
        names += options.peers
    return names + {"train": [LIMIT], "attention": [TORCH], "evaluation": []}[section]


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    default = Path("outputs/benchmark")
    parser.add_argument(
        "--out", type=user_path, default=default, help=f"folder for JSON, table and figures ({default})"
    )
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--methods", nargs="+", default=choices("model"), help="of configs/model (all)")
    parser.add_argument("--peers", nargs="*", default=[], help='names from scripts/benchmarking/peers.py, or "all"')
    parser.add_argument("--peers-up-to", type=int, default=2048, help="longest length for peers (2048)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", type=expanded, help="a trained ALiBi run for the section evaluation")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    for name, value in (("layers", 6), ("d-model", 256), ("heads", 8), ("vocab-size", 8192), ("tokens", 4096)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    return parser.parse_args()


def check(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: an option out of range, or an unknown name.
    """
    for name in ("rounds", "layers", "d_model", "heads", "vocab_size", "tokens"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} ({getattr(options, name)}) must be at least 1.")
    if min(options.lengths) < 1:
        raise ValueError(f"--lengths has {min(options.lengths)}; a length must be at least 1.")
    peers = [name for name in known_names() if name not in (*choices("model"), LIMIT, TORCH)]
    options.peers = peers if options.peers == ["all"] else options.peers
    for option, given, known in (
        ("--methods", options.methods, choices("model")),
        ("--peers", options.peers, peers),
    ):
        for name in given:
            if name not in known:
                raise ValueError(f"{option} has {name!r}, which is none of: {', '.join(known)}.")
            if given.count(name) > 1:
                raise ValueError(f"{option} has {name!r} more than once; once is enough.")
    if options.d_model % options.heads:
        raise ValueError(f"--heads ({options.heads}) must divide --d-model ({options.d_model}).")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out ({options.out}) is a file; name a folder.")
    if options.run:
        check_run(options)


def shape_of(options: argparse.Namespace, length: int, precision: str) -> Shape:
    sizes = options.layers, options.d_model, options.heads, options.vocab_size, options.tokens
    return Shape(*sizes, length, precision)


def check_run(options: argparse.Namespace) -> None:
    """Check that the run has the shape of the benchmark, before hours are spent.

    Raises:
        ValueError: a run that would not be used, of another method or shape, or with too short a text.
        FileNotFoundError: no such run.
    """
    if "evaluation" not in options.sections:
        raise ValueError("--run is for the section evaluation; add it to --sections, or leave --run out.")
    if TRAINED not in options.methods:
        raise ValueError(f"--run gives the weights of {TRAINED}; add it to --methods, or leave --run out.")
    longest = shape_of(options, max(options.lengths), "fp32")
    trained, plain = load_model(options.run), build_model(TRAINED, longest)
    if (method := trained.config.method) != plain.config.method:
        raise ValueError(f"--run {options.run} is of {method}; give one of {TRAINED}.")
    sizes = [
        {
            "--layers": model.config.num_layers,
            "--d-model": model.config.d_model,
            "--heads": model.config.num_heads,
            "--vocab-size": model.vocab_size,
            "d_ff": model.config.d_ff,
        }
        for model in (trained, plain)
    ]
    if differ := [
        f"{name} {size} (here {sizes[1][name]})" for name, size in sizes[0].items() if size != sizes[1][name]
    ]:
        raise ValueError(f"--run {options.run} has {', '.join(differ)}; every case must have the shape of the run.")
    text_of(options.run, longest)


def machine_of(made_with: dict) -> str:
    """What every figure of speed must state: processor, threads, torch."""
    processor = made_with["device"].removeprefix("cpu: ")
    return f"{processor}; {made_with['threads']} threads; torch {made_with['packages']['torch']}"


def main() -> None:
    options = parse()
    check(options)
    report = {"kind": "benchmark", "command": " ".join(["scripts/benchmark.py", *sys.argv[1:]]), "rows": []}
    for precision in options.precisions:
        for section in options.sections:
            for length in options.lengths:
                shape = shape_of(options, length, precision)
                print(f"{section} at {length}, {precision}", flush=True)
                report["rows"] += measure(section, names_for(section, length, options), shape, options)
                report["shape"] = {k: v for k, v in asdict(shape).items() if k not in ("length", "precision")}
                report["made_with"] = environment(CPU)
                options.out.mkdir(parents=True, exist_ok=True)
                write_atomically(options.out / "benchmark.json", json.dumps(report, indent=1) + "\n")
    machine = machine_of(report["made_with"])
    write_atomically(options.out / "benchmark.md", f"{machine}\n\n{table(report['rows'], 'pipe')}\n")
    print(machine, table(report["rows"], "simple"), sep="\n\n")
    for section, precision in itertools.product(SECTIONS, PRECISIONS):
        for path in figure_paths(options.out, section, precision):
            path.unlink(missing_ok=True)  # of an earlier benchmark in the same folder
    print(*draw(report["rows"], options.out, machine), sep="\n")


if __name__ == "__main__":
    with script():
        main()
