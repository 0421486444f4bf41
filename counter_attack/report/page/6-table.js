// The table of cases: sorted, one page at a time.

const NUMBER = { number: true };
const TABLE_COLUMNS = [
  { key: "configuration", title: "configuration", name: true },
  { key: "kind", title: "asked" },
  { key: "norm", title: "norm", varied: true },
  { key: "eps", title: "eps", ...NUMBER, low: true },
  { key: "set", title: "attack set", low: true },
  { key: "index", title: "input", input: true },
  { key: "label", title: "class", ...NUMBER },
  { key: "state", title: "state", badge: true },
  { key: "verdict", title: "verdict", low: true, verify: true },
  { key: "lower", title: "lower", ...NUMBER },
  { key: "upper", title: "upper", ...NUMBER },
  { key: "gap", title: "gap", ...NUMBER, low: true },
  { key: "attack", title: "attack", ...NUMBER },
  { key: "excess", title: "excess", ...NUMBER, low: true },
  { key: "evidence", title: "rests on", badge: true },
  { key: "seconds", title: "seconds", ...NUMBER },
  { key: "attempts", title: "attempts", ...NUMBER, low: true },
  { key: "failures", title: "failures", ...NUMBER, low: true, some: true },
  { key: "stop_reason", title: "stopped", low: true },
];

/** All columns that files of the cases have. */
const CSV_COLUMNS = ["row", "configuration", "kind", "norm", "eps", "set", "dataset", "index", "label", "predicted", "target", "state",
  "verdict", "lower", "upper", "gap", "attack", "excess", "evidence", "stop_reason", "engine", "backend", "attempts", "failures",
  "seconds", "contradiction", "model", "key"];

class CaseTable {
  /** `changed` is called when the reader sorts or turns a page, `open` with the case of a row that is opened. */
  constructor(cases, changed, open) {
    this.cases = cases;
    this.changed = changed;
    this.open = open;
    this.view = { sort: "row", descending: false, page: 1, size: 50 };
    const used = (column) => {
      const values = cases.columns[column.key];
      if (!values) return false;
      if (column.varied) return values.words.length > 1;
      if (column.verify) return cases.columns.kind.words.includes("verify");  // it says nothing new about a distance
      for (let row = 0; row < cases.count; row++) if (values.has(row) && !(column.some && values.at(row) === 0)) return true;
      return false;
    };
    this.shown = TABLE_COLUMNS.filter(used);
    this.head = { row: this.header("row", "#") };
    for (const column of this.shown) this.head[column.key] = this.header(column.key, column.title, column);
    document.querySelector("#cases-table thead").append(make("tr", {}, ...Object.values(this.head)));
    this.body = document.querySelector("#cases-table tbody");
    this.body.addEventListener("keydown", (event) => this.move(event));
    const turn = (page) => () => { this.view.page = page(); this.changed(); };
    byId("page-first").addEventListener("click", turn(() => 1));
    byId("page-previous").addEventListener("click", turn(() => this.view.page - 1));
    byId("page-next").addEventListener("click", turn(() => this.view.page + 1));
    byId("page-last").addEventListener("click", turn(() => this.pages));
    byId("page-size").addEventListener("change", (event) => {
      this.view.size = Number(event.target.value);
      this.view.page = 1;
      this.changed();
    });
    byId("cases-csv").addEventListener("click", () => this.save());
  }

  header(key, title, { number, low } = {}) {
    const sort = () => {
      this.view.descending = this.view.sort === key && !this.view.descending;
      this.view.sort = key;
      this.view.page = 1;
      this.changed();
    };
    const classes = [number && "number", low && "low"].filter(Boolean).join(" ") || null;
    return make("th", { scope: "col", class: classes, "data-key": key }, make("button", { type: "button", onclick: sort }, title));
  }

  /** Rows in the order of the view; those without a value come last either way. */
  sorted(rows) {
    const { sort, descending } = this.view;
    const column = this.cases.columns[sort], sign = descending ? -1 : 1;
    const known = rows.filter((row) => column.has(row)), others = rows.filter((row) => !column.has(row));
    const tie = sort === "index" ? (a, b) => this.cases.columns.dataset.compare(a, b) : () => 0;
    known.sort((a, b) => sign * (tie(a, b) || column.compare(a, b)) || a - b);
    return known.concat(others);
  }

  show(rows) {
    this.rows = this.sorted(rows);
    this.pages = Math.max(1, Math.ceil(rows.length / this.view.size));
    this.view.page = Math.min(Math.max(1, this.view.page), this.pages);
    const from = (this.view.page - 1) * this.view.size, to = Math.min(from + this.view.size, rows.length);
    this.body.replaceChildren(...this.rows.slice(from, to).map((row) => this.row(row)));
    for (const [key, cell] of Object.entries(this.head)) {
      if (key === this.view.sort) cell.setAttribute("aria-sort", this.view.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    const total = rows.length.toLocaleString("en");
    byId("cases-status").textContent = rows.length ? `${(from + 1).toLocaleString("en")} to ${to.toLocaleString("en")} of ${total} cases` : "No case passes the filters.";
    byId("page-size").value = String(this.view.size);
    byId("page-first").disabled = byId("page-previous").disabled = this.view.page === 1;
    byId("page-last").disabled = byId("page-next").disabled = this.view.page === this.pages;
  }

  row(row) {
    const { columns } = this.cases;
    const number = columns.row.text(row);
    const open = make("button", { type: "button", onclick: () => this.open(row), "aria-label": `Details of query ${number}` }, number);
    return make("tr", { "data-case": row }, make("th", { scope: "row" }, open), ...this.shown.map((column) => this.cell(column, row)));
  }

  cell(column, row) {
    const { columns } = this.cases;
    const values = columns[column.key];
    const classes = [column.number && "number", column.low && "low", column.name && "name"].filter(Boolean).join(" ") || null;
    if (!values.has(row)) return make("td", { class: classes }, "");
    if (column.input) return make("td", {}, `${columns.dataset.at(row)} ${values.text(row)}`);
    if (column.badge) {
      const warning = column.key === "state" && columns.contradiction.has(row) ? make("span", { class: "badge is-contradiction" }, "contradiction") : null;
      const cell = make("td", { class: classes }, badge(values.at(row)));
      if (warning) cell.append(" ", warning);
      return cell;
    }
    if (!column.number) return make("td", { class: classes, title: column.name ? values.at(row) : null }, column.name || column.key === "set" ? values.at(row) : inWords(values.at(row)));
    const full = values.text(row);
    const shown = column.key === "excess" ? percent(values.at(row)) : rounded(values.at(row));
    return make("td", { class: classes, title: full === shown ? null : full, "data-full": full }, shown);
  }

  /** Arrow keys go from row to row. */
  move(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const button = step && event.target.closest("tr")?.[step]?.querySelector("button");
    if (!button) return;
    button.focus();
    event.preventDefault();
  }

  save() {
    const { columns } = this.cases;
    const names = CSV_COLUMNS.filter((name) => columns[name]);
    saveCsv("cases", [names, ...this.rows.map((row) => names.map((name) => columns[name].text(row)))]);
  }
}
