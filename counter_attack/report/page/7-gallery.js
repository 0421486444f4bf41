// The gallery: examples as pictures, and everything about one case.

const FIRST_SHOWN = 12;
/** Columns of attempts whose words are those of the store, not of people. */
const WORDED = new Set(["evidence", "verdict", "stop_reason", "failure"]);

class Gallery {
  constructor(cases, entries, open) {
    this.cases = cases;
    this.entries = entries;
    this.open = open;
    this.byCase = new Map(entries.map((entry) => [entry.case, entry]));
    this.size = FIRST_SHOWN;
    const reasons = [...new Set(entries.map((entry) => entry.reason))];
    byId("gallery-reason").append(make("option", { value: "" }, "any reason"), ...reasons.map((reason) => make("option", { value: reason }, reason)));
    byId("gallery-reason").addEventListener("change", () => { this.size = FIRST_SHOWN; this.draw(); });
    byId("gallery-more").addEventListener("click", () => {
      const first = this.size;
      this.size += 2 * FIRST_SHOWN;
      this.draw();
      byId("gallery-list").children[first]?.querySelector("button")?.focus();
    });
  }

  show(rows) {
    const passing = new Set(rows);
    this.passing = this.entries.filter((entry) => passing.has(entry.case));
    this.draw();
  }

  draw() {
    const reason = byId("gallery-reason").value;
    const shown = this.passing.filter((entry) => !reason || entry.reason === reason);
    byId("gallery-list").replaceChildren(...shown.slice(0, this.size).map((entry) => this.figure(entry)));
    byId("gallery-more").hidden = shown.length <= this.size;
    byId("gallery-status").textContent = shown.length
      ? `${Math.min(shown.length, this.size)} of ${counted(shown.length, "example", "examples")} shown` : "No example in the gallery passes the filters.";
  }

  figure(entry) {
    const { columns } = this.cases, row = entry.case;
    const place = `${columns.dataset.at(row)} ${columns.index.text(row)}`;
    const button = make("button", { type: "button", onclick: () => this.open(row), "aria-label": `Details of ${place}, ${columns.configuration.at(row)}` }, "Details");
    const basis = columns.evidence.has(row) ? badge(columns.evidence.at(row)) : make("span", {}, "the example alone");
    return make("figure", { class: "example", "data-case": row }, exampleStrip(this.cases, entry), make("figcaption", {},
      make("strong", {}, `${columns.configuration.at(row)}, ${place}`), make("br"), ...distanceWords(columns, entry), make("br"),
      "Rests on: ", basis, make("br"),
      make("span", { class: "why" }, `Shown because: ${entry.reason}. `), button));
  }
}

/** The distance of an example, what found it and, for an exact search, what is proved. */
function distanceWords(columns, entry) {
  const number = (value) => make("span", { title: String(value), "data-full": String(value) }, rounded(value));
  const parts = [`${inWords(columns.norm.at(entry.case))} distance `, number(entry.distance), ` by ${entry.name === "exact" ? "exact search" : entry.name}`];
  const proved = columns.kind.at(entry.case) === "distance" && columns.lower.has(entry.case);
  return proved ? [...parts, "; proved to be at least ", number(columns.lower.at(entry.case))] : parts;
}

/** Original, example and difference side by side; words where the input is not an image. */
function exampleStrip(cases, entry) {
  const { columns } = cases, row = entry.case;
  const label = columns.label.has(row) ? `class ${columns.label.text(row)}` : columns.predicted.has(row) ? `predicted ${columns.predicted.text(row)}` : "class unknown";
  const target = entry.target === null ? "class unknown" : `predicted ${entry.target}`;
  if (!entry.original) {
    const why = entry.shape ? `inputs of shape ${entry.shape.join(" × ")} are not images` : "the example's values are not in the store";
    return make("p", { class: "note" }, `${label} → ${target}. No pictures: ${why}.`);
  }
  const where = `${columns.dataset.at(row)} ${columns.index.text(row)}`;
  const part = (source, alt, caption) => make("div", {}, make("img", { src: source, alt, width: entry.shape.at(-1), height: entry.shape.at(-2) }), caption);
  return make("div", { class: "strip" },
    part(entry.original, `Original ${where}, ${label}`, `original: ${label}`),
    part(entry.adversarial, `Adversarial example of ${where}, ${target}`, `adversarial: ${target}`),
    part(entry.difference, `Difference, scaled: ${entry.changed} entries changed, the largest by ${rounded(entry.largest)}`, `difference: up to ${rounded(entry.largest)}`));
}

/** The dialog with everything that the page holds about a case. */
class Details {
  constructor(data, cases, gallery) {
    this.cases = cases;
    this.gallery = gallery;
    this.findings = unpacked(data.findings);
    this.attempts = unpacked(data.attempts);
    this.findingsOf = rowsByCase(this.findings);
    this.attemptsOf = rowsByCase(this.attempts);
    this.partial = data.details_of_gallery_only;
    this.dialog = byId("details");
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => this.closed());
    this.closed = () => {};
  }

  open(row) {
    const { columns } = this.cases;
    const title = `${columns.configuration.at(row)}, ${columns.dataset.at(row)} ${columns.index.text(row)}: ${columns.kind.at(row)}`;
    const entry = this.gallery.byCase.get(row);
    const names = CSV_COLUMNS.filter((name) => columns[name]?.has(row));
    const facts = names.map((name) => make("div", {}, make("dt", {}, name.replaceAll("_", " ")),
      make("dd", {}, name === "evidence" || name === "state" ? badge(columns[name].at(row)) : columns[name].text(row))));
    this.dialog.replaceChildren(...[
      make("h2", { id: "details-title" }, title),
      make("button", { type: "button", class: "close", onclick: () => this.dialog.close() }, "Close"),
      entry ? make("figure", { class: "example" }, exampleStrip(this.cases, entry)) : null,
      make("dl", { class: "facts" }, ...facts),
      this.table("Attempts", this.attempts, this.attemptsOf.get(row)),
      this.table("Examples found", this.findings, this.findingsOf.get(row)),
      this.partial && !entry ? make("p", { class: "note" }, "This campaign is large: only cases in the gallery list what each attack found; the store and its exports have all.") : null,
    ].filter(Boolean));
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  table(title, table, rows) {
    if (!rows) return null;
    const names = Object.keys(table.columns).filter((name) => name !== "case" && rows.some((row) => table.columns[name].text(row)));
    const cell = (name, row) => {
      const column = table.columns[name];
      const text = column.text(row), long = text.length > 40;
      return column instanceof Numbers ? make("td", { class: "number", "data-full": text }, text) : make("td", { class: long ? "wide" : null }, WORDED.has(name) ? inWords(text) : text);
    };
    return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": title },
      make("table", {}, make("caption", {}, title),
        make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col", class: table.columns[name] instanceof Numbers ? "number" : null }, name.replaceAll("_", " "))))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...names.map((name) => cell(name, row)))))));
  }
}
