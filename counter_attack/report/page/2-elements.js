// Small parts that everything else is made of. Text goes in as text only, never as markup.

/** An element with attributes, properties that begin with "on", and children. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);

/** A number as people read it, with four significant digits; whole numbers in full. */
function rounded(value) {
  if (Number.isNaN(value)) return "–";
  if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size < 1e-4 || size >= 1e6 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
}

/** A share in percent, with two digits behind the point. */
const percent = (share) => `${(100 * share).toFixed(2).replace(/^-0\.00$/, "0.00")} %`;

const counted = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** How words of the store are shown. */
const SHOWN = new Map([["solver_claim", "solver's claim"], ["linf", "L∞"], ["l1", "L1"], ["l2", "L2"], ["exact", "exact search"]]);
const inWords = (word) => SHOWN.get(word) ?? word.replaceAll("_", " ");

function badge(word) {
  return make("span", { class: `badge is-${word.replace(/[^a-z_]/g, "")}` }, inWords(word));
}

/** Lets the reader keep a table as a file. */
function saveCsv(name, rows) {
  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const text = rows.map((row) => row.map((value) => quoted(String(value))).join(",")).join("\n") + "\n";
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Buttons under the tables that are in the page already, which save them with all their digits. */
function addTableButtons() {
  for (const box of document.querySelectorAll("div.table")) {
    const rows = () => [...box.querySelectorAll("tr")].map((row) =>
      [...row.cells].map((cell) => cell.dataset.full ?? cell.innerText.replaceAll("\n", " ").replace(/^-$/, "")));
    const save = () => saveCsv(box.id.replace(/^table-/, ""), rows());
    const title = box.querySelector("caption").textContent;
    box.append(make("button", { type: "button", class: "save", onclick: save, "aria-label": `Save as CSV: ${title}` }, "Save as CSV"));
  }
}

// Copies of a table have all digits, too.
document.addEventListener("copy", (event) => {
  const selection = document.getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return;
  const copy = selection.getRangeAt(0).cloneContents();
  const cells = copy.querySelectorAll("[data-full]");
  const start = selection.anchorNode?.parentElement?.closest("[data-full]");
  if (!cells.length && !start) return;
  const single = start && start.contains(selection.focusNode);
  cells.forEach((cell) => { cell.textContent = cell.dataset.full; });
  const lines = [...copy.querySelectorAll("tr")].map((row) => [...row.children].map((c) => c.textContent).join("\t"));
  const text = single ? start.dataset.full
    : lines.length ? lines.join("\n") : [...copy.children].map((c) => c.textContent).join("\t");
  event.clipboardData.setData("text/plain", text);
  event.preventDefault();
});
