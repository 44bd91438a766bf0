"""The page in a real browser: Debian's chromium, headless, from a file, with its log and its requests read."""

import json
import math
import shutil
from pathlib import Path

import pytest
from comparisons import compared, make_study
from studies import make_file

from alibi.analysis.comparison import Refusal
from alibi.reporting.page import render_page

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its chromedriver on this machine"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900",
)  # fmt: skip
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> %{x} &lt;b&gt; $x^2$"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def write_page(study, path):
    path.write_text(render_page(study), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(whole_study, tmp_path_factory):
    return write_page(whole_study, tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture
def page(browser, address):
    """The page as it has just been opened, but for the curves, which show values; loaded once, as it is large."""
    if browser.current_url.partition("#")[0] != address:
        browser.get(address)
    emulate(browser)
    browser.execute_script(
        "const form = document.querySelector('form'); form.reset(); form.relative.checked = false; drawAll();"
        "scrollTo(0, 0); document.activeElement.blur()"
    )
    return browser


def emulate(browser, media="screen", scheme="light", width=1280):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def complaints(browser):
    """What the console was told since the last call: errors, warnings, refusals of the page's own policy."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser):
    """What was asked of any network or disk since the last call, the data inside the page aside."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def click(page, selector):
    element = page.find_element(By.CSS_SELECTOR, selector)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def chart(page, name, what):
    """Something of a chart's first plot: `what` is JavaScript over `gd`, the plot."""
    return page.execute_script(
        f"const gd = document.querySelector('[data-chart={name}] .js-plotly-plot'); return {what}"
    )


def traces(page, name):
    """{name: values} of the visible traces of a chart; bands and bars have no name."""
    named = chart(page, name, "gd.data.filter(t => t.visible && t.name).map(t => [t.name, t.y])")
    return dict(named)


def legend(page, name):
    entries = page.find_elements(By.CSS_SELECTOR, f"[data-chart={name}] .legend li span")
    return [entry.text for entry in entries if entry.is_displayed()]


def note(page, name):
    return page.find_element(By.CSS_SELECTOR, f"[data-chart={name}] .note").text


def plots(page, name):
    return [plot for plot in page.find_elements(By.CSS_SELECTOR, f"[data-chart={name}] .plot") if plot.is_displayed()]


def differences(page):
    return page.find_element(By.ID, "differences").text


def headings(page):
    return [h.text for h in page.find_elements(By.CSS_SELECTOR, "#results h3") if h.is_displayed()]


def test_it_loads_without_a_complaint_and_asks_for_nothing(browser, address):
    browser.get("about:blank")
    complaints(browser), requests(browser)
    browser.get(address)
    assert complaints(browser) == []
    assert requests(browser) == [address]
    assert browser.title == "Perplexity against length: wikitext2 validation"
    for name, drawn in (("perplexity", 25), ("context", 9), ("split", 9), ("cost", 15), ("training", 20)):
        assert chart(browser, name, "gd.querySelectorAll('.trace').length") == drawn, name


def test_the_checks_would_see_an_error_a_request_and_an_alert(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<script>throw new Error('seen')</script><img src='https://example.invalid/seen.png'>")
    complaints(browser), requests(browser)
    browser.get(path.as_uri())
    assert any("seen" in message for message in complaints(browser))
    assert "https://example.invalid/seen.png" in requests(browser)


def test_the_page_itself_could_not_ask(page):
    page.execute_script("new Image().src = 'https://example.invalid/x.png'")
    assert any("Content Security Policy" in message for message in complaints(page))


def test_lines_and_seeds_can_be_hidden(page):
    assert traces(page, "perplexity")["alibi L=128, mean of 2 seeds"][0] == pytest.approx(129.75, abs=0.01)
    drawn = chart(page, "perplexity", "gd.querySelectorAll('.scatterlayer .trace').length")
    click(page, "input[name=line][value='0']")
    assert legend(page, "perplexity") == ["sinusoidal L=128", "rotary L=128", "t5 L=128", "none L=128"]
    for name in ("perplexity", "context", "cost", "training"):
        assert not any("alibi" in run for run in traces(page, name)), name
    assert len(plots(page, "split")) == 4
    left = chart(page, "perplexity", "gd.querySelectorAll('.scatterlayer .trace').length")
    assert left == drawn - 5, "two runs, two bands, one mean"
    assert not page.find_element(By.CSS_SELECTOR, "input[name=run][value='0']").is_selected()
    click(page, "input[name=run][value='1']")
    assert page.find_element(By.CSS_SELECTOR, "input[name=line][value='0']").is_selected(), "a seed brings its line"
    shown = [run for run in traces(page, "perplexity") if "alibi" in run]
    assert shown == ["alibi L=128 seed 1"], "without the mean, which is of both seeds"
    assert legend(page, "perplexity")[0] == "alibi L=128"
    click(page, "input[name=run][value='1']")
    assert not page.find_element(By.CSS_SELECTOR, "input[name=line][value='0']").is_selected()


def test_adaptations_can_be_hidden_for_all_methods_at_once(browser, tmp_path):
    made = [make_file(tmp_path, m, 0, adapt=a) for m in ("alibi", "rotary") for a in (None, "window", "bca")]
    browser.get(write_page(compared(made), tmp_path / "index.html"))
    boxes = browser.find_elements(By.CSS_SELECTOR, "[name=adapt]")
    assert [box.get_attribute("value") for box in boxes] == ["", "window", "bca"]
    before = set(legend(browser, "perplexity"))
    of_window = {"alibi + window L=128", "rotary + window L=128"}
    assert len(before) == 6
    assert of_window < before
    click(browser, "[name=adapt][value=window]")
    assert set(legend(browser, "perplexity")) == before - of_window
    click(browser, "[name=adapt][value=window]")
    assert set(legend(browser, "perplexity")) == before
    assert complaints(browser) == []


def test_everything_hidden_is_no_error(page):
    for number in range(5):
        click(page, f"input[name=line][value='{number}']")
    for name in ("perplexity", "context", "split", "cost", "training"):
        assert legend(page, name) == []
        assert plots(page, name) == []
        assert note(page, name) == "Nothing to draw for these choices."
    assert complaints(page) == []


def test_the_unit_changes_numbers_tables_and_axes(page):
    assert headings(page)[0].startswith("Perplexity per token")
    assert chart(page, "split", "gd.layout.yaxis.title.text") == "nats per token"
    assert "+1.21 %" in differences(page)
    longer = chart(page, "split", "gd.data[0].y[0]")
    click(page, "input[name=unit][value=bits_per_byte]")
    assert headings(page)[0].startswith("Bits per byte")
    assert chart(page, "perplexity", "gd.layout.yaxis.title.text").startswith("bits per byte")
    assert chart(page, "split", "gd.layout.yaxis.title.text") == "bits per byte"
    bits = 317_905 / 1_146_846 / math.log(2)  # a nat per token of this text, in bits per byte
    assert chart(page, "split", "gd.data[0].y[0]") == pytest.approx(longer * bits, rel=1e-4)
    assert traces(page, "perplexity")["alibi L=128 seed 0"][0] == pytest.approx(1.9435, abs=1e-3)
    assert "%" not in differences(page)
    click(page, "input[name=unit][value=word_perplexity]")
    assert traces(page, "perplexity")["alibi L=128 seed 0"][0] == pytest.approx(1209.69, abs=0.01)


def test_the_value_axis_is_log_or_linear(page):
    assert chart(page, "perplexity", "gd._fullLayout.yaxis.type") == "log"
    high = chart(page, "perplexity", "gd._fullLayout.yaxis.range[1]")
    assert 300 < 10**high < 600, "a log axis holds exponents"
    click(page, "input[name=scale][value=linear]")
    assert chart(page, "perplexity", "gd._fullLayout.yaxis.type") == "linear"
    assert 300 < chart(page, "perplexity", "gd._fullLayout.yaxis.range[1]") < 600
    assert chart(page, "perplexity", "gd._fullLayout.xaxis.ticktext") == ["128", "256", "512", "1024", "2048"]
    assert chart(page, "split", "gd._fullLayout.yaxis.type") == "linear", "a change may be negative"
    assert chart(page, "cost", "[gd._fullLayout.yaxis.type, gd._fullLayout.yaxis.range[0]]") == ["linear", 0]


def test_values_relative_to_the_training_length_are_shown_at_first(page):
    absolute = traces(page, "perplexity")
    page.execute_script("document.querySelector('form').reset(); drawAll()")
    assert page.execute_script("return document.querySelector('form').relative.checked")
    relative = traces(page, "perplexity")
    assert relative.keys() == absolute.keys()
    for name, values in relative.items():
        assert values[0] == 1
        assert values == pytest.approx([value / absolute[name][0] for value in absolute[name]], rel=1e-5)
    assert chart(page, "perplexity", "gd.layout.yaxis.title.text") == (
        "perplexity per token, over that at the<br>training length (95 % intervals)"
    )
    assert chart(page, "perplexity", "gd.data.filter(t => t.fill).length") > 0, "paired on the same text"


def test_sets_context_lengths_and_references_can_be_chosen(page):
    nonoverlapping = traces(page, "perplexity")
    Select(page.find_element(By.NAME, "set")).select_by_visible_text("stride-16")
    assert headings(page)[0] == "Perplexity per token, wikitext2 validation, stride-16"
    sliding = traces(page, "perplexity")
    assert sliding["rotary L=128 seed 0"] != nonoverlapping["rotary L=128 seed 0"]
    assert len(plots(page, "split")) == 5
    Select(page.find_element(By.NAME, "set")).select_by_visible_text("nonoverlapping")
    assert len(plots(page, "split")) == 5, "those of its text by the sliding evaluation"
    context = Select(page.find_element(By.NAME, "context"))
    assert [option.text for option in context.options if option.is_enabled()] == ["2048", "1024", "512", "256", "128"]
    context.select_by_visible_text("256")
    assert max(chart(page, "context", "gd.data[0].x")) == 256
    assert "sinusoidal L=128 seed 0" in differences(page)
    assert "+14.70 %" in differences(page), "sinusoidal against alibi at 256"
    Select(page.find_element(By.NAME, "against")).select_by_visible_text("sinusoidal L=128 seed 0")
    assert "−12.82 %" in differences(page), "and the other way round"
    assert "+14.70 %" not in differences(page)


def test_by_keyboard_alone(page):
    page.execute_script("document.querySelector('h1').tabIndex = -1; document.querySelector('h1').focus()")
    seen = []
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        here = page.switch_to.active_element
        seen.append(here.get_attribute("name") or here.tag_name)
        assert here.value_of_css_property("outline-style") != "none", "the focus is seen"
        if seen[-1] == "line":
            break
    assert seen == ["summary", "set", "line"]
    page.switch_to.active_element.send_keys(Keys.SPACE)
    assert "alibi L=128" not in legend(page, "perplexity")
    names = page.execute_script(
        "return [...document.querySelectorAll('input:not([hidden]), select')]"
        ".filter(e => !e.labels.length && !e.ariaLabel).map(e => e.name)"
    )
    assert names == [], "every control has a name"


def test_dark_mode_changes_page_and_charts_while_open(page):
    def colours():
        text = "getComputedStyle(gd.querySelector('.ytick text')).fill"
        line = "getComputedStyle(gd.querySelectorAll('.js-line')[1]).stroke"
        body = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        return body, chart(page, "perplexity", text), chart(page, "perplexity", line)

    light = colours()
    emulate(page, scheme="dark")
    dark = colours()
    assert light[1:] == ("rgb(28, 28, 28)", "rgb(0, 114, 178)")
    assert dark[1:] == ("rgb(230, 230, 227)", "rgb(86, 180, 233)")
    assert dark[0] != light[0]
    emulate(page)
    assert colours() == light


def test_print_is_light_and_without_controls(page):
    emulate(page, scheme="dark")
    emulate(page, media="print", scheme="dark")
    assert not page.find_element(By.TAG_NAME, "aside").is_displayed()
    assert "255, 255, 255" in page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert chart(page, "perplexity", "getComputedStyle(gd.querySelector('.ytick text')).fill") == "rgb(28, 28, 28)"
    assert chart(page, "perplexity", "gd.layout.width") == 660, "a chart fits the paper"
    assert page.find_element(By.CSS_SELECTOR, "[data-chart=perplexity] .legend").is_displayed()
    uncut = page.execute_script(
        "return [...document.querySelectorAll('.plot')].map(e => getComputedStyle(e).breakInside)"
    )
    assert set(uncut) == {"avoid"}, "a figure longer than a page breaks between its panels"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_does_not_scroll_sideways(page, width):
    emulate(page, width=width)
    page.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true }); drawAll()")
    wide, seen = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    page.execute_script("document.querySelectorAll('main details').forEach(e => { e.open = false })")
    assert wide <= seen == width
    assert chart(page, "perplexity", "gd.layout.width") <= width


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_heading_breaks_inside_a_word(page, width):
    emulate(page, width=width)
    page.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true }); drawAll()")
    broken = page.execute_script("""
        const broken = [], range = document.createRange();
        const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        for (let node; (node = walk.nextNode());) {
          if (!node.parentElement.closest('thead th')) continue;
          for (const word of node.data.matchAll(/\\S+/g)) {
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
          }
        }
        return broken""")
    page.execute_script("document.querySelectorAll('main details').forEach(e => { e.open = false })")
    assert broken == []


