// The foot of a list: which page of how many, and the way to the others.
//
// new Pager(element, onPage); show({ page, pages, count, shown }, "connection")

import { element, setText } from "./dom.js";
import { number, plural } from "./format.js";

export class Pager {
  constructor(target, onPage) {
    this.onPage = onPage;
    this.page = 1;
    this.pages = 1;
    this.text = element("span", { role: "status" });
    this.first = this.button("First", () => 1);
    this.before = this.button("Previous", () => this.page - 1);
    this.next = this.button("Next", () => this.page + 1);
    target.append(element("div", { class: "pages" }, this.text, element("span", { class: "spring" }), this.first, this.before, this.next));
  }

  button(title, page) {
    return element("button", { type: "button", class: "quiet", onclick: () => this.onPage(page()) }, title);
  }

  show({ page, pages, count }, one, many) {
    this.page = page;
    this.pages = pages;
    setText(this.text, `${plural(count, one, many)}, page ${number(page)} of ${number(pages)}`);
    for (const [button, off] of [[this.first, page <= 1], [this.before, page <= 1], [this.next, page >= pages]]) {
      button.disabled = off;
      button.hidden = pages <= 1;
    }
  }
}
