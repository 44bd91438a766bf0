"""What Press, Smith and Lewis published, for comparison of shape. Figures only, each with its table.

Source: "Train Short, Test Long", arXiv 2108.12409v2 (ICLR 2022).
"""

PAPER = "Press, Smith and Lewis, Train Short, Test Long, arXiv 2108.12409v2"
UNIT = "word_perplexity"
WARNING = (
    "Published: " + PAPER + ". Another model (247M parameters, 16 layers), another budget (about 205 epochs of "
    "WikiText-103) and a vocabulary of words: it cannot be set beside the runs of this page in level, only in shape. "
    "Its perplexities are per word, so it is drawn where the unit is the word, and nowhere else."
)
# Of every published figure below ([P] section 2, Table 6; the authors' code): what a run must share with it.
SETUP = {
    "model.num_layers": 16,
    "model.d_model": 1024,
    "model.num_heads": 8,
    "model.d_ff": 4096,
}
UPDATES, TOKENS_PER_UPDATE = 286_000, 73_728
DATA, TOKENIZER, FORM = "wikitext103", "word", "tokens"
# Words and special symbols, and padded to a multiple of 8.
VOCAB_SIZES = (267_737, 267_744)
WORDS = {"validation": 217_646, "test": 245_569}


def _extrapolation(seq_len: int, lengths: list[int], **columns: list[float | None]) -> list[dict]:
    return [
        {"method": method, "seq_len": seq_len, "points": [p for p in zip(lengths, values, strict=True) if p[1]]}
        for method, values in columns.items()
    ]


TABLE_5_LENGTHS = [64, 128, 256, 512, 1024, 1536, 2048, 3072]
TABLE_5 = {
    64: [28.46, 24.70, 22.88, 22.09, 21.73, 21.63, 21.59, 21.53],
    128: [23.98, 21.70, 20.67, 20.36, 20.29, 20.31, 20.28],
    256: [21.29, 19.89, 19.29, 19.13, 19.10, 19.03],
    512: [19.73, 18.81, 18.50, 18.48, 18.40],
    1024: [18.66, 18.20, 18.05, 17.96],
    1536: [18.12, 17.90, 17.72],
    2048: [17.91, 17.64],
    3072: [17.60],
}
# Trained at the length of evaluation.
AT_OWN_LENGTH = {
    "sinusoidal": dict(zip(TABLE_5_LENGTHS, [28.03, 23.81, 21.45, 20.05, 19.34, 19.05, 18.87, 18.67], strict=True)),
    "rotary": {512: 20.07, 1024: 19.33, 3072: 18.57},
    "t5": {512: 19.65, 1024: 18.80, 3072: 18.01},
}


def _at_3072(short: float, **long: float) -> list[dict]:
    """Tables 6 and 7, all evaluated at 3072: ALiBi trained at 512, and every method trained at 3072."""
    return [
        *_extrapolation(512, [3072], alibi=[short]),
        *_extrapolation(3072, [3072], **{m: [v] for m, v in long.items()}),
    ]


# protocol: the evaluation that the figures belong to, `stride` of its sliding kind. seq_len None: each point was
# trained at its own length.
PUBLISHED = [
    {
        "name": "Tables 2-4: four methods trained at 512",
        "protocol": "nonoverlapping",
        "curves": _extrapolation(
            512, [512, 612, 1012, 1512, 3512, 15512],
            sinusoidal=[20.05, 20.59, 43.54, 76.23, 178.97, 406.01], rotary=[20.07, 19.81, 21.37, 25.99, 35.54, 79.25],
            t5=[19.65, 19.27, 18.79, 18.91, 22.91, None], alibi=[19.73, 19.38, 18.73, 18.52, 18.40, 18.31],
        ),
    },
    {
        "name": "Tables 2-5: four methods trained at 1024 (at 1024 itself from Table 5)",
        "protocol": "nonoverlapping",
        "curves": _extrapolation(
            1024, [1024, 2024, 3024, 16024],
            sinusoidal=[19.34, 51.09, 96.46, 453.32], rotary=[19.33, 31.17, 35.67, 106.99],
            t5=[18.80, 18.34, 18.62, None], alibi=[18.66, 18.05, 17.92, 17.98],
        ),
    },
    {
        "name": "Table 5: ALiBi by training length, sinusoidal trained at each length",
        "protocol": "nonoverlapping",
        "curves": [
            {"method": "alibi", "seq_len": n, "points": list(zip(TABLE_5_LENGTHS[-len(v) :], v, strict=True))}
            for n, v in TABLE_5.items()
        ]
        + [{"method": m, "seq_len": None, "points": list(points.items())} for m, points in AT_OWN_LENGTH.items()],
    },
    {
        "name": "Tables 13-15: sliding, stride 1",
        "protocol": "sliding",
        "stride": 1,
        "curves": [
            *_extrapolation(
                512, [512, 1024, 1536, 2048, 3072],
                sinusoidal=[18.35, 204.42, 264.74, 306.19, 360.12], t5=[17.92, 18.51, 20.36, 22.62, 30.77],
                alibi=[17.98, 17.92, 18.2, 18.28, 18.3],
            ),
            *_extrapolation(1024, [1024, 1536, 2048, 3072], alibi=[17.46, 17.47, 17.62, 17.92]),
        ],
    },
    {
        "name": "Tables 2-5: four methods trained at 3072 (at 3072 itself from Table 6)",
        "protocol": "nonoverlapping",
        "curves": _extrapolation(
            3072, [3072, 6072, 16072],
            sinusoidal=[18.67, 65.01, 231.29], rotary=[18.57, 19.50, 34.51], t5=[18.01, 17.68, None],
            alibi=[17.60, 17.26, 17.22],
        ),
    },
    {
        "name": "Table 6: validation at 3072, sliding, stride 512",
        "protocol": "sliding",
        "stride": 512,
        "curves": _at_3072(18.30, sinusoidal=17.95, rotary=17.98, t5=17.37, alibi=16.97),
    },
    {
        "name": "Table 7: test at 3072, nonoverlapping",
        "protocol": "nonoverlapping",
        "split": "test",
        "curves": _at_3072(19.08, sinusoidal=19.38, rotary=19.28, t5=18.73, alibi=18.30),
    },
    {
        "name": "Table 7: test at 3072, sliding, stride 512",
        "protocol": "sliding",
        "stride": 512,
        "split": "test",
        "curves": _at_3072(19.01, sinusoidal=18.67, rotary=18.72, t5=18.12, alibi=17.66),
    },
]  # fmt: skip


def published_points(method: str, seq_len: int | None, protocol: str, split: str) -> dict[int, tuple[float, str]]:
    """What was published of a method trained at a length: (perplexity, table) by length of evaluation.

    Args:
        protocol: a result file's name for it: nonoverlapping, or stride-512.
    """
    found: dict[int, tuple[float, str]] = {}
    for group in PUBLISHED:
        name = f"stride-{group['stride']}" if "stride" in group else group["protocol"]
        if (name, group.get("split", "validation")) != (protocol, split):
            continue
        table = group["name"].partition(":")[0]
        for curve in group["curves"]:
            if curve["method"] == method and curve["seq_len"] in (seq_len, None):
                own = [p for p in curve["points"] if curve["seq_len"] == seq_len or p[0] == seq_len]
                for length, value in own:
                    found.setdefault(length, (value, table))
    return found
