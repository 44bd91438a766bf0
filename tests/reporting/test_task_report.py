"""Tasks in a report: their tables and charts, as files and on the page, which is opened in a browser too."""

import re

import pytest
from comparisons import compared
from studies import make_file
from task_files import GUESSES, KNOWS, LEARNS, task_file
from test_report import own_part, page_json

from alibi.reporting import write_paper, write_report
from alibi.reporting.matplotlib_figures import write_figure
from alibi.reporting.page import render_page
from alibi.reporting.sentences import sentence_table
from alibi.reporting.table import EMPTY
from alibi.reporting.task_charts import learning_chart, tasks_chart
from alibi.reporting.task_tables import task_tables

ALIBI, NONE, ROTARY = "alibi L=16", "none L=16", "rotary L=16"
SHORT = "mqar: 64, anywhere, growing"
TITLE = "mqar test: keys 64, layout anywhere, load growing, trained at 16"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two of three runs of alibi learned, one of two of rotary, and neither of none."""
    root, alibi = tmp_path_factory.mktemp("tasks"), ((1.0, 0.5, 0.25), GUESSES, (1.0, 1.0, 0.5))
    exacts = {"alibi": alibi, "rotary": (GUESSES, KNOWS), "none": (GUESSES, GUESSES)}
    return [
        task_file(root, exact, method, seed, tokens=(1 + seed) * 1_000_000)
        for method, own in exacts.items()
        for seed, exact in enumerate(own)
    ]


@pytest.fixture(scope="module")
def tasks(paths):
    return compared(paths)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    return [make_file(root, method, 0, lengths=(128, 256)) for method in ("alibi", "t5")]


def test_a_row_says_how_many_learned_and_shows_only_those(tasks):
    exact, accuracy = task_tables(tasks)
    assert (exact.title, exact.name) == (f"Exact match, {TITLE}", "task-mqar-test-aaaaaaaa-exact-match")
    assert accuracy.title == f"Accuracy of answers, {TITLE}"
    assert exact.header == accuracy.header == ["line", "on tokens", "learned", "16*", "32", "64"]
    three, one, nobody = exact.rows
    assert three[:3] == [(ALIBI, ""), ("1.0M–3.0M", ""), ("2 of 3", "")]
    assert three[3:] == [("1.000", "1.000–1.000"), ("0.750", "0.500–1.000"), ("0.375", "0.250–0.500")]
    assert one[:3] == [(ROTARY, ""), ("1.0M–2.0M", ""), ("1 of 2", "")]
    assert one[3:] == [("1.000", "0.970–1.000"), ("0.750", "0.720–0.770"), ("0.250", "0.220–0.270")]
    assert nobody == [(NONE, ""), ("1.0M–2.0M", ""), ("0 of 2", ""), EMPTY, EMPTY, EMPTY]
    assert accuracy.rows[0][4] == ("0.875", "0.750–1.000")


def test_a_sentence_says_how_many_learned_and_what_those_answer(tasks):
    said = {method: text for (method, _), (text, _) in sentence_table(tasks).rows}
    of = "Trained on mqar, exact match (accuracy) by length: keys 64, layout anywhere, load growing: "
    assert said["alibi"] == of + (
        "2 of 3 runs learned it in 1.0M–3.0M tokens, 1.000 (1.000) at 16, 0.750 (0.875) at 32, 0.375 (0.688) at 64."
    )
    assert said["none"] == f"{of}0 of 2 runs learned it in 1.0M–2.0M tokens."


def test_the_trivial_answer_stands_under_accuracy_alone(tasks):
    exact, accuracy = task_tables(tasks)
    assert len(exact.rows) == 3
    trivial = [(text, "") for text in ("the trivial answer", "", "", "0.500", "0.250", "0.125")]
    assert accuracy.rows[3:] == [trivial]


def test_nobody_of_three_learned_and_a_length_that_failed(tmp_path):
    exacts = [(0.5, 0.25, "out of memory")] * 3
    exact, accuracy = task_tables(compared([task_file(tmp_path, e, seed=s) for s, e in enumerate(exacts)]))
    assert exact.rows[0][2:] == [("0 of 3", ""), EMPTY, EMPTY, EMPTY]
    assert accuracy.rows[1][3:] == [("0.500", ""), ("0.250", ""), EMPTY]


def test_texts_have_no_tables_and_no_charts_of_tasks(texts):
    of_texts = compared(texts)
    assert task_tables(of_texts) == []
    assert tasks_chart(of_texts).panels == learning_chart(of_texts).panels == []


def test_curves_are_of_the_runs_that_learned_and_of_their_mean(tasks):
    exact, accuracy = tasks_chart(tasks).panels
    drawn = [(series.name, series.kind) for series in exact.series]
    seeds = [("alibi L=16 seed 0", "member"), ("alibi L=16 seed 2", "member")]
    assert drawn == [*seeds, ("alibi L=16, mean of 2 seeds", "main"), ("rotary L=16 seed 1", "main")]
    mean, alone = exact.series[2:]
    assert mean.runs == ("alibi L=16 seed 0", "alibi L=16 seed 2"), "hidden unless both are shown"
    assert [tuple(point) for point in mean.points] == [(16, 1.0, None), (32, 0.75, None), (64, 0.375, None)]
    assert [(point.x, point.y) for point in alone.points] == [(16, 1.0), (32, 0.75), (64, 0.25)]
    assert alone.points[1].interval == pytest.approx([0.72, 0.77])
    assert [point.y for point in accuracy.series[3].points] == [1.0, 0.875, 0.625]
    assert (exact.title, exact.marks) == (SHORT, ((16, "trained at 16"),))
    assert (exact.y.label, accuracy.y.label) == ("exact match", "accuracy of answers")
    assert exact.x.ticks == [(16, "16"), (32, "32"), (64, "64")]


def test_a_mean_is_drawn_where_all_learned_runs_have_numbers(tmp_path):
    exacts = ((1.0, 0.5, 0.25), (1.0, 0.25))
    panel = tasks_chart(compared([task_file(tmp_path, e, seed=s) for s, e in enumerate(exacts)])).panels[0]
    assert [[point.x for point in series.points] for series in panel.series] == [[16, 32, 64], [16, 32], [16, 32]]


def test_learning_is_drawn_of_every_run_that_has_a_log(tmp_path):
    learned, fails = task_file(tmp_path), task_file(tmp_path, GUESSES, seed=1, learning=((100, 0.125), (200, 0.25)))
    silent = task_file(tmp_path, seed=2, learning=None)
    [panel] = learning_chart(compared([learned, fails, silent])).panels
    curves = {series.name: [(point.x, point.y) for point in series.points] for series in panel.series}
    assert curves == {"alibi L=16 seed 0": list(LEARNS), "alibi L=16 seed 1": [(100, 0.125), (200, 0.25)]}
    assert panel.title == SHORT


def test_there_is_no_chart_without_data(tmp_path):
    nobody = compared([task_file(tmp_path, GUESSES, learning=None)])
    for chart in (tasks_chart(nobody), learning_chart(nobody)):
        assert chart.panels == []
        assert write_figure(chart, tmp_path / "figures") == []
    own = own_part(render_page(nobody))
    assert "<figure" not in own
    assert "<td>0 of 1</td>" in own, "its table is there"
    assert charts_in(own) == set()


def charts_in(page):
    return {figure["chart"] for figure in page_json(page)["figures"]}


def headings(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_page_has_the_sections_of_what_it_compares(paths, texts):
    of_tasks, of_texts, of_both = (own_part(render_page(compared(p))) for p in (paths, texts, [*texts, *paths]))
    assert headings(of_tasks) == ["In a sentence", "Tasks", "Protocol", "Runs"]
    assert charts_in(of_tasks) == {"tasks", "learning"}
    assert "<h1>Answers against length: mqar</h1>" in of_tasks
    assert "7 runs of 3 position methods (alibi, rotary, none), trained at length 16, evaluated on mqar." in of_tasks
    assert "Tasks" not in headings(of_texts)
    assert not charts_in(of_texts) & {"tasks", "learning"}
    assert set(headings(of_both)) == {*headings(of_texts), *headings(of_tasks)}
    assert charts_in(of_both) == charts_in(of_texts) | charts_in(of_tasks)
    assert "<h1>Perplexity against length: wikitext2 validation</h1>" in of_both
    assert "evaluated on wikitext2 validation, mqar." in of_both


def test_a_report_of_tasks_alone_has_their_tables_and_figures(tasks, tmp_path):
    written = write_report(tasks, tmp_path)
    assert {path.name for path in written} == {"index.html", "tables.md", "tasks.png", "learning.png"}
    text = (tmp_path / "tables.md").read_text()
    assert f"**Exact match, {TITLE}**\n\n| line | on tokens | learned | 16\\* | 32 | 64 |" in text
    assert "| 2 of 3 | 1.000<br>1.000–1.000 | 0.750<br>0.500–1.000 | 0.375<br>0.250–0.500 |" in text
    assert "| none L=16 | 1.0M–2.0M | 0 of 2 |  |  |  |" in text
    assert "| the trivial answer |  |  | 0.500 | 0.250 | 0.125 |" in text


def test_a_paper_of_texts_and_tasks_has_the_tables_of_both(paths, texts, tmp_path):
    written = write_paper(compared([*texts, *paths]), tmp_path, ["tasks"])
    assert [path.name for path in written] == ["tasks-column.pdf", "tasks-page.pdf", "tables.tex"]
    text = written[-1].read_text()
    for name in ("task-mqar-test-aaaaaaaa-exact-match", "task-mqar-test-aaaaaaaa-accuracy"):
        assert rf"\label{{tab:{name}}}" in text
    assert r"\label{tab:results-wikitext2-validation-nonoverlapping-perplexity}" in text
    assert r"line & on tokens & learned & 16{*} & 32 & 64 \\" in text
    assert r"none L=16 on mqar & 1.0M--2.0M & 0 of 2 &  &  &  \\" in text


def test_the_script_compares_runs_on_tasks_alone(run_script, paths, tmp_path):
    folders = {path.parents[1] for path in paths}
    code, out, err = run_script("report", *sorted(folders), "--out", tmp_path / "out", "--paper", tmp_path / "paper")
    assert (code, err) == (0, "")
    for what in ("2 of 3", "the trivial answer", "alibi: Trained on mqar"):
        assert what in out
    assert (tmp_path / "out" / "figures" / "tasks.png").stat().st_size > 0
    assert "2 of 3" in (tmp_path / "paper" / "tables.tex").read_text()


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """(browser, the module that drives it); skipped where test_browser is."""
    import test_browser as driver

    if not (driver.CHROMIUM and driver.DRIVER):
        pytest.skip("no chromium with its chromedriver on this machine")
    options = driver.webdriver.ChromeOptions()
    options.binary_location = driver.CHROMIUM
    for flag in (*driver.FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = driver.webdriver.Chrome(options=options, service=driver.Service(driver.DRIVER))
    yield browser, driver
    browser.quit()


@pytest.mark.slow
def test_a_page_of_tasks_alone_in_a_browser(driven, tasks, tmp_path):
    browser, driver = driven
    browser.get(driver.write_page(tasks, tmp_path / "index.html"))
    assert driver.complaints(browser) == []
    assert [len(driver.plots(browser, name)) for name in ("tasks", "learning")] == [2, 1]
    assert driver.chart(browser, "tasks", "gd.querySelectorAll('.scatterlayer .trace').length") == 7
    assert driver.legend(browser, "tasks") == [ALIBI, ROTARY], "none was never learned"
    assert driver.legend(browser, "learning") == [ALIBI, ROTARY, NONE]
    assert driver.traces(browser, "tasks")["alibi L=16, mean of 2 seeds"] == [1, 0.75, 0.375]
    hidden = browser.find_elements("css selector", "select[name=set], [name=unit], [name=scale], [name=relative]")
    assert len(hidden) == 4
    assert not any(control.is_displayed() for control in hidden), "they are for texts"
    driver.click(browser, "input[name=line][value='0']")
    assert driver.traces(browser, "tasks").keys() == {"rotary L=16 seed 1"}
    assert driver.legend(browser, "learning") == [ROTARY, NONE]
    driver.click(browser, "input[name=run][value='2']")
    assert driver.traces(browser, "tasks").keys() == {"alibi L=16 seed 2", "rotary L=16 seed 1"}, "without the mean"
    for number in range(3):
        if browser.find_element("css selector", f"input[name=line][value='{number}']").is_selected():
            driver.click(browser, f"input[name=line][value='{number}']")
    assert driver.note(browser, "tasks") == "Nothing to draw for these choices."
    assert driver.complaints(browser) == []


@pytest.mark.slow
def test_a_page_of_texts_and_tasks_in_a_browser(driven, paths, texts, tmp_path):
    browser, driver = driven
    browser.get(driver.write_page(compared([*texts, *paths]), tmp_path / "index.html"))
    assert driver.complaints(browser) == []
    for name, number in (("perplexity", 1), ("tasks", 2), ("learning", 1)):
        assert len(driver.plots(browser, name)) == number, name
    assert set(driver.legend(browser, "perplexity")) == {"alibi L=128", "t5 L=128"}
    assert driver.legend(browser, "tasks") == [f"{ALIBI} on mqar", f"{ROTARY} on mqar"]
    driver.click(browser, "input[name=unit][value=bits_per_byte]")
    assert driver.legend(browser, "tasks") == [f"{ALIBI} on mqar", f"{ROTARY} on mqar"], "a task has no unit"
    assert driver.complaints(browser) == []
