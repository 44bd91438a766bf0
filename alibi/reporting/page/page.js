"use strict";
// Controls into state, state into charts and tables.

const DATA = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector("form");
const printing = matchMedia("print");
const CHARTS = { perplexity: drawPerplexity, context: drawContext, split: drawSplit, cost: drawCost, training: drawTraining };
// An A4 page between its margins; a chart cannot grow or shrink with paper.
const PRINT_WIDTH = 660;

const value = (name) => (form.querySelector(`[name=${name}]:checked`) || form.querySelector(`select[name=${name}]`) || {}).value;
const checked = (name) => [...form.querySelectorAll(`[name=${name}]:checked`)].map((box) => Number(box.value));

function readState() {
  const set = Number(value("set") || 0);
  const published = DATA.published.groups[Number(value("group"))];
  const allowed = value("unit") === DATA.published.unit;
  const context = document.querySelector("[name=context]");
  return {
    set, unit: value("unit"), scale: value("scale"), x: value("x"), context: context ? context.value : null,
    lines: new Set(checked("line").map((i) => DATA.lines[i].label)), runs: new Set(checked("run").map((i) => DATA.runs[i].label)),
    relative: form.relative.checked,
    group: allowed && form.published.checked && !form.published.disabled ? published : null,
    width: (chart, panels = 1) => {
      const whole = printing.matches ? PRINT_WIDTH : chart.querySelector(".plots").clientWidth;
      const gap = 8, fit = Math.max(1, Math.min(panels, Math.floor((whole + gap) / (272 + gap))));
      return Math.floor((whole - gap * (fit - 1)) / fit);
    },
  };
}

// Which choices make sense for the set and unit now chosen; says why where one does not.
function limitChoices() {
  const set = DATA.sets[Number(value("set") || 0)];
  for (const radio of form.querySelectorAll("[name=unit]")) radio.disabled = !set.metrics.includes(radio.value);
  if (!set.metrics.includes(value("unit")) && set.metrics.length) form.querySelector(`[name=unit][value=${set.metrics[0]}]`).checked = true;
  const inWords = value("unit") === DATA.published.unit;
  form.published.disabled = form.group.disabled = !inWords;
  let first = null;
  for (const option of form.group.options) {
    option.disabled = option.hidden = DATA.published.groups[option.value].sliding !== set.sliding;
    if (!option.disabled && first === null) first = option.value;
  }
  if (form.group.selectedOptions[0].disabled) form.group.value = first;
  document.getElementById("why-published").textContent = inWords
    ? "Another model, vocabulary and budget: compare the shape, not the level (divide by the value at the training length)." + (set.sliding ? " Its stride is 1." : "")
    : "Its vocabulary is made of words, so it is shown per word only: choose that unit.";
  fillOptions("context", [...new Set(set.runs.flatMap((run) => Object.keys(run.context)))].map(Number).sort((a, b) => b - a), String);
  fillOptions("against", set.runs.map((run) => run.label), String);
}

function fillOptions(name, values, show) {
  const select = document.querySelector(`select[name=${name}]`);
  if (!select) return;
  const before = select.value;
  select.replaceChildren(...values.map((v) => new Option(show(v), v)));
  if (values.map(String).includes(before)) select.value = before;
}

// Tables that were written for each set and unit: the chosen one is shown.
function showTables(state) {
  for (const box of document.querySelectorAll("[data-set]")) box.hidden = Number(box.dataset.set) !== state.set;
  for (const box of document.querySelectorAll("[data-metric]")) box.hidden = box.dataset.metric !== state.unit;
  for (const note of document.querySelectorAll(".note.published")) note.hidden = !state.group;
}

// Every run against the chosen one. A pair is stored one way round; the other is its inverse.
function showDifferences(state) {
  const box = document.querySelector("#differences .numbers"), set = DATA.sets[state.set];
  const against = document.querySelector("[name=against]").value, ratio = state.unit !== "bits_per_byte";
  const turn = ([v, low, high]) => ratio ? [1 / v, 1 / high, 1 / low] : [-v, -high, -low];
  // Alike for a number and its interval: per cent, factors, or bits.
  const showFor = (triple) => !ratio ? (v) => showSigned(v, 4) : triple.some(isFar) ? showFactor : (v) => `${showPercent(v)} %`;
  const rows = [];
  for (const pair of set.pairs) {
    if (pair.a !== against && pair.b !== against) continue;
    const cells = set.lengths.map((length) => {
      let triple = (pair.lengths.find((entry) => entry.length === length) || {})[state.unit];
      if (!triple) return "";
      const has = triple.length > 2;
      if (pair.a === against) triple = turn(triple);
      const show = showFor(triple);
      return [show(triple[0]), has ? `${show(triple[1])} to ${show(triple[2])}` : ""];
    });
    rows.push([pair.a === against ? pair.b : pair.a, ...cells]);
  }
  if (rows.length) fillTable(box, [`${DATA.metrics[state.unit]}, against ${against}`, ...set.lengths.map(String)], rows);
  else box.textContent = "No pair of runs here has both numbers: nothing to compare.";
}

function drawAll() {
  limitChoices();
  const state = readState();
  showTables(state);
  showDifferences(state);
  for (const [name, draw] of Object.entries(CHARTS)) {
    const chart = document.getElementById(`chart-${name}`);
    if (chart) draw(chart, state);
  }
}

function followLine(box) {
  if (box.name === "run" && box.checked) {
    const number = DATA.lines.findIndex((line) => line.label === DATA.runs[box.value].line);
    form.querySelector(`[name=line][value="${number}"]`).checked = true;
  }
  if (box.name !== "line") return;
  const label = DATA.lines[box.value].label;
  for (const run of form.querySelectorAll("[name=run]")) if (DATA.runs[run.value].line === label) run.checked = box.checked;
}

if (DATA.sets.length) {
  document.addEventListener("change", (event) => { followLine(event.target); drawAll(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  printing.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("main section > details")) part.open = true; });
  let width = 0, wait = 0;
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width === width || printing.matches) return;
    width = entry.contentRect.width;
    clearTimeout(wait);
    wait = setTimeout(drawAll, 100);
  }).observe(document.querySelector("main"));
  // On a phone the controls would cover the page; there they open when asked for.
  if (innerWidth < 992) document.querySelector(".controls").open = false;
  drawAll();
} else document.querySelector("aside").remove();
