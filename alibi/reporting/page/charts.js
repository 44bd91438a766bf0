"use strict";
// The five charts. Each reads the state, draws, and writes the numbers it drew into its table.
// state: {set, unit, scale, x, lines: visible line labels, runs: visible run labels, context, group: published or null, width}

const lineOf = (label) => DATA.lines.find((line) => line.label === label);
const shown = (state, runs) => runs.filter((run) => state.runs.has(run.label) && state.lines.has(run.line));
const legendOf = (runs) => [...new Set(runs.map((run) => run.line))].map(lineOf);

function trace(colours, look, xs, ys, hover, extra = {}) {
  const colour = colours.pick(look.colour);
  return {
    type: "scatter", mode: "lines+markers", x: xs, y: ys, text: hover, hovertemplate: "%{text}<extra></extra>",
    line: { color: colour, width: 2.2, dash: look.dash }, marker: { color: colour, size: 6, symbol: look.marker }, ...extra,
  };
}
const thin = (look, colours, several) => several
  ? { mode: "lines+markers", line: { color: colours.pick(look.colour), width: 0.8, dash: look.dash }, marker: { color: colours.pick(look.colour), size: 3 } }
  : {};

function trainedAt(colours, positions) {
  return {
    shapes: positions.map(([x]) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, layer: "above", line: { color: colours.soft, width: 1.2, dash: "dash" } })),
    annotations: positions.map(([x, text]) => ({ x: Math.log10(x), y: 1, yref: "paper", text, textangle: -90, xanchor: "left", yanchor: "top", xshift: 0, showarrow: false, font: { size: 10, color: colours.soft } })),
  };
}

