import re

import pytest
from comparisons import make_study

from alibi.reporting import write_paper, write_report
from alibi.reporting.report_folder import LATEX, latex, markdown
from alibi.reporting.report_tables import Table, all_tables
from alibi.reporting.words import change, change_interval, interval, number, signed

NASTY = r"<b>50 % & #1_{x} ~ ^ $ | \ [a]*"


def test_every_table_in_markdown_and_latex(small_study, tmp_path):
    write_report(small_study, tmp_path / "report")
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "| alibi L=128 seed 0 | 128 | 128.97\\*<br>127.0–131.2 |" in text
    assert "**alibi L=128, mean of 2 seeds**" in text
    assert "out of memory: tried 9 GiB" in text
    [path] = write_paper(small_study, tmp_path / "paper", [])
    text = path.read_text()
    names = set(re.findall(r"\\label\{tab:(.*?)\}", text))
    assert {"results-wikitext2-validation-nonoverlapping-perplexity", "runs"} <= names
    assert {f"{table}-wikitext2-validation-stride-16" for table in ("two-part-split", "how-far")} <= names
    assert "nan" not in text.lower().split()
    assert text.count("{") == text.count("}"), "no name here holds a brace"
    assert text.count(r"\toprule") == text.count(r"\end{table}") == len(names)


def test_figures_for_a_paper_are_of_both_widths_with_text_as_text(small_study, tmp_path):
    written = write_paper(small_study, tmp_path, ["perplexity", "split"])
    pdfs = [path for path in written if path.suffix == ".pdf"]
    stems = {path.stem.rpartition("-")[0].partition("-wikitext2")[0] for path in pdfs}
    assert stems == {"perplexity", "word-perplexity", "two-part-split"}
    for path in pdfs:
        content = path.read_bytes()
        width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", content)[1]) / 72
        assert width == pytest.approx({"column": 3.3, "page": 6.8}[path.stem.rpartition("-")[2]], abs=0.01)
        assert b"/FontFile2" in content, "TrueType fonts, so text can be searched"
        assert b"/Type3" not in content


def test_the_order_marks_what_is_not_told_apart(small_study):
    tables = {table.name: table for table in all_tables(small_study)}
    first = tables["order-wikitext2-validation-nonoverlapping-perplexity"].rows[0]
    # Equal curves at the training length; at 256 some pair of seeds overlaps, at 512 none does.
    assert [small.endswith("≈") for _, small in first[1:4]] == [True, True, False]


def test_latex_and_markdown_of_any_text():
    table = Table("t", NASTY, ["run", NASTY], [[(NASTY, ""), ("−1.0", NASTY)]], NASTY)
    escaped = r"\textless{}b\textgreater{}50 \% \& \#1\_\{x\} \textasciitilde{} \textasciicircum{} \$ \textbar{} "
    assert NASTY.translate(LATEX) == escaped + r"\textbackslash{} {[}a{]}{*}"
    assert latex(table).count(NASTY.translate(LATEX)) == 5
    assert "$-$1.0" in latex(table)
    text = markdown(table)
    assert "<b>" not in text
    assert all(line.count("|") - line.count("\\|") == 3 for line in text.splitlines() if line.startswith("|"))


def test_numbers_as_words():
    assert [number(v) for v in (1.2345, 41.3, 1234567.0)] == ["1.234", "41.30", "1.235e+06"]
    assert interval(38.8123, 40.5712) == "38.81–40.57"
    assert interval(127.0312, 131.2) == "127.0–131.2"
    assert interval(-0.02, 0.011, signed=True) == "[−0.020, +0.011]"
    assert (change(0.93), signed(-0.0006)) == ("−7.00 %", "−0.001")
    assert (change(1 - 1e-10), change(1 + 1e-10), signed(-1e-9)) == ("0.00 %", "0.00 %", "0.000"), "no sign of rounding"
    assert (change(50.0), change_interval(48.0, 52.0)) == ("×50", "[×48, ×52]")
    assert change_interval(0.92, 1.01) == "[−8.0, +1.0] %"
    assert interval(3.0, 3.0) == "3.000–3.000"


def test_one_run_alone_has_its_tables(tmp_path):
    comparison = make_study(tmp_path / "runs", ("none",), seeds=(3,), strides=(None,))
    names = {table.name for table in all_tables(comparison)}
    assert not any(name.startswith("differences") for name in names), "nothing to compare"
    assert "results-wikitext2-validation-nonoverlapping-bits-per-byte" in names