def test_sets_chosen_faster_than_charts_are_drawn(page):
    """Plotly lays a chart out again when its margins grew; the next choice may by then have no use for the chart."""
    page.execute_script("""
        const select = document.querySelector('select[name=set]');
        const change = element => element.dispatchEvent(new Event('change', {bubbles: true}));
        for (const option of [...select.options, ...select.options]) {
          select.value = option.value;
          change(select);
          for (const box of document.querySelectorAll('[name=line]')) { box.checked = !box.checked; change(box); }
        }""")
    page.execute_async_script("setTimeout(arguments[0], 1000)")
    assert complaints(page) == []


def test_a_hostile_name_is_text_everywhere(browser, tmp_path):
    study = make_study(tmp_path, (HOSTILE, "t5"), lengths=(128, 256))
    study.refused.append(Refusal(HOSTILE, [(0, HOSTILE)]))
    emulate(browser)
    complaints(browser), requests(browser)
    address = write_page(study, Path(tmp_path) / "hostile.html")
    browser.get(address)
    assert legend(browser, "perplexity")[0] == f"{HOSTILE} L=128"
    assert browser.find_element(By.CSS_SELECTOR, "#results tbody th").text == f"{HOSTILE} L=128 seed 0"
    assert browser.find_element(By.CSS_SELECTOR, "[data-chart=split] .plot p").text == f"{HOSTILE} L=128, stride 16"
    hover = (
        "Plotly.Fx.hover(gd, [{curveNumber: 1, pointNumber: 1}]); return gd.querySelector('.hoverlayer').textContent"
    )
    assert HOSTILE in browser.execute_script(
        f"const gd = document.querySelector('[data-chart=perplexity] .js-plotly-plot'); {hover}"
    )
    assert browser.execute_script("return document.querySelectorAll('main img, main script, header img').length") == 0
    # An alert that was open would have made every call above fail.
    assert complaints(browser) == []
    assert requests(browser) == [address]
