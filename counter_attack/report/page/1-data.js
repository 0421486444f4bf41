// What the page holds: tables by column, unpacked from the compressed JSON that is embedded in it.

/** The embedded data. */
async function readData() {
  const packed = atob(document.getElementById("data").textContent.trim());
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** A column of numbers; NaN where there is none. */
class Numbers {
  constructor(values) {
    this.values = Float64Array.from(values, (value) => (value === null ? NaN : Number(value)));
  }
  at(row) { return this.values[row]; }
  has(row) { return !Number.isNaN(this.values[row]); }
  text(row) { return this.has(row) ? String(this.values[row]) : ""; }
  /** Negative, zero or positive, as for sorting. */
  compare(a, b) { return this.values[a] - this.values[b]; }
}

/** A column of words; empty where there is none. */
class Words {
  constructor(words, codes) {
    this.words = words;
    this.codes = Int32Array.from(codes, (code) => (code === null ? -1 : code));
    const order = words.map((_, code) => code).sort((a, b) => collator.compare(words[a], words[b]));
    this.ranks = new Int32Array(words.length);
    order.forEach((code, rank) => { this.ranks[code] = rank; });
  }
  at(row) { return this.has(row) ? this.words[this.codes[row]] : ""; }
  has(row) { return this.codes[row] >= 0; }
  text(row) { return this.at(row); }
  compare(a, b) { return this.ranks[this.codes[a]] - this.ranks[this.codes[b]]; }
}

const collator = new Intl.Collator("en", { numeric: true });

/** The columns of a table, by name. */
function unpacked(table) {
  const columns = {};
  for (const [name, column] of Object.entries(table.columns)) {
    columns[name] = column.numbers ? new Numbers(column.numbers) : new Words(column.words, column.codes);
  }
  return { count: table.count, columns };
}

/** Rows of a table that belong to a case, by the table's column "case". */
function rowsByCase(table) {
  const rows = new Map();
  for (let row = 0; row < table.count; row++) {
    const owner = table.columns.case.at(row);
    if (!rows.has(owner)) rows.set(owner, []);
    rows.get(owner).push(row);
  }
  return rows;
}
