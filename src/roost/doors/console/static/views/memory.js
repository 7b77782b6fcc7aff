// What agents remember: facts by space, searched, with what superseded what.

import { ask, get, post } from "../api.js";
import { announce, clean, h, oneLine, put } from "../dom.js";
import { ago, moment } from "../format.js";
import { setQuery, title } from "../address.js";

const PAGE = 100;

class MemoryView {
  constructor(root, query, rights) {
    this.rights = rights;
    this.search = h("input", { type: "search", placeholder: "Search by words and meaning", "aria-label": "Search facts", value: query.get("q") ?? "", oninput: () => this.soon() });
    this.space = h("select", { "aria-label": "Space", onchange: () => this.load() });
    this.ended = h("input", { type: "checkbox", checked: query.get("former") === "1", onchange: () => this.load() });
    this.list = h("div");
    root.append(h("div", { class: "page" }, h("div", { class: "bar" }, h("h1", null, "Memory"), this.search, this.space, h("label", { class: "check" }, this.ended, "with former facts"), h("span", { class: "grow" }),
      rights.may("use") ? h("button", { type: "button", class: "main", onclick: () => this.add() }, "Add") : null), this.list));
    title("Memory");
    this.begin(query.get("space") ?? "");
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }

  async begin(chosen) {
    const { spaces } = await get("/memory/spaces");
    if (this.closed) return;
    this.spaces = spaces;
    put(this.space, h("option", { value: "" }, "All spaces"), spaces.map((one) => h("option", { value: one.name, selected: one.name === chosen }, `${oneLine(one.name, 60)} (${one.facts})`)));
    this.load();
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), 250);
  }

  async load(before) {
    if (this.closed) return; // the address is another view's
    const mine = this.turn = (this.turn ?? 0) + 1;
    const space = this.space.value || undefined;
    setQuery({ q: this.search.value, space: space ?? "", former: this.ended.checked ? "1" : "" });
    try {
      const words = this.search.value.trim();
      const found = words ? (await get("/memory/search", { query: words, space, limit: 50 })) : await get("/memory/facts", { space, ended: this.ended.checked || undefined, before, limit: PAGE });
      if (mine !== this.turn) return;
      const facts = words ? found.facts.map((one) => one.fact) : found.facts;
      if (!before) put(this.list);
      this.more?.remove();
      for (const fact of facts) this.list.append(this.fact(fact));
      if (found.why) this.list.prepend(h("p", { class: "dim" }, clean(found.why)));
      if (!facts.length && !before) put(this.list, h("p", { class: "empty" }, words ? "Nothing fits." : "Nothing is remembered yet."));
      if (found.next) this.list.append(this.more = h("button", { type: "button", onclick: () => this.load(found.next) }, "More"));
    } catch (error) {
      if (mine === this.turn) put(this.list, h("p", { class: "bad" }, error.message));
    }
  }

  fact(fact) {
    const story = h("div");
    const box = h("details", { class: "card fact", ontoggle: () => { if (box.open && !box.filled) { box.filled = true; this.tell(fact, story); } } },
      h("summary", null, h("span", { class: fact.ended ? "dim ended" : "" }, clean(fact.text)), " ", h("span", { class: "dim" }, `${oneLine(fact.space, 60)} · ${fact.category ?? "fact"}${fact.key ? ` · ${oneLine(fact.key, 40)}` : ""} · ${ago(fact.created)}`), fact.tainted ? h("span", { class: "pill warn" }, "untrusted") : null, fact.proposed ? h("span", { class: "pill" }, "proposed") : null), story);
    return box;
  }

  source(text) {
    const at = text?.lastIndexOf(":") ?? -1;
    return at > 0 ? h("a", { href: `#/s/${encodeURIComponent(text.slice(0, at))}?at=${text.slice(at + 1)}` }, "where it was learned") : null;
  }

  async tell(fact, box) {
    try {
      const story = await get(`/memory/facts/${encodeURIComponent(fact.id)}`);
      const field = h("textarea", { rows: "2", "aria-label": "Text" });
      field.value = story.text;
      const change = (run, text) => run.then(() => { announce(text); this.load(); }, (error) => announce(error.message, "bad"));
      const path = `/memory/facts/${encodeURIComponent(fact.id)}`;
      put(box, h("p", { class: "dim" }, `made ${moment(story.created)}${story.by ? ` by ${clean(story.by)}` : ""}${story.confidence !== undefined && story.confidence < 1 ? ` · confidence ${story.confidence}` : ""} `, this.source(story.source)),
        story.superseded?.length ? [h("p", null, "took the place of"), h("ul", null, story.superseded.map((one) => h("li", { class: "dim" }, clean(one.text))))] : null,
        story.superseded_by ? h("p", null, "replaced by: ", clean(story.superseded_by.text)) : story.ended ? h("p", { class: "dim" }, `ended ${moment(story.ended)} `, this.source(story.ended_source)) : null,
        !story.ended && this.rights.may("use") ? [field, h("div", { class: "bar" }, h("button", { type: "button", onclick: () => change(ask("PUT", path, { body: { text: field.value } }), "changed") }, "Replace"),
          h("button", { type: "button", class: "danger", onclick: () => { if (confirm("Remove this fact from the memory? It stays readable as one that is gone.")) change(ask("DELETE", path), "removed"); } }, "Remove"))] : null);
    } catch (error) {
      put(box, h("p", { class: "bad" }, error.message));
    }
  }

  add() {
    const space = prompt("In which space? As in user:ann, agent:assistant, shared:team", this.space.value || "shared:all");
    if (!space) return;
    const text = prompt("The fact, as one sentence:");
    if (text) post("/memory/facts", { space, text }).then(() => this.begin(this.space.value), (error) => announce(error.message, "bad"));
  }
}

export const open = (root, parts, query, rights) => new MemoryView(root, query, rights);
