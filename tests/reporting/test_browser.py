"""The page in a real browser: Debian's chromium, headless, from a file, with its log and its requests read."""

import json
import shutil
from pathlib import Path

import pytest
from comparisons import make_study

from alibi.reporting import load_results
from alibi.reporting.page import render_page
from alibi.reporting.study import join

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its chromedriver on this machine")
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
    paths, comparison = study
    path.write_text(render_page(join(load_results(paths), comparison)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(whole_study, tmp_path_factory):
    return write_page(whole_study, tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture
def page(browser, address):
    """The page as it is when it has just been opened; it is loaded once, because the chart library is large."""
    if browser.current_url.partition("#")[0] != address:
        browser.get(address)
    emulate(browser)
    browser.execute_script(
        "document.querySelector('form').reset(); drawAll(); scrollTo(0, 0); document.activeElement.blur()"
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
    """Something of a chart's drawing: `what` is JavaScript over `gd`, the plot."""
    return page.execute_script(f"const gd = document.querySelector('#chart-{name} .js-plotly-plot'); return {what}")


def numbers(page, name):
    return page.execute_script(f"return document.querySelector('#chart-{name} .numbers').textContent")


def legend(page, name):
    return page.execute_script(
        f"return [...document.querySelectorAll('#chart-{name} .legend li')].map(e => e.textContent)"
    )


def headings(page):
    return [h.text for h in page.find_elements(By.CSS_SELECTOR, "#results h3") if h.is_displayed()]


def test_it_loads_without_a_complaint_and_asks_for_nothing(browser, address):
    browser.get("about:blank")
    complaints(browser), requests(browser)
    browser.get(address)
    assert complaints(browser) == []
    assert requests(browser) == [address]
    assert browser.title == "Perplexity against length: wikitext2 validation"
    for name, least in (("perplexity", 25), ("context", 9), ("split", 20), ("cost", 10), ("training", 20)):
        assert chart(browser, name, "gd.querySelectorAll('.trace, .point').length") >= least, name


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
    traces = chart(page, "perplexity", "gd.data.length")
    click(page, "input[name=line][value='0']")
    assert legend(page, "perplexity") == ["sinusoidal L=128", "rotary L=128", "t5 L=128", "none L=128"]
    assert "alibi" not in numbers(page, "perplexity")
    assert "alibi" not in numbers(page, "training")
    assert chart(page, "perplexity", "gd.data.length") == traces - 5, "two runs, two bands, one mean"
    assert not page.find_element(By.CSS_SELECTOR, "input[name=run][value='0']").is_selected()
    click(page, "input[name=run][value='1']")
    assert page.find_element(By.CSS_SELECTOR, "input[name=line][value='0']").is_selected(), "a seed brings its line"
    assert "alibi L=128 seed 1" in numbers(page, "perplexity")
    assert "alibi L=128 seed 0" not in numbers(page, "perplexity")


def test_everything_hidden_is_no_error(page):
    for number in range(5):
        click(page, f"input[name=line][value='{number}']")
    assert legend(page, "perplexity") == []
    assert "None of the runs shown" in page.find_element(By.ID, "chart-context").text
    assert complaints(page) == []


def test_the_unit_changes_numbers_tables_and_axes(page):
    assert headings(page)[0].startswith("Perplexity per token")
    before = {name: numbers(page, name) for name in ("perplexity", "split")}
    click(page, "input[name=unit][value=bits_per_byte]")
    assert headings(page)[0].startswith("Bits per byte")
    assert chart(page, "perplexity", "gd.layout.yaxis.title.text") == "bits per byte"
    assert all(numbers(page, name) != text for name, text in before.items())
    assert "bits per byte" in numbers(page, "split")
    assert "%" not in page.find_element(By.CSS_SELECTOR, "#differences .numbers").text
    assert chart(page, "perplexity", "gd.data[1].y[0]") == pytest.approx(1.9443, abs=1e-3)


def test_scale_lengths_and_relative_values(page):
    assert chart(page, "perplexity", "gd._fullLayout.yaxis.type") == "log"
    click(page, "input[name=scale][value=linear]")
    assert chart(page, "perplexity", "gd._fullLayout.yaxis.type") == "linear"
    assert chart(page, "perplexity", "gd._fullLayout.xaxis.ticktext") == ["128", "256", "512", "1024", "2048"]
    click(page, "input[name=x][value=multiples]")
    assert chart(page, "perplexity", "gd._fullLayout.xaxis.ticktext") == ["1×", "2×", "4×", "8×", "16×"]
    click(page, "input[name=relative]")
    assert chart(page, "perplexity", "gd.data.every(trace => trace.y[0] === 1)")


def test_sets_context_lengths_and_differences_can_be_chosen(page):
    Select(page.find_element(By.NAME, "set")).select_by_index(1)
    assert headings(page)[0] == "Perplexity per token, wikitext2 validation, stride-16"
    Select(page.find_element(By.NAME, "set")).select_by_index(0)
    context = Select(page.find_element(By.NAME, "context"))
    assert [option.text for option in context.options] == ["2048", "1024", "512", "256", "128"]
    context.select_by_visible_text("256")
    assert max(chart(page, "context", "gd.data[0].x")) == 256
    first = page.find_element(By.CSS_SELECTOR, "#differences .numbers").text
    assert "+1.21 %" in first, "seed 1 against seed 0"
    Select(page.find_element(By.NAME, "against")).select_by_visible_text("alibi L=128 seed 1")
    second = page.find_element(By.CSS_SELECTOR, "#differences .numbers").text
    assert "−1.19 %" in second, "and the other way round"
    assert second != first


def test_the_published_curve_is_for_words_only(page):
    switch = page.find_element(By.NAME, "published")
    assert not switch.is_enabled()
    assert "per word only" in page.find_element(By.ID, "why-published").text
    click(page, "input[name=unit][value=word_perplexity]")
    click(page, "input[name=published]")
    assert "sinusoidal, L 512 (published)" in legend(page, "perplexity")
    assert "406.01" in numbers(page, "perplexity")
    warning = page.find_element(By.CSS_SELECTOR, ".note.published")
    assert "only in shape" in warning.text
    Select(page.find_element(By.NAME, "set")).select_by_index(1)
    group = Select(page.find_element(By.NAME, "group"))
    assert group.first_selected_option.text == "Tables 13-15: sliding, stride 1"
    assert "360.12" in numbers(page, "perplexity")
    click(page, "input[name=unit][value=perplexity]")
    assert not warning.is_displayed()
    assert "(published)" not in "".join(legend(page, "perplexity"))


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
    # What a mouse finds by hovering stands in a table that opens by key.
    details = page.find_element(By.CSS_SELECTOR, "#chart-perplexity details")
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert "116.59" in details.text


def test_dark_mode_changes_page_and_charts_while_open(page):
    def colours():
        text = "getComputedStyle(gd.querySelector('.ytick text')).fill"
        line = "gd.data.at(-1).line.color"
        body = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        return body, chart(page, "perplexity", text), chart(page, "perplexity", line)

    light = colours()
    emulate(page, scheme="dark")
    dark = colours()
    assert all(a != b for a, b in zip(light, dark, strict=True))
    emulate(page)
    assert colours() == light


def test_print_is_light_and_without_controls(page):
    emulate(page, scheme="dark")
    emulate(page, media="print", scheme="dark")
    assert not page.find_element(By.TAG_NAME, "aside").is_displayed()
    assert "255, 255, 255" in page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert chart(page, "perplexity", "getComputedStyle(gd.querySelector('.ytick text')).fill") == "rgb(28, 28, 28)"
    assert chart(page, "perplexity", "gd.layout.width") == 660, "a chart fits the paper"
    assert page.find_element(By.CSS_SELECTOR, "#chart-perplexity .legend").is_displayed()
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
    study = make_study(tmp_path, ("alibi", "t5"), lengths=(128, 256), labels={"alibi": HOSTILE})
    for told in study[1]["sets"]:
        told["note"] = HOSTILE
    study[1]["refused"] = [{"reason": HOSTILE, "sets": [{"set": 0, "value": HOSTILE}]}]
    emulate(browser)
    complaints(browser), requests(browser)
    address = write_page(study, Path(tmp_path) / "hostile.html")
    browser.get(address)
    assert legend(browser, "perplexity")[0] == HOSTILE
    assert browser.find_element(By.CSS_SELECTOR, "#results tbody th").text == HOSTILE
    assert browser.find_element(By.CSS_SELECTOR, "#chart-split .plot p").text == f"{HOSTILE}, stride 16"
    assert browser.find_element(By.CSS_SELECTOR, ".callout").text == HOSTILE
    hover = (
        "Plotly.Fx.hover(gd, [{curveNumber: 1, pointNumber: 1}]); return gd.querySelector('.hoverlayer').textContent"
    )
    assert HOSTILE in browser.execute_script(
        f"const gd = document.querySelector('#chart-perplexity .js-plotly-plot'); {hover}"
    )
    assert browser.execute_script("return document.querySelectorAll('main img, main script, header img').length") == 0
    # An alert that was open would have made every call above fail.
    assert complaints(browser) == []
    assert requests(browser) == [address]
