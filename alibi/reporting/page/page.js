"use strict";
// The controls choose among figures and tables that were made beforehand, and how the figures are shown.

const TEXT = document.getElementById("data").textContent;
const DARK = new Map(Object.entries(JSON.parse(TEXT).dark));
const form = document.querySelector("form");
const darkScheme = matchMedia("(prefers-color-scheme: dark)"), printing = matchMedia("print");
// Charts do not resize with paper: the widths of one chart, and of two side by side, on A4.
const PRINT_WIDTH = 660, PRINT_HALF = 326;

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// The value of each control by its name. Figures and elements name the values for which they are shown, as strings.
function readChoices() {
  const controls = all("select, input[type=radio]:checked");
  return { relative: String(form.relative.checked), ...Object.fromEntries(controls.map(({ name, value }) => [name, value])) };
}

const isChosen = (when, choices) => Object.entries(when).every(([name, value]) => !(name in choices) || value.split(" ").includes(choices[name]));

// Some units, lengths and runs exist in some sets only.
function limitChoices() {
  const choices = { set: readChoices().set };
  for (const choice of all("option, input[name=unit]")) choice.disabled = choice.hidden = !isChosen(choice.dataset, choices);
  for (const select of all("select")) {
    const enabled = [...select.options].filter((option) => !option.disabled);
    const same = enabled.find((option) => option.value === select.value) || enabled[0];
    if (same) same.selected = true;
  }
  if (form.querySelector("[name=unit]:checked")?.disabled) form.querySelector("[name=unit]:enabled").checked = true;
}

function drawAll() {
  limitChoices();
  const choices = readChoices(), runs = new Set(all("[name=run]:checked").map((box) => Number(box.value)));
  const isDark = darkScheme.matches && !printing.matches;
  const page = JSON.parse(TEXT, (key, value) => (isDark && DARK.get(value)) || value);
  for (const part of all("div[data-set], div[data-unit]")) part.hidden = !isChosen(part.dataset, choices);
  for (const box of all("figure")) {
    const chosen = page.figures.filter((figure) => figure.chart === box.dataset.chart && isChosen(figure.when, choices));
    drawFigure(box, chosen, runs, choices.scale, page);
  }
}

// Draws the panels that have a visible trace. Unused plots are hidden, not purged: Plotly may be about to lay one out again.
function drawFigure(box, figures, runs, scale, page) {
  const plots = box.querySelector(".plots"), panels = figures.flatMap((figure) => figure.panels);
  for (const trace of panels.flatMap((panel) => panel.data)) trace.visible = trace.meta.every((run) => runs.has(run));
  const visible = panels.filter((panel) => panel.data.some((trace) => trace.visible));
  while (plots.children.length < visible.length) plots.insertAdjacentHTML("beforeend", "<div class='plot'><p></p><div role='img'></div></div>");
  [...plots.children].forEach((plot, number) => { plot.hidden = number >= visible.length; });
  visible.forEach(({ title, data, layout }, number) => {
    const [heading, target] = plots.children[number].children;
    heading.textContent = title;
    target.setAttribute("aria-label", title || box.querySelector("figcaption").textContent);
    layout.width = printing.matches ? (visible.length > 1 ? PRINT_HALF : PRINT_WIDTH) : target.clientWidth;
    if (box.dataset.chart === "perplexity") layout.yaxis.type = scale;
    Plotly.react(target, data, { ...layout, template: page.template }, { displayModeBar: false, doubleClick: false, showTips: false });
  });
  const shown = new Set(visible.flatMap((panel) => panel.data).filter((trace) => trace.visible).map((trace) => trace.legendgroup));
  for (const entry of all("li", box)) entry.hidden = !shown.has(entry.querySelector("span").textContent);
  box.querySelector(".note").textContent = visible.length ? "" : nothing(page.figures.filter((figure) => figure.chart === box.dataset.chart), form.set.value);
}

// Why nothing is drawn; where only other evaluations have such figures, which.
function nothing(figures, set) {
  const sets = figures.flatMap(({ when }) => (when.set || set).split(" "));
  const others = sets.includes(set) ? [] : [...form.set.options].filter(({ value }) => sets.includes(value));
  return others.length ? `Nothing to draw here, but for: ${others.map(({ text }) => text).join("; ")}.` : "Nothing to draw for these choices.";
}

// A line's box stands for all of its seeds, that of an adaptation for all lines adapted so.
function followLine(box) {
  if (box.name === "adapt") {
    for (const div of all("[data-adapt]", form)) {
      if (div.dataset.adapt === box.value) for (const inner of all("input", div)) inner.checked = box.checked;
    }
    return;
  }
  const line = box.closest("form div"), seeds = line ? all("[name=run]", line) : [];
  if (box.name === "line") for (const seed of seeds) seed.checked = box.checked;
  if (box.name === "run") line.querySelector("[name=line]").checked = seeds.some((seed) => seed.checked);
}

if (form) {
  document.addEventListener("change", (event) => { followLine(event.target); drawAll(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  darkScheme.addEventListener("change", drawAll);
  printing.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { for (const part of all("main section > details")) part.open = true; });
  let width = 0, wait = 0;
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width === width || printing.matches) return;
    width = entry.contentRect.width;
    clearTimeout(wait);
    wait = setTimeout(drawAll, 100);
  }).observe(document.querySelector("main"));
  // On a phone the open controls would cover the page.
  if (innerWidth < 992) document.querySelector(".controls").open = false;
  drawAll();
}
