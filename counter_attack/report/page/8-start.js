// Brings everything together. What is chosen stands in the address: #section?filters&sort=...&page=...&case=...

function start(data) {
  const cases = unpacked(data.cases);
  const filters = new Filters(cases);
  const charts = new Charts(cases, data.pairs);
  const gallery = new Gallery(cases, data.gallery, openCase);
  const details = new Details(data, cases, gallery);
  const table = new CaseTable(cases, () => showPage(), openCase);
  const form = new FilterForm(filters, () => { table.view.page = 1; later(); });
  let section = "", opened = null, found = filters.apply(), waiting = 0;

  byId("gallery-note").textContent = data.gallery_note;
  details.closed = () => { opened = null; remember(); };

  /** After typing or ticking: once per frame is enough. */
  function later() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { showAll(); remember(); });
  }

  function showAll() {
    found = filters.apply();
    form.show(found);
    table.show(found.rows);
    gallery.show(found.rows);
    charts.update(filters, found.rows);
  }

  function showPage() {
    table.show(found.rows);
    remember();
  }

  function openCase(row) {
    opened = row;
    details.open(row);
    remember();
  }

  function remember() {
    const address = new URLSearchParams();
    filters.write(address);
    const { sort, descending, page, size } = table.view;
    if (sort !== "row" || descending) address.set("sort", (descending ? "-" : "") + sort);
    if (page !== 1) address.set("page", page);
    if (size !== 50) address.set("rows", size);
    if (opened !== null) address.set("case", cases.columns.row.text(opened));
    const text = address.toString();
    history.replaceState(null, "", section || text ? `#${section}${text ? `?${text}` : ""}` : location.pathname);
  }

  function recall() {
    const [place, text] = splitAddress();
    const address = new URLSearchParams(text);
    filters.read(address);
    const wanted = address.get("sort") ?? "row", sort = wanted.replace(/^-/, "");
    table.view = {
      sort: table.head[sort] ? sort : "row", descending: wanted.startsWith("-"), page: Number(address.get("page")) || 1,
      size: [25, 50, 100, 500].includes(Number(address.get("rows"))) ? Number(address.get("rows")) : 50,
    };
    section = byId(place) && place !== "details" ? place : "";
    showAll();
    const row = address.has("case") ? cases.columns.row.values.indexOf(Number(address.get("case"))) : -1;
    if (row >= 0) openCase(row);
    else if (section) byId(section).scrollIntoView();
  }

  // Links to sections keep the rest of the address.
  document.querySelectorAll('a[href^="#"]').forEach((link) => link.addEventListener("click", (event) => {
    section = link.hash.slice(1);
    remember();
    byId(section).scrollIntoView();
    byId(section).focus({ preventScroll: true });
    event.preventDefault();
  }));
  addEventListener("hashchange", recall);
  if (matchMedia("(max-width: 40rem)").matches) document.querySelector("#filters > details").open = false;
  recall();
}

function splitAddress() {
  const address = location.hash.slice(1), mark = address.indexOf("?");
  return mark < 0 ? [address, ""] : [address.slice(0, mark), address.slice(mark + 1)];
}

addEventListener("DOMContentLoaded", async () => {
  addTableButtons();
  try {
    if (byId("data")) start(await readData());
  } catch (error) {
    byId("trouble").hidden = false;
    byId("trouble").textContent = `Charts, cases and gallery could not be shown: ${error.message}. A current browser is needed.`;
    throw error;
  } finally {
    document.documentElement.dataset.ready = "true";
  }
});
