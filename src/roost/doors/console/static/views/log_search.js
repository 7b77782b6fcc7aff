// A search in the log of one session: from its newest event back, page by page, until enough is found.

import { get, of } from "../api.js";
import { clean, h, oneLine, put } from "../dom.js";
import { clock } from "../format.js";

const PAGE = 1000;
const ENOUGH = 100;
const AROUND = 80;

/** All texts of an event, one after the other; names of fields do not count. */
function textOf(value, depth = 0) {
  if (typeof value === "string") return value;
  if (value === null || typeof value !== "object" || depth > 12) return value === null || value === undefined ? "" : String(value);
  return Object.entries(value).map(([name, one]) => (name === "data" && typeof one === "string" && one.length > 2000 ? "" : textOf(one, depth + 1))).join(" \n");
}

function excerpt(text, at, length) {
  const from = Math.max(0, at - AROUND);
  return [from ? "…" : "", oneLine(text.slice(from, at), 400), " ", h("mark", null, oneLine(text.slice(at, at + length), 200)), " ", oneLine(text.slice(at + length, at + length + 2 * AROUND), 400)];
}

export class LogSearch {
  /** select(seq, event): called for what a person chooses. */
  constructor(root, session, words, select) {
    this.session = session;
    this.words = words.toLowerCase();
    this.select = select;
    this.to = session.view.info.head;
    this.found = 0;
    this.read = 0;
    this.said = h("p", { class: "dim", role: "status" });
    this.list = h("div", { class: "found" });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.run() }, "Search on");
    put(root, h("div", { class: "page" }, this.said, this.list, this.more));
    this.run();
  }

  close() { this.closed = true; }

  async run() {
    const wanted = this.found + ENOUGH;
    this.more.hidden = true;
    try {
      while (this.to > 0 && this.found < wanted && !this.closed) {
        const after = Math.max(0, this.to - PAGE);
        const { events } = await get(of(this.session.id, "/events"), { after, limit: this.to - after });
        if (this.closed) return;
        this.list.append(...events.filter((one) => one.seq <= this.to).reverse().map((one) => this.row(one)).filter(Boolean));
        this.read += this.to - after;
        this.to = after;
        this.tell("…");
      }
      this.tell(this.to ? "" : ", the whole log");
    } catch (error) {
      this.said.textContent = error.message;
    }
    this.more.hidden = this.to === 0;
  }

  tell(end) {
    this.said.textContent = `${this.found.toLocaleString("en")} found in the newest ${this.read.toLocaleString("en")} events${end}`;
  }

  row({ seq, event }) {
    const { type, at, spec: _, ...rest } = event;
    const text = clean(`${type} ${textOf(rest)}`);
    const place = text.toLowerCase().indexOf(this.words);
    if (place < 0) return null;
    this.found++;
    return h("button", { type: "button", class: "hit", onclick: () => this.select(seq, event) }, h("span", { class: "num dim" }, `#${seq} `), h("time", { class: "num dim" }, clock(at)), " ", h("code", null, clean(type)), h("span", { class: "excerpt" }, excerpt(text, place, this.words.length)));
  }
}