function drawPerplexity(chart, state) {
  const colours = theme(), set = DATA.sets[state.set], runs = shown(state, set.runs), metric = state.unit;
  const at = (length, seqLen) => state.x === "multiples" ? length / (seqLen || length) : length;
  const traces = [], xs = [], rows = [], without = [];
  const group = state.group, published = group ? group.curves : [];
  const lengths = [...new Set([...set.lengths, ...published.flatMap((curve) => curve.points.map(([length]) => length))])].sort((a, b) => a - b);
  // By what a curve is divided: 1, or its own value at its training length; without that there is no curve.
  const baseOf = (points, seqLen) => state.relative ? (points.find(([length]) => length === seqLen) || [])[1] : 1;
  for (const run of runs) {
    const look = lineOf(run.line), base = baseOf(run.rows.map((row) => [row.length, (row[metric] || [])[0]]), run.seqLen);
    const divide = (triple) => state.relative ? [triple[0] / base] : triple;
    const good = base ? run.rows.filter((row) => row[metric]).map((row) => ({ length: row.length, [metric]: divide(row[metric]) })) : [];
    if (!good.length) without.push(run);
    const several = runs.filter((other) => other.line === run.line).length > 1;
    const banded = good.filter((row) => row[metric].length > 2);
    if (banded.length > 1) traces.push({
      type: "scatter", mode: "lines", fill: "toself", hoverinfo: "skip", line: { width: 0 }, fillcolor: fade(colours.pick(look.colour), 0.16),
      x: [...banded, ...banded.toReversed()].map((row) => at(row.length, run.seqLen)),
      y: [...banded.map((row) => row[metric][1]), ...banded.toReversed().map((row) => row[metric][2])],
    });
    const hover = good.map((row) => `<b>${escapeHtml(run.label)}</b><br>length ${row.length}<br>${showValue(row[metric])}`);
    xs.push(...good.map((row) => at(row.length, run.seqLen)));
    traces.push(trace(colours, look, good.map((row) => at(row.length, run.seqLen)), good.map((row) => row[metric][0]), hover, thin(look, colours, several)));
    rows.push([run.label, ...lengths.map((length) => {
      const failed = run.rows.find((row) => row.length === length && row.error);
      return failed ? shortError(failed.error) : showCell((good.find((row) => row.length === length) || {})[metric]);
    })]);
  }
  for (const look of legendOf(runs)) {
    const own = set.runs.filter((run) => run.line === look.label), told = (set.means[look.label] || {})[metric] || [];
    const base = baseOf(told, own[0].seqLen), mean = base ? told.map(([length, v]) => [length, v / base]) : [];
    // A mean over all seeds beside some of them only would be misread.
    if (own.length < 2 || shown(state, own).length < own.length || !mean.length) continue;
    const hover = mean.map(([length, value]) => `<b>${escapeHtml(look.label)}</b>, mean of ${own.length} seeds<br>length ${length}<br>${showNumber(value)}`);
    traces.push(trace(colours, look, mean.map(([length]) => at(length, own[0].seqLen)), mean.map(([, value]) => value), hover));
  }
  for (const curve of published) {
    const base = baseOf(curve.points, curve.seqLen);
    if (!base || state.x === "multiples" && !curve.seqLen) {
      without.push(curve);
      continue;
    }
    const points = curve.points.map(([length, v]) => [length, v / base]);
    const hover = points.map(([length, value]) => `${escapeHtml(curve.label)}<br>length ${length}<br>${showNumber(value)}`);
    xs.push(...points.map(([length]) => at(length, curve.seqLen)));
    traces.push(trace(colours, { ...curve, dash: "dot" }, points.map(([length]) => at(length, curve.seqLen)), points.map(([, value]) => value), hover, {
      line: { color: colours.pick(curve.colour), width: 1.2, dash: "dot" }, hovertext: hover, hovertemplate: "%{hovertext}<extra></extra>",
      mode: "lines+markers+text", text: points.map((_, i) => i < points.length - 1 ? "" : curve.seqLen ? `L ${curve.seqLen}` : "L = length"),
      textposition: "top center", textfont: { size: 10, color: colours.pick(curve.colour) }, cliponaxis: false,
    }));
    rows.push([curve.label, ...lengths.map((length) => showNumber((points.find(([n]) => n === length) || [])[1]))]);
  }
  const layout = baseLayout(colours, state.width(chart), 400);
  const multiples = state.x === "multiples";
  layout.xaxis = xs.length ? logAxis(layout.xaxis, xs, layout.width, multiples ? (v) => `${+v.toPrecision(3)}×` : String) : layout.xaxis;
  layout.xaxis.title = { text: multiples ? "length of evaluation / training length" : "length of evaluation (tokens)" };
  layout.yaxis = { ...valueAxis(layout.yaxis, traces, state.scale), title: { text: DATA.metrics[metric] + (state.relative ? ", relative" : "") } };
  const trained = [...new Set(runs.map((run) => run.seqLen))].filter((n) => n);
  Object.assign(layout, trainedAt(colours, multiples ? [[1, "training length"]] : trained.map((n) => [n, `trained at ${n}`])));
  plot(chart, 0, "", traces, layout);
  const drawn = (curve) => !without.includes(curve);
  legend(chart, [...legendOf(runs.filter(drawn)), ...published.filter(drawn).map((curve) => ({ ...curve, dash: "dot" }))]);
  const why = state.relative ? "no value at its training length" : "no number here, or no one training length";
  chart.querySelector("[data-note]").textContent = without.length ? `Not drawn (${why}): ${without.map((curve) => curve.label).join("; ")}.` : "";
  fillTable(numbersOf(chart), ["run", ...lengths.map(String)], rows);
}

