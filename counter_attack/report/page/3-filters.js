// The filters: what is chosen, which cases pass, and the form that shows it.

const FACETS = [
  { name: "configuration", title: "Configuration" },
  { name: "kind", title: "Asked", worded: true },
  { name: "norm", title: "Norm", worded: true },
  { name: "set", title: "Attack set" },
  { name: "state", title: "State", worded: true },
  { name: "evidence", title: "Rests on", worded: true },
  { name: "verdict", title: "Verdict", worded: true },
  { name: "label", title: "Class" },
];
const TEXTS = ["configuration", "dataset", "kind", "set", "state", "verdict", "stop_reason", "engine", "backend",
  "model", "key"];

class Filters {
  constructor(cases) {
    this.cases = cases;
    this.facets = FACETS.filter(({ name }) => cases.columns[name]).map((facet) => ({ ...facet, ...this.options(facet.name) }))
      .filter((facet) => facet.options.length > 1);
    this.clear();
  }

  /** The values of a facet in their order, and which of them each case has. */
  options(name) {
    const column = this.cases.columns[name];
    const seen = new Map();
    for (let row = 0; row < this.cases.count; row++) {
      const text = column.has(row) ? column.text(row) : "";
      if (!seen.has(text)) seen.set(text, row);
    }
    const options = [...seen.keys()].sort((a, b) => (a === "") - (b === "") || collator.compare(a, b));
    const position = new Map(options.map((text, i) => [text, i]));
    const codes = new Int32Array(this.cases.count);
    for (let row = 0; row < this.cases.count; row++) codes[row] = position.get(column.has(row) ? column.text(row) : "");
    return { options, codes };
  }

  clear() {
    this.chosen = Object.fromEntries(this.facets.map((facet) => [facet.name, new Set()]));
    this.low = this.high = NaN;
    this.text = "";
  }

  get active() {
    return this.facets.some((facet) => this.chosen[facet.name].size) || !Number.isNaN(this.low) ||
      !Number.isNaN(this.high) || this.text !== "";
  }

  /** Whether the case has one of the chosen values of a facet. */
  agrees(facet, row) {
    const chosen = this.chosen[facet.name];
    return chosen.size === 0 || chosen.has(facet.options[facet.codes[row]]);
  }

  /** Whether the case passes range and text. */
  fits(row) {
    const upper = this.cases.columns.upper.at(row);
    if (!Number.isNaN(this.low) && !(upper >= this.low)) return false;
    if (!Number.isNaN(this.high) && !(upper <= this.high)) return false;
    return this.text === "" || this.words().every((word) => this.haystack(row).includes(word));
  }

  words() { return this.text.toLowerCase().split(/\s+/).filter(Boolean); }

  haystack(row) {
    this.haystacks ??= new Array(this.cases.count);
    return (this.haystacks[row] ??= [
      ...TEXTS.map((name) => this.cases.columns[name]?.text(row) ?? ""), `#${this.cases.columns.index.text(row)}`,
    ].join(" ").toLowerCase());
  }

  /** Rows that pass, and for each value of each facet how many would pass if only it were chosen there. */
  apply() {
    const rows = [];
    const counts = this.facets.map((facet) => new Int32Array(facet.options.length));
    for (let row = 0; row < this.cases.count; row++) {
      if (!this.fits(row)) continue;
      let missed = -1, misses = 0;
      for (let i = 0; i < this.facets.length && misses < 2; i++) {
        if (!this.agrees(this.facets[i], row)) { missed = i; misses += 1; }
      }
      if (misses === 0) {
        rows.push(row);
        this.facets.forEach((facet, i) => { counts[i][facet.codes[row]] += 1; });
      } else if (misses === 1) counts[missed][this.facets[missed].codes[row]] += 1;
    }
    return { rows, counts };
  }

  /**
   * Whether a pair of an exact search and an attack on the same input passes: the exact search has to, but for what it
   * is (its kind) and for the attack set, which is the attack's.
   */
  passesPair(exact, attack) {
    const kinds = this.chosen.kind;
    if (kinds?.size && !kinds.has("distance") && !kinds.has("attack")) return false;
    return this.fits(exact) && this.facets.every((facet) =>
      facet.name === "kind" || this.agrees(facet, facet.name === "set" ? attack : exact));
  }

