"""The paper's numbers as typed in, and what is said of a run whose setup differs from theirs."""

import pytest

from alibi.analysis.published import published_points, published_rows


def values(**wanted):
    """{evaluated_at: perplexity} of the rows with the given columns."""
    rows = [row for row in published_rows() if all(row[name] == str(value) for name, value in wanted.items())]
    return {int(row["evaluated_at"]): float(row["perplexity"]) for row in rows}


def test_tables_that_share_a_number_agree():
    seen = {}
    for row in published_rows():
        key = tuple(row[name] for name in ("protocol", "split", "method", "trained_at", "evaluated_at"))
        assert seen.setdefault(key, row["perplexity"]) == row["perplexity"]
    assert len(published_rows()) == 133
    assert len(seen) == 121


def test_numbers_of_the_paper():
    assert values(table="Tables 2-4", method="alibi") == {
        512: 19.73, 612: 19.38, 1012: 18.73, 1512: 18.52, 3512: 18.40, 15512: 18.31,
    }  # fmt: skip
    assert values(table="Table 5", method="alibi", trained_at=64)[3072] == 21.53
    assert values(table="Tables 2-5", method="rotary", trained_at=1024)[16024] == 106.99
    assert values(table="Tables 13-15", method="sinusoidal")[3072] == 360.12
    assert max(values(table="Tables 2-4", method="t5")) == 3512, "out of memory is no number"


def test_each_row_of_table_5_begins_at_its_training_length():
    for row in published_rows():
        if row["table"] == "Table 5":
            assert int(row["evaluated_at"]) >= int(row["trained_at"])
            assert row["trained_at"] == row["evaluated_at"] or row["method"] == "alibi"


@pytest.mark.parametrize(
    ("wanted", "points"),
    [
        (("sinusoidal", 1536, "nonoverlapping", "validation"), {1536: (19.05, "Table 5")}),
        (("rotary", 3072, "stride-512", "test"), {3072: (18.72, "Table 7")}),
        (("alibi", 512, "nonoverlapping", "test"), {3072: (19.08, "Table 7")}),
        (("alibi", None, "nonoverlapping", "validation"), {}),
    ],
)
def test_points_are_those_of_one_method_training_length_protocol_and_split(wanted, points):
    assert published_points(*wanted) == points


def test_a_number_is_taken_from_the_first_table_that_has_it():
    points = published_points("alibi", 512, "nonoverlapping", "validation")
    assert points[512] == (19.73, "Tables 2-4")
    assert points[3072] == (18.40, "Table 5")
    assert published_points("t5", 3072, "nonoverlapping", "validation")[6072] == (17.68, "Tables 2-5")