function drawContext(chart, state) {
  const colours = theme(), set = DATA.sets[state.set];
  const runs = shown(state, set.runs).filter((run) => run.context[state.context]);
  const traces = runs.map((run) => {
    const look = lineOf(run.line), [xs, ys, targets] = run.context[state.context];
    const hover = xs.map((x, i) => `<b>${escapeHtml(run.label)}</b><br>context ${i && xs[i - 1] < x - 1 ? `up to ${x}` : x}<br>${showNumber(ys[i])} nats, ${targets[i].toLocaleString("en")} targets`);
    return trace(colours, look, xs, ys, hover, { mode: xs.length > 1 ? "lines" : "markers", line: { color: colours.pick(look.colour), width: 1.4, dash: look.dash } });
  });
  const layout = baseLayout(colours, state.width(chart), 360);
  // Sliding targets have no short contexts: the axis begins where the curves do.
  const first = Math.min(...runs.map((run) => run.context[state.context][0][0]));
  const powers = Array.from({ length: 1 + Math.ceil(Math.log2(Number(state.context) || 2)) }, (_, i) => 2 ** i).filter((x) => !(x < first / 1.5));
  layout.xaxis = { ...logAxis(layout.xaxis, powers, layout.width), title: { text: "context of the target (tokens)" }, range: logRange(powers[0], powers.at(-1)) };
  layout.yaxis.title = { text: "nats per token" };
  Object.assign(layout, trainedAt(colours, [...new Set(runs.map((run) => run.seqLen))].filter((n) => n).map((n) => [n, `trained at ${n}`])));
  plot(chart, 0, "", traces, layout);
  legend(chart, legendOf(runs));
  chart.querySelector("[data-note]").textContent = `Always per token. Contexts of an octave are joined until they hold ${DATA.fewest} targets, and left out where they do not.`
    + (runs.length ? "" : " None of the runs shown has this curve at this length.");
  const every = [...new Set(runs.flatMap((run) => run.context[state.context][0]))].sort((a, b) => a - b);
  fillTable(numbersOf(chart), ["context up to", ...runs.map((run) => run.label)], every.map((x) => [String(x), ...runs.map((run) => {
    const [xs, ys] = run.context[state.context];
    return showNumber(ys[xs.indexOf(x)]);
  })]));
}

function drawSplit(chart, state) {
  const colours = theme(), set = DATA.sets[state.set];
  // A sliding set has its own splits; a nonoverlapping one those of every stride on the same text.
  const belongs = (run) => run.set === state.set || (!set.sliding && DATA.sets[run.set].text === set.text);
  const runs = shown(state, DATA.changes.filter(belongs)).filter((run) => run.factors[state.unit]);
  const unit = { perplexity: "nats per token", word_perplexity: "nats per word", bits_per_byte: "bits per byte" }[state.unit];
  const panels = [...new Set(runs.map((run) => `${run.line}, stride ${run.stride}`))], parts = Object.entries(DATA.parts), step = 0.8 / parts.length, rows = [];
  panels.forEach((panel, number) => {
    const own = runs.filter((run) => `${run.line}, stride ${run.stride}` === panel), traces = [];
    const lengths = [...new Set(own.flatMap((run) => run.lengths.map((e) => e.length)))].sort((a, b) => a - b);
    parts.forEach(([part, { name, colour }], place) => lengths.forEach((length, group) => {
      const entries = own.map((run) => [run, run.lengths.find((e) => e.length === length)]).filter(([, e]) => e)
        .map(([run, e]) => [run, e[part].map((v) => v * run.factors[state.unit])]);
      const x = group + (place - 1) * step, mean = entries.reduce((sum, [, v]) => sum + v[0], 0) / entries.length;
      traces.push({ type: "bar", x: [x], y: [mean], width: step * 0.92, hoverinfo: "skip", marker: { color: fade(colours.pick(colour), 0.75) } });
      entries.forEach(([run, v], i) => traces.push({
        type: "scatter", mode: "markers", x: [x + (i - (entries.length - 1) / 2) * step * 0.3], y: [v[0]], marker: { color: colours.text, size: 4 },
        error_y: v.length > 2 ? { type: "data", symmetric: false, array: [v[2] - v[0]], arrayminus: [v[0] - v[1]], color: colours.text, thickness: 1, width: 0 } : undefined,
        text: `<b>${escapeHtml(run.label)}</b><br>length ${length}, ${name}<br>${showValue(v)} ${unit}`, hovertemplate: "%{text}<extra></extra>",
      }));
    }));
    const layout = baseLayout(colours, state.width(chart, panels.length), 250);
    Object.assign(layout.xaxis, { tickvals: lengths.map((_, i) => i), ticktext: lengths.map(String), title: { text: "length of evaluation" }, showgrid: false, zeroline: false });
    Object.assign(layout.yaxis, { title: { text: unit }, zeroline: true });
    plot(chart, number, panel, traces, layout);
  });
  hidePlots(chart, panels.length);
  for (const run of runs) for (const e of run.lengths) {
    rows.push([run.label, String(run.stride), String(e.length), ...parts.map(([part]) => showCell(e[part].map((v) => v * run.factors[state.unit])))]);
  }
  legend(chart, parts.map(([, { name, colour }]) => ({ label: name, colour })));
  chart.querySelector("[data-note]").textContent = runs.length ? "Each panel has its own scale." : "Not known for the runs shown.";
  fillTable(numbersOf(chart), ["run", "stride", "length", ...parts.map(([, { name }]) => `${name} (${unit})`)], rows);
}

