// A table whose rows are made once and whose cells change in place, so that a page of rows costs little.
//
// new Table(element, { caption, columns, key, empty, sort, onSort })
//   columns: [{ title, cell(row) -> string or element, number, long, wrap, sort }]; `sort` names what the server sorts by
//   key(row): equal for the same row; empty: an element or a string for no rows
//   sort: { by, descending }; onSort(sort): another one was chosen; oneWay: the largest always come first
// show(rows)

import { element, setText } from "./dom.js";

export class Table {
  constructor(target, { caption, columns, key, empty = "Nothing here.", sort = null, onSort = () => {}, oneWay = false }) {
    this.columns = columns;
    this.key = key;
    this.sort = sort;
    this.onSort = onSort;
    this.oneWay = oneWay;
    this.rows = new Map(); // key -> { line, cells, shown }
    this.heads = columns.map((column) => this.head(column));
    this.body = element("tbody");
    const table = element("table", {}, element("caption", { class: "visually-hidden" }, caption));
    table.append(element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    this.scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
    this.empty = element("div", { class: "empty", hidden: true }, empty);
    target.append(this.scroll, this.empty);
    this.showSort();
  }

  head(column) {
    const head = element("th", { scope: "col", class: column.number ? "number" : null });
    if (!column.sort) {
      head.append(column.title);
      return head;
    }
    head.append(element("button", { type: "button", onclick: () => this.choose(column) }, column.title));
    return head;
  }

  choose(column) {
    const again = this.sort?.by === column.sort;
    this.sort = { by: column.sort, descending: again && !this.oneWay ? !this.sort.descending : true };
    this.showSort();
    this.onSort(this.sort);
  }

  showSort() {
    this.heads.forEach((head, index) => {
      const sorted = this.sort && this.columns[index].sort === this.sort.by;
      if (sorted) head.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  show(rows) {
    const shown = new Set();
    let place = this.body.firstElementChild;
    for (const row of rows) {
      const key = String(this.key(row));
      shown.add(key);
      const held = this.rows.get(key) ?? this.make(key);
      this.fill(held, row);
      if (held.line === place) place = place.nextElementSibling;
      else this.body.insertBefore(held.line, place);
    }
    for (const [key, held] of this.rows) {
      if (shown.has(key)) continue;
      held.line.remove();
      this.rows.delete(key);
    }
    this.empty.hidden = rows.length > 0;
    this.scroll.hidden = rows.length === 0;
  }

  make(key) {
    const kinds = (column) => ["number", "long", "wrap"].filter((kind) => column[kind]).join(" ") || null;
    const cells = this.columns.map((column) => element("td", { class: kinds(column) }));
    const held = { line: element("tr", { "data-key": key }, ...cells), cells, shown: [] };
    this.rows.set(key, held);
    return held;
  }

  // A cell with an element is made again only when what `of` names of its row has changed.
  fill(held, row) {
    this.columns.forEach((column, index) => {
      const mark = column.of ? JSON.stringify(column.of(row)) : null;
      if (mark !== null && held.shown[index] === mark) return;
      held.shown[index] = mark;
      const content = column.cell(row);
      if (typeof content === "string") setText(held.cells[index], content);
      else held.cells[index].replaceChildren(content);
      if (column.long && typeof content === "string") held.cells[index].title = content;
    });
  }
}
