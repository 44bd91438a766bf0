"""Nats on disk: bound to their row, and refused when they are not its own."""

import json
import re

import numpy as np
import pytest
from result_files import as_result

from alibi.results import load_nats
from alibi.results.nats import save_nats


@pytest.fixture
def saved(tmp_path):
    """A result with nats at length 64, none at 128."""
    nats = np.random.default_rng(0).exponential(3.0, 100).astype(np.float32)
    entry = save_nats(tmp_path / "x.json", 64, nats)
    rows = [{"length": 64, "nll_nats": float(nats.sum(dtype=float)), "nats": entry}, {"length": 128, "nll_nats": 300.0}]
    return as_result(tmp_path / "x.json", {"checkpoint": {"seq_len": 64}, "rows": rows}), nats, tmp_path / entry["file"]


def test_nats_come_back_as_they_were_scored(saved):
    result, nats, path = saved
    back = load_nats(result, 64)
    assert back.dtype == np.float32
    assert (back == nats).all()
    assert back.sum(dtype=float) == pytest.approx(result.rows[64]["nll_nats"], rel=1e-12)
    assert re.fullmatch(r"x-L64-[0-9a-f]{8}\.npy", path.name)
    assert result.rows[64]["nats"]["count"] == 100


def test_an_altered_file_is_refused(saved):
    result, nats, path = saved
    nats[17] += 1e-3
    np.save(path, nats)
    with pytest.raises(ValueError, match="its sha256 is another"):
        load_nats(result, 64)


def test_the_nats_of_another_result_are_refused(saved, tmp_path):
    result, nats, path = saved
    other = save_nats(tmp_path / "y.json", 64, nats[::-1].copy())
    path.write_bytes((tmp_path / other["file"]).read_bytes())
    with pytest.raises(ValueError, match=r"not what x\.json was written with"):
        load_nats(result, 64)
    fewer = save_nats(tmp_path / "x.json", 64, nats[:50])
    row = {"length": 64, "nll_nats": 300.0, "nats": fewer}
    with pytest.raises(ValueError, match=r"float32 \(50,\), and the text 100 targets"):
        load_nats(as_result(tmp_path / "x.json", {"checkpoint": {}, "rows": [row]}), 64)


def test_what_has_no_nats_says_what_has(saved):
    result, _, path = saved
    with pytest.raises(ValueError, match=r"length 128 has no nats on disk \(lengths that have: 64\)"):
        load_nats(result, 128)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"is gone, the nats of length 64\. Evaluate again"):
        load_nats(result, 64)


def test_a_path_is_no_name_of_a_file(saved):
    result, _, _ = saved
    content = json.loads(result.content.model_dump_json(by_alias=True, exclude_unset=True))
    content["rows"][0]["nats"]["file"] = "../x.npy"
    with pytest.raises(ValueError, match="should match pattern"):
        type(result.content).model_validate(content)
