// The log as it is: every event, by number. Only what is in view is read.

import { get, of } from "../api.js";
import { clean, copy, h, longText, put } from "../dom.js";
import { clock, moment, pretty } from "../format.js";
import { address, setQuery } from "../address.js";
import { VirtualRows } from "../virtual.js";
import { LogSearch } from "./log_search.js";

const PAGE = 200;
const PAGES = 60;

const gists = new WeakMap();

function gistOf(event) {
  if (!gists.has(event)) gists.set(event, gistText(event));
  return gists.get(event);
}

function gistText(event) {
  const { type: _, at: __, spec: ___, ...rest } = event;
  return clean(JSON.stringify(rest).slice(0, 400));
}

class Events {
  constructor(root, session) {
    this.session = session;
    this.pages = new Map();
    this.head = session.view.info.head;
    this.field = h("input", { type: "number", min: "1", placeholder: "number", "aria-label": "Number of an event" });
    this.sum = h("span", { class: "dim num", role: "status" });
    this.words = h("input", { type: "search", placeholder: "Search this log", "aria-label": "Search this log", onsearch: () => this.look() });
    this.results = h("div", { class: "list", tabindex: "0", role: "group", "aria-label": "Found events" });
    this.scroller = h("div", { class: "list", tabindex: "0", role: "group", "aria-label": "Events" });
    put(root, h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); this.show(Number(this.field.value)); } }, this.field, h("button", null, "Go"),
      h("button", { type: "button", class: "quiet", onclick: () => this.show(1) }, "First"), h("button", { type: "button", class: "quiet", onclick: () => this.show(this.head) }, "Last"), h("span", { class: "grow" }), this.sum),
    h("form", { class: "bar", role: "search", onsubmit: (event) => { event.preventDefault(); this.look(); } }, this.words, h("button", null, "Search")), this.scroller);
    this.rows = new VirtualRows(this.scroller, { height: () => 26, make: (n) => this.row(n) });
    session.onEvent = (seq, event) => {
      this.head = Math.max(this.head, seq);
      this.pages.get(Math.floor((seq - 1) / PAGE))?.set(seq, event);
      this.soon();
    };
    this.draw();
    this.show(this.head);
    this.move(address().query);
  }

  /** Search for what the address says. */
  move(query) {
    const words = query.get("q") ?? "";
    if (words === (this.looked ?? "")) return;
    this.words.value = words;
    this.look();
  }

  look() {
    const words = this.words.value.trim();
    if (words === (this.looked ?? "")) return;
    this.looked = words;
    setQuery({ q: words });
    this.search?.close();
    this.search = words ? new LogSearch(this.results, this.session, words, (seq, event) => this.inspect(seq, event)) : null;
    if (words) this.scroller.before(this.results);
    else this.results.remove();
    this.scroller.hidden = Boolean(words);
    this.soon();
  }

  close() {
    this.search?.close();
    this.session.onEvent = null;
    this.rows.close();
  }

  show(seq) {
    if (seq >= 1) this.rows.reveal(Math.min(this.head, seq) - 1);
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    this.sum.textContent = `${this.head.toLocaleString("en")} events`;
    this.rows.set(this.head);
  }

  find(seq) {
    const number = Math.floor((seq - 1) / PAGE);
    const page = this.pages.get(number);
    if (page) return page.get(seq);
    const made = new Map();
    this.pages.set(number, made);
    if (this.pages.size > PAGES) this.pages.delete(this.pages.keys().next().value);
    get(of(this.session.id, "/events"), { after: number * PAGE, limit: PAGE }).then((found) => {
      for (const { seq: at, event } of found.events) made.set(at, event);
      this.soon();
    }, () => setTimeout(() => { this.pages.delete(number); this.soon(); }, 1000));
    return undefined;
  }

  row(n) {
    const seq = n + 1;
    const event = this.find(seq);
    return h("button", { type: "button", class: "erow", onclick: () => event && this.inspect(seq, event) },
      h("span", { class: "num dim" }, String(seq)), event ? [h("time", { class: "num dim" }, clock(event.at)), h("code", null, clean(event.type)), h("span", { class: "gist" }, gistOf(event))] : [h("span"), h("span", { class: "dim" }, "…"), h("span")]);
  }

  inspect(seq, event) {
    const text = JSON.stringify(event);
    this.session.lend(h("header", null, h("h2", null, `Event ${seq}`), h("button", { class: "quiet icon", type: "button", "aria-label": "Close", onclick: () => this.session.unselect() }, "×")),
      h("p", null, h("code", null, clean(event.type)), h("span", { class: "dim" }, ` ${moment(event.at)}`)),
      h("div", { class: "bar" }, h("button", { class: "small", type: "button", onclick: () => this.session.jump(seq) }, "In the conversation"), h("button", { class: "small", type: "button", onclick: () => copy(JSON.stringify({ seq, event }, null, 2)) }, "Copy")),
      longText(pretty(text), { lines: 200, most: 20000 }));
  }
}

export const open = (root, session) => new Events(root, session);
