// The charts, drawn by Plotly from the cases that pass the filters.

const MOST_POINTS = 5000;
/** Of more pairs than that, so many are drawn one by one. */
const FARTHEST = 300;
const BINS = 40;
const STEPS = 400;
const PRINTED_WIDTH = 640;
// Paul Tol's "bright" scheme without its yellow and grey, and his "vibrant" orange: they differ for every kind of vision.
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#ee7733"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
const DASHES = ["solid", "dash", "dot", "dashdot"];

/** Text for Plotly, which would take some of it for markup. */
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

class Charts {
  constructor(cases, pairs) {
    this.cases = cases;
    this.pairs = pairs;
    this.configurations = cases.columns.configuration.words.slice().sort(collator.compare);
    this.sets = cases.columns.set.words.slice().sort(collator.compare);
    this.printing = false;
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.draw());
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
    this.specs = [
      ["scatter", "Attacks against exact distances", (rows) => this.scatter(rows)],
      ["f1", "F1 of the detector by eps", (rows) => this.f1(rows)],
      ["histogram", "Distances", (rows) => this.distances(rows)],
      ["time", "Share decided within a time", (rows) => this.time(rows)],
      ["tightness", "Share of brackets closed to a relative gap", (rows) => this.tightness(rows)],
    ];
    for (const [name, title] of this.specs) {
      byId("chart-list").append(make("figure", { class: "chart", id: `figure-${name}`, "aria-labelledby": `heading-${name}` },
        make("h3", { id: `heading-${name}` }, title),
        make("p", { class: "nothing", hidden: true }),
        make("div", { class: "plot", id: `chart-${name}`, role: "img", "aria-labelledby": `heading-${name}`, "aria-describedby": `caption-${name}` }),
        make("figcaption", { id: `caption-${name}` })));
    }
  }

  /** Draws everything for the filters as they are. */
  update(filters, rows) {
    this.filters = filters;
    this.rows = rows;
    this.draw();
  }

  draw() {
    const { norm, others } = this.norm();
    this.shownNorm = norm;
    const rows = others ? this.rows.filter((row) => this.cases.columns.norm.at(row) === norm) : this.rows;
    for (const [name, , build] of this.specs) this.put(name, build(rows), others);
  }

  /** Distances in different norms do not share an axis: the most frequent one is shown, of equally frequent ones L∞. */
  norm() {
    const counts = new Map();
    for (const row of this.rows) {
      const norm = this.cases.columns.norm.at(row);
      counts.set(norm, (counts.get(norm) ?? 0) + 1);
    }
    const [norm] = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || collator.compare(b, a));
    return { norm, others: counts.size > 1 };
  }

  put(name, { traces, layout, caption, nothing }, others) {
    const figure = byId(`figure-${name}`), place = byId(`chart-${name}`), empty = figure.querySelector(".nothing");
    empty.hidden = !nothing;
    place.hidden = byId(`caption-${name}`).hidden = Boolean(nothing);
    if (nothing) {
      empty.textContent = nothing;
      Plotly.purge(place);
      return;
    }
    place.style.setProperty("--legend", `${this.legendHeight(place, traces)}px`);
    const norm = others ? ` Norm ${inWords(this.shownNorm)} only; the filters choose another.` : "";
    byId(`caption-${name}`).textContent = caption + norm;
    Plotly.react(place, traces, this.themed(layout, traces), {
      displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { filename: name, scale: 3 },
    });
  }

  /** Pixels that the legend needs beyond its first line. */
  legendHeight(place, traces) {
    const names = traces.filter((trace) => trace.showlegend !== false).map((trace) => trace.name.length);
    const width = (this.printing ? PRINTED_WIDTH : place.clientWidth) - 70;
    const across = Math.max(1, Math.floor(width / (60 + 7 * largest([0, ...names]))));
    return 20 * Math.max(0, Math.ceil(names.length / across) - 1);
  }

  print(printing) {
    this.printing = printing;
    if (this.rows) this.draw();
  }

  themed(layout, traces) {
    const dark = this.dark.matches && !this.printing;
    const ink = dark ? "#e6e6e3" : "#1c1d1f", line = dark ? "#383c42" : "#dcdcd7";
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: ink, ticks: "outside", tickcolor: line, automargin: true };
    const legend = { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, itemsizing: "constant" };
    return {
      ...layout,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 60, r: 12, t: 26, b: 60 }, legend, showlegend: traces.filter((trace) => trace.showlegend !== false).length > 1,
      hoverlabel: { align: "left" }, modebar: { bgcolor: "rgba(0,0,0,0)", color: dark ? "#a9adb3" : "#8a8d92", activecolor: ink },
      width: this.printing ? PRINTED_WIDTH : undefined, autosize: true,
      shapes: (layout.shapes ?? []).map((shape) => ({ ...shape, line: { color: ink, width: 1, dash: "dot" } })),
      annotations: (layout.annotations ?? []).map((note) => ({ showarrow: false, font: { size: 12 }, ...note })),
    };
  }

  style(configuration) {
    const i = this.configurations.indexOf(configuration);
    return { color: COLOURS[i % COLOURS.length], symbol: SYMBOLS[(i + Math.floor(i / COLOURS.length)) % SYMBOLS.length],
      dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length] };
  }

  /** Rows by configuration, in its order. */
  grouped(rows) {
    const groups = new Map(this.configurations.map((name) => [name, []]));
    for (const row of rows) groups.get(this.cases.columns.configuration.at(row)).push(row);
    return [...groups].filter(([, members]) => members.length);
  }

  /** The pairs that pass, whose exact search has an upper end, by configuration and attack set. */
  groupedPairs() {
    const { configuration, set, norm, upper } = this.cases.columns;
    const groups = new Map();
    for (let i = 0; i < this.pairs.exact.length; i++) {
      const exact = this.pairs.exact[i], attack = this.pairs.attack[i];
      if (norm.at(exact) !== this.shownNorm || !set.has(attack) || !upper.has(exact)) continue;
      if (!this.filters.passesPair(exact, attack)) continue;
      const key = JSON.stringify([configuration.at(exact), set.at(attack)]);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push([exact, attack]);
    }
    const many = this.sets.length > 1;
    return [...groups].map(([key, members]) => {
      const [name, attackSet] = JSON.parse(key);
      return { configuration: name, set: attackSet, title: many ? `${name}, ${attackSet}` : name, members };
    }).sort((a, b) => collator.compare(a.title, b.title));
  }

  scatter() {
    const { upper, index, dataset, label, target, state } = this.cases.columns;
    const groups = this.groupedPairs();
    const drawn = groups.map((group) => ({ ...group, members: group.members.filter(([, attack]) => upper.has(attack)) }));
    const all = drawn.flatMap((group) => group.members);
    if (!all.length) return { nothing: "No input that passes the filters has both an exact distance and one by an attack." };
    const exact = all.map(([row]) => upper.at(row)), found = all.map(([, row]) => upper.at(row));
    const top = 1.04 * largest([...exact, ...found]) || 1;
    const measured = quality(found, exact);
    const figures = `${counted(measured.count, "pair", "pairs")}. The attacks are ${rounded(100 * measured.difference)} % farther on average; ` +
      `${rounded(100 * measured.below)} % lie within 1/255; R² = ${rounded(measured.r2)}.`;
    const layout = {
      xaxis: { title: { text: "exact distance (upper end)" }, range: [0, top], constrain: "domain" },
      yaxis: { title: { text: "least distance by the attacks" }, range: [0, top], scaleanchor: "x", constrain: "domain" },
      shapes: [{ type: "line", x0: 0, y0: 0, x1: top, y1: top, layer: "below" }], hovermode: "closest",
    };
    const many = all.length > MOST_POINTS;
    const excess = ([row, attack]) => upper.at(attack) - upper.at(row);
    const extremes = many && new Set(all.slice().sort((a, b) => excess(b) - excess(a)).slice(0, FARTHEST));
    const traces = many ? [this.density(exact, found, top)] : [];
    drawn.forEach((group) => {
      const members = many ? group.members.filter((pair) => extremes.has(pair)) : group.members;
      if (!members.length) return;
      const { color, symbol } = this.style(group.configuration);
      const dashed = this.sets.indexOf(group.set) % 2 === 1;
      traces.push({
        type: "scatter", mode: "markers", name: plain(group.title),
        x: members.map(([row]) => upper.at(row)), y: members.map(([, row]) => upper.at(row)),
        customdata: members.map(([row]) => row),
        text: members.map(([row, attack]) => plain(`${group.title}, ${dataset.at(row)} ${index.text(row)}`) +
          (label.has(row) ? `<br>class ${label.text(row)} → ${target.text(row) || "–"}` : "") +
          `<br>exact ${upper.text(row)} (${state.at(row)})<br>attack ${upper.text(attack)}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: { color, size: 7, opacity: 0.75, line: { color, width: 1.2 },
          symbol: members.map(([row]) => (dashed || state.at(row) !== "decided" ? `${symbol}-open` : symbol)) },
      });
    });
    const open = all.some(([row]) => state.at(row) !== "decided") ? " Hollow marks: the bracket is open." : "";
    const thinned = many ? ` Shading counts all pairs; marks are the ${extremes.size.toLocaleString("en")} that attacks miss most.` : "";
    return { traces, layout, caption: `${figures} Dotted: attack = exact.${open}${thinned}` };
  }

  /** Counts of pairs over a grid, for more of them than can be drawn one by one. */
  density(x, y, top) {
    const size = 100, z = Array.from({ length: size }, () => new Array(size).fill(0));
    x.forEach((value, i) => { z[Math.floor((y[i] / top) * size)][Math.floor((value / top) * size)] += 1; });
    const middle = Array.from({ length: size }, (_, i) => ((i + 0.5) * top) / size);
    const counts = z.map((row) => row.map((count) => count || null));
    const most = largest(z.flat());
    const ticks = [1, 10, 100, 1000, 10000].filter((tick) => tick <= most);
    return {
      type: "heatmap", x: middle, y: middle, z: counts.map((row) => row.map((count) => count && Math.log10(count))), customdata: counts,
      colorscale: "Cividis", hovertemplate: "%{customdata} pairs near (%{x:.4g}, %{y:.4g})<extra></extra>", showlegend: false,
      colorbar: { title: { text: "pairs" }, tickvals: ticks.map(Math.log10), ticktext: ticks.map(String), thickness: 12 },
    };
  }

  f1() {
    const { upper } = this.cases.columns;
    const groups = this.groupedPairs();
    if (!groups.length) return { nothing: "No input that passes the filters has both an exact distance and an attack." };
    const usual = 8 / 255;
    const linf = this.shownNorm === "linf";
    const top = Math.max(largest(groups.flatMap((group) => group.members.map(([row]) => upper.at(row)))), linf ? 1.15 * usual : 0) || 1;
    const radii = Array.from({ length: STEPS + 1 }, (_, i) => (top * i) / STEPS);
    let failed = 0;
    const traces = groups.map((group) => {
      const exact = Float64Array.from(group.members, ([row]) => upper.at(row));
      const found = Float64Array.from(group.members, ([, row]) => upper.at(row));
      failed += found.filter(Number.isNaN).length;
      const { color, dash } = this.style(group.configuration);
      const second = DASHES[this.sets.indexOf(group.set) % DASHES.length];
      return { type: "scatter", mode: "lines", name: plain(group.title), x: radii, y: f1Curve(found, exact, radii), line: { color, width: 2, dash: this.sets.length > 1 ? second : dash },
        text: radii.map(() => plain(group.title)), hovertemplate: "%{text}<br>eps %{x:.6g}<br>F1 %{y:.6g}<extra></extra>" };
    });
    const marked = linf ? { shapes: [{ type: "line", x0: usual, x1: usual, y0: 0, y1: 1, yref: "paper", layer: "below" }],
      annotations: [{ x: usual, y: 1, yref: "paper", yanchor: "bottom", text: "8/255" }] } : {};
    const layout = { xaxis: { title: { text: "eps" }, range: [0, top] }, yaxis: { title: { text: "F1" }, range: [-0.02, 1.04] }, hovermode: "closest", ...marked };
    const total = groups.reduce((sum, group) => sum + group.members.length, 0);
    return { traces, layout, caption: `The detector says “attack ≤ eps”, the truth is “exact ≤ eps”. ${counted(total, "pair", "pairs")}${failed ? `, in ${failed.toLocaleString("en")} of which the attacks failed` : ""}. ` +
      "The upper end of the bracket stands for the exact distance; choose state “decided” for closed brackets only." };
  }

  distances(rows) {
    const { kind, upper } = this.cases.columns;
    const known = rows.filter((row) => upper.has(row));
    const shown = ["distance", "attack"].find((name) => known.some((row) => kind.at(row) === name));
    if (!shown) return { nothing: "No query that passes the filters has a distance." };
    const groups = this.grouped(known.filter((row) => kind.at(row) === shown));
    const top = largest(groups.flatMap(([, members]) => members.map((row) => upper.at(row)))) || 1;
    const middles = Array.from({ length: BINS }, (_, i) => ((i + 0.5) * top) / BINS);
    const traces = groups.map(([name, members]) => ({
      type: "bar", name: plain(name), x: middles, y: histogram(members.map((row) => upper.at(row)), top, BINS), width: top / BINS,
      marker: { color: this.style(name).color, pattern: { shape: ["", "/", ".", "x"][Math.floor(this.configurations.indexOf(name) / COLOURS.length) % 4] } },
      text: middles.map((middle) => `${rounded(middle - top / BINS / 2)} to ${rounded(middle + top / BINS / 2)}`), textposition: "none",
      customdata: middles.map(() => plain(name)), hovertemplate: "%{customdata}<br>%{text}<br>%{y} cases<extra></extra>",
    }));
    const most = largest(middles.map((_, i) => traces.reduce((sum, trace) => sum + trace.y[i], 0)));
    const what = shown === "distance" ? "exact distance (upper end)" : "least distance by the attacks";
    const total = groups.reduce((sum, [, members]) => sum + members.length, 0);
    return { traces, caption: `${counted(total, "case", "cases")}; bars of the configurations stand on each other.`,
      layout: { xaxis: { title: { text: what }, range: [0, top] }, yaxis: { title: { text: "cases" }, dtick: most <= 6 ? 1 : null }, barmode: "stack", bargap: 0 } };
  }

  time(rows) {
    const { kind, seconds, state, attempts } = this.cases.columns;
    const tried = rows.filter((row) => attempts.at(row) > 0);
    const shown = ["distance", "verify", "attack"].find((name) => tried.some((row) => kind.at(row) === name));
    if (!shown) return { nothing: "No query that passes the filters has been tried." };
    const groups = this.grouped(tried.filter((row) => kind.at(row) === shown));
    const decided = (members) => members.filter((row) => state.at(row) === "decided").map((row) => seconds.at(row));
    const all = groups.flatMap(([, members]) => decided(members)).filter((value) => value > 0);
    if (!all.length) return { nothing: "No query that passes the filters is decided." };
    const axis = logarithmic(least(all) * 0.9, largest(all) * 1.1, STEPS);
    const { traces, caption } = this.shares(groups, decided, axis, "decided within %{x:.4g} s");
    const words = { distance: "exact distances", verify: "verdicts", attack: "attack sets" }[shown];
    return { traces, layout: logLayout("seconds, all attempts together", axis), caption: `${caption} ${words}, of those tried at least once.` };
  }

  tightness(rows) {
    const { kind, lower, upper } = this.cases.columns;
    const known = rows.filter((row) => kind.at(row) === "distance" && lower.has(row) && upper.has(row));
    if (!known.length) return { nothing: "No query that passes the filters has a bracket with both ends." };
    const gap = (row) => (upper.at(row) > 0 ? Math.max(0, upper.at(row) - lower.at(row)) / upper.at(row) : 0);
    const groups = this.grouped(known);
    const positive = known.map(gap).filter((value) => value > 0);
    const axis = logarithmic(Math.max(least([...positive, 1e-6]) * 0.5, 1e-16), 1, STEPS);
    const { traces, caption } = this.shares(groups, (members) => members.map(gap), axis, "have a gap of at most %{x:.3g} of the upper end");
    return { traces, layout: logLayout("(upper − lower) / upper", axis), caption: `${caption} brackets with both ends.` };
  }

  /** For each group, which share of it has a value of at most each point of the axis. */
  shares(groups, valuesOf, axis, words) {
    const traces = groups.map(([name, members]) => {
      const count = counter(Float64Array.from(valuesOf(members)).sort());
      const { color, dash } = this.style(name);
      return { type: "scatter", mode: "lines", name: plain(name), x: axis, y: axis.map((value) => (100 * count(value)) / members.length),
        line: { color, width: 2, dash, shape: "hv" }, text: axis.map(() => plain(name)), hovertemplate: `%{text}<br>%{y:.4g} % ${words}<extra></extra>` };
    });
    return { traces, caption: `${groups.reduce((sum, [, members]) => sum + members.length, 0).toLocaleString("en")}` };
  }
}

/** Ticks at powers of ten and, over few of them, also between those. */
function logLayout(title, axis) {
  const low = Math.log10(axis[0]), high = Math.log10(axis.at(-1)), step = Math.ceil((high - low) / 8);
  const factors = high - low < 1 ? [1, 1.5, 2, 3, 5, 7] : high - low < 2.5 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power++) {
    if (power % step === 0) for (const factor of factors) ticks.push(Number(`${factor}e${power}`));
  }
  return {
    xaxis: { type: "log", title: { text: title }, range: [low, high], tickvals: ticks, ticktext: ticks.map(String) },
    yaxis: { title: { text: "share in %" }, range: [-2, 102] }, hovermode: "closest",
  };
}