  /** The choice in words, for print. */
  describe() {
    const parts = this.facets.filter((facet) => this.chosen[facet.name].size)
      .map((facet) => `${facet.title.toLowerCase()}: ${[...this.chosen[facet.name]].map((value) => optionText(facet, value)).join(" or ")}`);
    if (!Number.isNaN(this.low)) parts.push(`distance at least ${this.low}`);
    if (!Number.isNaN(this.high)) parts.push(`distance at most ${this.high}`);
    if (this.text) parts.push(`text: ${this.text}`);
    return parts.length ? `Only cases with ${parts.join("; ")}.` : "All cases.";
  }

  /** For the address, and back from it. */
  write(address) {
    for (const facet of this.facets) for (const value of this.chosen[facet.name]) address.append(facet.name, value);
    if (!Number.isNaN(this.low)) address.set("low", this.low);
    if (!Number.isNaN(this.high)) address.set("high", this.high);
    if (this.text) address.set("text", this.text);
  }

  read(address) {
    this.clear();
    for (const facet of this.facets) {
      for (const value of address.getAll(facet.name)) if (facet.options.includes(value)) this.chosen[facet.name].add(value);
    }
    this.low = numberOr(address.get("low"));
    this.high = numberOr(address.get("high"));
    this.text = address.get("text") ?? "";
  }
}

const numberOr = (text) => (text === null || text.trim() === "" ? NaN : Number(text));
const optionText = (facet, value) => (value === "" ? "none" : facet.worded ? inWords(value) : value);

/** The form; calls `changed` after every change by the reader. */
class FilterForm {
  constructor(filters, changed) {
    this.filters = filters;
    this.boxes = filters.facets.map((facet) => facet.options.map((value) => {
      const input = make("input", { type: "checkbox", name: facet.name, value });
      const count = make("span", { class: "count" });
      input.addEventListener("change", () => {
        filters.chosen[facet.name][input.checked ? "add" : "delete"](value);
        changed();
      });
      return { input, count, label: make("label", { class: "pill" }, input, optionText(facet, value), count) };
    }));
    filters.facets.forEach((facet, i) => byId("facets").append(
      make("fieldset", { class: "facet" }, make("legend", {}, facet.title), make("div", { class: "pills" }, ...this.boxes[i].map((box) => box.label)))));
    const inputs = { low: byId("filter-low"), high: byId("filter-high"), text: byId("filter-text") };
    this.inputs = inputs;
    for (const name of ["low", "high"]) inputs[name].addEventListener("input", () => {
      filters[name] = numberOr(inputs[name].value);
      changed();
    });
    inputs.text.addEventListener("input", () => { filters.text = inputs.text.value.trim(); changed(); });
    byId("filter-form").addEventListener("submit", (event) => event.preventDefault());
    byId("filter-form").addEventListener("reset", (event) => { event.preventDefault(); filters.clear(); changed(); });
  }

  /** Brings the form in line with the filters. */
  show(found) {
    this.filters.facets.forEach((facet, i) => this.boxes[i].forEach((box, j) => {
      box.input.checked = this.filters.chosen[facet.name].has(facet.options[j]);
      box.count.textContent = found.counts[i][j].toLocaleString("en");
    }));
    for (const name of ["low", "high"]) {
      const value = this.filters[name];
      if (!Object.is(numberOr(this.inputs[name].value), value)) this.inputs[name].value = Number.isNaN(value) ? "" : value;
    }
    if (this.inputs.text.value.trim() !== this.filters.text) this.inputs.text.value = this.filters.text;
    byId("filter-reset").disabled = !this.filters.active;
    const total = this.filters.cases.count.toLocaleString("en");
    byId("matching").textContent = `${found.rows.length.toLocaleString("en")} of ${total} cases`;
    byId("filters-printed").textContent = this.filters.describe();
  }
}