function drawCost(chart, state) {
  const colours = theme(), set = DATA.sets[state.set], runs = shown(state, set.runs), rows = [];
  const panels = [["tokens_per_sec", "tokens per second"], ["peak_memory_mib", "peak memory (MiB)"]];
  panels.forEach(([name, title], number) => {
    const traces = runs.map((run) => {
      const good = run.rows.filter((row) => row[name] !== undefined), look = lineOf(run.line);
      const hover = good.map((row) => `<b>${escapeHtml(run.label)}</b><br>length ${row.length}<br>${row[name].toLocaleString("en")} ${title}${row.machine ? `<br>${escapeHtml(row.machine)}` : ""}`);
      return trace(colours, look, good.map((row) => row.length), good.map((row) => row[name]), hover, { line: { color: colours.pick(look.colour), width: 1.4, dash: look.dash } });
    });
    const layout = baseLayout(colours, state.width(chart, 2), 290);
    layout.xaxis = { ...logAxis(layout.xaxis, set.lengths, layout.width), title: { text: "length of evaluation (tokens)" } };
    layout.yaxis = { ...valueAxis(layout.yaxis, traces, state.scale), ...(state.scale === "log" ? {} : { rangemode: "tozero" }) };
    plot(chart, number, title, traces, layout);
    for (const run of runs) rows.push([`${run.label}, ${title}`, ...set.lengths.map((length) => {
      const row = run.rows.find((r) => r.length === length);
      return !row ? "" : row.error ? shortError(row.error) : (row[name] === undefined ? "" : row[name].toLocaleString("en"));
    })]);
  });
  const machines = new Set(runs.flatMap((run) => run.rows.map((row) => row.machine).filter(Boolean)));
  chart.querySelector("[data-note]").textContent = machines.size > 1 ? "Measured on several machines, and so not to be compared point by point; each point names its own." : "";
  legend(chart, legendOf(runs));
  fillTable(numbersOf(chart), ["run", ...set.lengths.map(String)], rows);
}

function drawTraining(chart, state) {
  const colours = theme(), runs = shown(state, DATA.training), traces = [], rows = [];
  const split = (curve) => [curve.map(([x]) => x), curve.map(([, y]) => y)];
  for (const run of runs) {
    const look = lineOf(run.line), colour = colours.pick(look.colour);
    const hover = (curve, what) => curve.map(([x, y]) => `<b>${escapeHtml(run.label)}</b><br>${what}, ${Math.round(x).toLocaleString("en")} tokens<br>${showNumber(y)} nats`);
    traces.push(trace(colours, look, ...split(run.train), hover(run.train, "training, smoothed"), { mode: "lines", opacity: 0.55, line: { color: colour, width: 0.9 } }));
    traces.push(trace(colours, look, ...split(run.val), hover(run.val, "validation"), { line: { color: colour, width: 1.6, dash: look.dash } }));
    for (const [name, curve] of [["training, last", run.train], ["validation, last", run.val], ["validation, lowest", run.val.toSorted((a, b) => b[1] - a[1])]]) {
      if (curve.length) rows.push([`${run.label}, ${name}`, Math.round(curve.at(-1)[0]).toLocaleString("en"), showNumber(curve.at(-1)[1])]);
    }
  }
  const layout = baseLayout(colours, state.width(chart), 360);
  layout.xaxis.title = { text: "tokens seen in training" };
  Object.assign(layout.yaxis, { title: { text: "nats per token" } });
  plot(chart, 0, "", traces, layout);
  legend(chart, legendOf(runs));
  fillTable(numbersOf(chart), ["run", "tokens seen", "nats per token"], rows);
}
