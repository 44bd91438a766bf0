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
SINUSOIDAL = [28.03, 23.81, 21.45, 20.05, 19.34, 19.05, 18.87, 18.67]

# protocol: the evaluation that the figures belong to. seq_len None: each point was trained at its own length.
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
        + [{"method": "sinusoidal", "seq_len": None, "points": list(zip(TABLE_5_LENGTHS, SINUSOIDAL, strict=True))}],
    },
    {
        "name": "Tables 13-15: sliding, stride 1",
        "protocol": "sliding",
        "curves": [
            *_extrapolation(
                512, [512, 1024, 1536, 2048, 3072],
                sinusoidal=[18.35, 204.42, 264.74, 306.19, 360.12], t5=[17.92, 18.51, 20.36, 22.62, 30.77],
                alibi=[17.98, 17.92, 18.2, 18.28, 18.3],
            ),
            *_extrapolation(1024, [1024, 1536, 2048, 3072], alibi=[17.46, 17.47, 17.62, 17.92]),
        ],
    },
]  # fmt: skip
