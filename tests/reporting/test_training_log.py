import json

from alibi.reporting.training_log import read_training, smooth


def test_curves_of_a_run(tmp_path):
    rows = [{"step": i, "tokens": 10 * i, "train/loss": 5.0 - i / 100} for i in range(1, 101)]
    rows[49]["val/loss"] = 4.0
    for i, speed in enumerate((900.0, 100.0, 800.0)):
        rows[i] |= {"perf/tokens_per_sec": speed, "perf/max_memory_mib": speed / 2}
    text = "\n".join(json.dumps(row) for row in rows)
    # A resumed run wrote step 100 again; a kill cut the last line; NaN and lines of another kind are no points.
    again = {"step": 100, "tokens": 1000, "train/loss": 3.5}
    broken = (
        '{"tokens": 1, "train/loss": NaN}\n[1]\n{"train/loss": 9.0}\n{"tokens": 5, "train/loss": "9"}\n{"step": 101'
    )
    (tmp_path / "metrics.jsonl").write_text(f"{text}\n{json.dumps(again)}\n{broken}")
    curves = read_training(tmp_path)
    assert len(curves.train) == 100
    assert curves.train[-1] == (1000, 3.5)
    assert curves.val == [(500, 4.0)]
    assert (curves.tokens_per_sec, curves.memory_mib) == (800.0, 450.0), "median and peak"


def test_without_a_file_or_a_number_there_are_no_curves(tmp_path):
    assert read_training(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert read_training(tmp_path) is None


def test_smoothing_keeps_means():
    curve = [(float(i), float(i % 2)) for i in range(1000)]
    smoothed = smooth(curve)
    assert len(smoothed) == 100
    assert all(y == 0.5 for _, y in smoothed)
    assert len(smooth(curve, 30)) <= 30
    assert smooth([], 30) == []
