"use strict";
// What all charts share: numbers and names as text, colours from the style sheet, plots, legends, tables of numbers.

// Plotly reads tags and entities in every string that it shows; a name must stay a name.
const escapeHtml = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

// `out of memory: tried to allocate ...` as `out of memory`; the whole reason stands under the results.
const shortError = (text) => text.split(":")[0];

function showNumber(value) {
  if (value === undefined || value === null) return "";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(3).replace(/e\+(\d)$/, "e+0$1").replace("-", "−");
  return (size < 10 ? value.toFixed(3) : size < 10000 ? value.toFixed(2) : Math.round(value).toLocaleString("en")).replace("-", "−");
}

// [value, low, high] or [value], for a hover, and for a cell.
const showValue = (triple) => !triple ? "" : showNumber(triple[0]) + (triple.length > 2 ? ` (${showNumber(triple[1])} to ${showNumber(triple[2])})` : "");

const showCell = (triple) => !triple ? "" : triple.length > 2 ? [showNumber(triple[0]), `${showNumber(triple[1])} to ${showNumber(triple[2])}`] : showNumber(triple[0]);

function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const dark = of("--theme") === "dark";
  return {
    text: of("--text"), soft: of("--soft"), paper: of("--paper"), panel: of("--panel"), rule: of("--rule"),
    pick: (pair) => pair[dark ? 1 : 0],
  };
}

function fade(hex, alpha) {
  const part = (at) => parseInt(hex.slice(at, at + 2), 16);
  return `rgba(${part(1)},${part(3)},${part(5)},${alpha})`;
}

function baseLayout(colours, width, height) {
  const axis = { gridcolor: colours.rule, linecolor: colours.soft, zerolinecolor: colours.soft, automargin: true, fixedrange: true };
  return {
    width, height, margin: { l: 48, r: 10, t: 10, b: 42 }, showlegend: false, dragmode: false, hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colours.text },
    hoverlabel: { bgcolor: colours.panel, bordercolor: colours.rule, font: { color: colours.text }, align: "left" },
    xaxis: { ...axis }, yaxis: { ...axis, zeroline: false },
  };
}

// A log axis with a tick at each value, or at powers of two where values stand too close for the width.
function logAxis(axis, values, width, show = String) {
  const every = [...new Set(values)].sort((a, b) => a - b), most = Math.max(2, (width - 60) / 44);
  let ticks = every;
  for (let step = 2; ticks.length > most || (ticks === every && every.some((v, i) => i && v / every[i - 1] < 1.4)); step *= 2) {
    ticks = [];
    for (let v = 2 ** Math.ceil(Math.log2(every[0])); v <= every.at(-1); v *= step) ticks.push(v);
  }
  return { ...axis, type: "log", tickvals: ticks, ticktext: ticks.map(show) };
}

// A ratio as a change in per cent; beyond tenfold as a factor. As in the tables.
const isFar = (ratio) => ratio <= 0.1 || ratio >= 10;
const showFactor = (ratio) => "×" + (ratio >= 1e-4 && ratio < 1000 ? +ratio.toPrecision(3) : ratio.toExponential(2));
// What rounds to zero has no sign.
const showSigned = (value, digits) => Number(value.toFixed(digits)) ? (value > 0 ? "+" : "−") + Math.abs(value).toFixed(digits) : (0).toFixed(digits);
const showPercent = (ratio) => showSigned(100 * (ratio - 1), 2);
const showTick = (value) => value >= 1e6 ? value.toExponential(0).replace("+", "") : (+value.toPrecision(3)).toLocaleString("en");

// The axis of values: on a log one, ticks that read as numbers (100, 200, 500), as many as fit.
function valueAxis(axis, traces, scale) {
  const values = traces.flatMap((t) => t.y).filter((v) => v > 0);
  if (scale !== "log" || !values.length) return { ...axis, type: "linear" };
  const low = Math.min(...values), high = Math.max(...values);
  const sets = [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9]];
  const ticks = sets.map((set) => {
    const found = [];
    for (let ten = Math.floor(Math.log10(low)); ten <= Math.log10(high); ten++) found.push(...set.map((v) => v * 10 ** ten));
    return found.filter((v) => v >= low * 0.9 && v <= high * 1.1);
  }).find((found) => found.length > 3);
  const kept = ticks && ticks.filter((_, i) => i % Math.ceil(ticks.length / 12) === 0);
  return { ...axis, type: "log", ...(kept ? { tickvals: kept, ticktext: kept.map(showTick) } : {}) };
}

const logRange = (low, high) => [Math.log10(low) - 0.04, Math.log10(high) + 0.04];

// Draws into the n-th plot of a chart, which is made when first wanted.
function plot(chart, number, title, traces, layout) {
  const plots = chart.querySelector(".plots");
  while (plots.children.length <= number) {
    const box = document.createElement("div");
    box.className = "plot";
    box.append(document.createElement("p"), document.createElement("div"));
    plots.append(box);
  }
  plots.children[number].hidden = false;
  const [heading, target] = plots.children[number].children;
  heading.textContent = title;
  heading.hidden = !title;
  target.setAttribute("role", "img");
  target.setAttribute("aria-label", `${title || chart.querySelector("figcaption").textContent}; its numbers stand in the table below`);
  Plotly.react(target, traces, layout, { displayModeBar: false, doubleClick: false, showTips: false });
}

// Spare plots are hidden, not purged: Plotly may be about to lay one out again, and would find it gone.
function hidePlots(chart, from) {
  [...chart.querySelector(".plots").children].slice(from).forEach((box) => { box.hidden = true; });
}

// entries: {label, colour: [light, dark], dash}
function legend(chart, entries) {
  chart.querySelector(".legend").replaceChildren(...entries.map((entry) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.setProperty("--light", entry.colour[0]);
    swatch.style.setProperty("--dark", entry.colour[1]);
    swatch.style.borderTopStyle = { dash: "dashed", dot: "dotted", dashdot: "dashed" }[entry.dash] || "solid";
    item.append(swatch, entry.label);
    return item;
  }));
}

// A cell is a text, or [text, small text under it].
function fillTable(box, header, rows) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of header) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((cellOf, at) => {
      const cell = document.createElement(at ? "td" : "th"), [text, small] = [cellOf].flat();
      if (!at) cell.scope = "row";
      cell.textContent = text;
      if (small) cell.append(Object.assign(document.createElement("small"), { textContent: small }));
      line.append(cell);
    });
  }
  box.replaceChildren(table);
}

const numbersOf = (chart) => chart.querySelector(".numbers");
