"""The paper's figures, as typed: tables that share a number must agree, and the order must be the paper's."""

from alibi.analysis.published import PUBLISHED, TABLE_5, TABLE_5_LENGTHS


def curve(group, method, seq_len):
    [found] = [c for c in PUBLISHED[group]["curves"] if (c["method"], c["seq_len"]) == (method, seq_len)]
    return dict(found["points"])


def test_the_tables_agree_where_they_share_a_number():
    assert curve(0, "alibi", 512)[512] == curve(2, "alibi", 512)[512] == 19.73
    assert curve(1, "alibi", 1024)[1024] == curve(2, "alibi", 1024)[1024] == 18.66
    assert curve(0, "sinusoidal", 512)[512] == curve(2, "sinusoidal", None)[512] == 20.05
    assert curve(1, "sinusoidal", 1024)[1024] == curve(2, "sinusoidal", None)[1024] == 19.34


def test_each_row_of_table_5_begins_at_its_training_length():
    for seq_len, values in TABLE_5.items():
        assert TABLE_5_LENGTHS[-len(values)] == seq_len
        assert curve(2, "alibi", seq_len)[3072] == values[-1]


def test_out_of_memory_is_no_point():
    assert max(curve(0, "t5", 512)) == 3512
    assert max(curve(0, "sinusoidal", 512)) == 15512
