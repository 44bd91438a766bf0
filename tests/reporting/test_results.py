import pytest

from alibi.reporting import load_results


def test_a_result_file_is_read(make_result):
    [result] = load_results([make_result("t5", {64: 3.5, 128: "out of memory: no"}, seed=2)])
    assert (result.method, result.seq_len, result.seed, result.step) == ("t5", 64, 2, 100)
    assert result.rows[64]["perplexity"] == 3.5
    assert result.run == "t5-L64-seed2"
    assert result.protocol == "toy-validation-nonoverlapping"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"rows": []}'])
def test_what_is_no_result_file_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is no result file"):
        load_results([tmp_path / "x.json"])


def test_another_schema_is_refused(make_result):
    with pytest.raises(ValueError, match="has schema 2; this version reads 1"):
        load_results([make_result(schema=2)])
