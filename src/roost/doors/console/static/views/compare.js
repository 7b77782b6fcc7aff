// Two sessions beside each other, such as a fork and its source: what they share, and what each did after that.

import { get, of } from "../api.js";
import { diffOf } from "../approvals.js";
import { clean, h, oneLine, put } from "../dom.js";
import { Fold } from "../fold.js";
import { count, money, moment, short } from "../format.js";
import { address, go } from "../address.js";
import { sessions } from "../store.js";
import { itemNode } from "../transcript.js";

const PAGE = 1000;
const SHOWN = 200;

const eventAt = async (id, seq) => JSON.stringify((await get(of(id, "/events"), { after: seq - 1, limit: 1 })).events[0]?.event ?? null);

/** How many events two logs have in common. Forks share the events of their source, so a search by halves finds it. */
async function shared(a, b) {
  let [from, to] = [0, Math.min(a.info.head, b.info.head)];
  while (from < to) {
    const middle = Math.ceil((from + to) / 2);
    const [one, other] = await Promise.all([eventAt(a.info.id, middle), eventAt(b.info.id, middle)]);
    if (one === other) from = middle;
    else to = middle - 1;
  }
  return from;
}

/** The session that this one was forked from, if its newest events say so. */
async function sourceOf(session) {
  for (let to = session.view.info.head, n = 0; to > 0 && n < 5; n++, to -= PAGE) {
    const { events } = await get(of(session.id, "/events"), { after: Math.max(0, to - PAGE), limit: Math.min(PAGE, to) });
    const found = events.findLast((one) => one.event.type === "session.forked");
    if (found) return found.event.source;
  }
  return "";
}

class Compare {
  constructor(root, session) {
    this.session = session;
    this.field = h("input", { id: "compare-with", list: "compare-sessions", spellcheck: "false", placeholder: "id of a session" });
    this.said = h("div", { "aria-live": "polite" });
    const known = [...sessions.byId.values()].filter((one) => one.id !== session.id).sort((a, b) => b.updated_at - a.updated_at).slice(0, 200);
    put(root, h("div", { class: "list", tabindex: "0", role: "group", "aria-label": "Comparison" }, h("div", { class: "page" }, h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); go(`/s/${encodeURIComponent(session.id)}/compare?${new URLSearchParams({ with: this.field.value.trim() })}`); } },
      h("label", { for: "compare-with" }, "Compare with"), this.field, h("button", null, "Compare"), h("datalist", { id: "compare-sessions" }, known.map((one) => h("option", { value: one.id }, oneLine(one.title || one.about || one.agent, 60))))), this.said)));
    this.move(address().query);
  }

  close() { this.closed = true; }

  async move(query) {
    const mine = this.turn = (this.turn ?? 0) + 1;
    const late = () => this.closed || mine !== this.turn;
    put(this.said, h("p", { class: "dim" }, "Comparing …"));
    try {
      const other = query.get("with") || await sourceOf(this.session);
      if (late()) return;
      this.field.value = other;
      if (!other) {
        put(this.said, h("p", { class: "dim" }, "This session is no fork: say with which one to compare it."));
        return;
      }
      const both = await Promise.all([get(of(this.session.id)), get(of(other))]);
      if (both[0].info.id === both[1].info.id) throw new Error("That is this session itself.");
      const split = await shared(...both);
      const parts = await Promise.all(both.map((one) => get(of(one.info.id, "/events"), { after: split, limit: PAGE })));
      if (!late()) this.draw(both, split, parts);
    } catch (error) {
      if (!late()) put(this.said, h("p", { class: "bad" }, clean(error.message)));
    }
  }

  draw(both, split, parts) {
    const name = ({ info }) => oneLine(info.title || sessions.byId.get(info.id)?.about || short(info.id), 60);
    const row = (text, value) => h("tr", null, h("th", { scope: "row" }, text), both.map((one, n) => h("td", null, value(one, n))));
    const figures = h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, h("td"), both.map((one) => h("th", { scope: "col" }, h("a", { href: `#/s/${encodeURIComponent(one.info.id)}` }, name(one)))))), h("tbody", null,
      row("state", (one) => `${one.info.state}${one.info.state === "running" ? `, ${one.info.phase}` : ""}`), row("agent", (one) => `${oneLine(one.info.agent, 40)} ${one.info.version.slice(0, 8)}`), row("model", (one) => oneLine(one.model ?? "the node's default", 60)), row("events of its own", (one) => (one.info.head - split).toLocaleString("en")),
      row("turns, steps", (one) => `${one.turns}, ${one.steps}`), row("tokens", (one) => `↑${count(one.usage?.input)} ↓${count(one.usage?.output)}`), row("cost", (one) => money(one.usage?.cost ?? (one.usage?.input ? null : 0))), row("last change", (one) => moment(one.info.updated_at)))));
    put(this.said, h("p", null, split ? `Both have the first ${split.toLocaleString("en")} events.` : "They have no event in common."), figures,
      h("div", { class: "versus" }, both.map((one, n) => h("section", { "aria-label": `After the common part: ${name(one)}` }, h("h2", { class: "caps" }, name(one)), this.items(one, parts[n]), split ? this.files(one, split) : null))));
  }

  items(one, page) {
    const fold = new Fold();
    for (const { seq, event } of page.events) fold.add(seq, event);
    const items = fold.items.filter((item) => !item.dim);
    const open = (item) => go(`/s/${encodeURIComponent(one.info.id)}?at=${item.seq}`);
    const more = items.length - SHOWN;
    return h("div", { class: "items" }, items.slice(0, SHOWN).map((item) => itemNode(item, open)), items.length ? null : h("p", { class: "dim" }, "Nothing happened after that."), more > 0 || page.events.at(-1)?.seq < one.info.head ? h("p", { class: "dim" }, h("a", { href: `#/s/${encodeURIComponent(one.info.id)}` }, "It goes on in the session.")) : null);
  }

  files(one, split) {
    const box = h("details", { class: "card change", ontoggle: async () => {
      if (!box.open || box.filled) return;
      box.filled = true;
      const said = h("p", { class: "dim" }, "Comparing …");
      box.append(said);
      try {
        const diff = await get(of(one.info.id, "/diff"), { since: String(split) });
        said.replaceWith(h("p", { class: "dim" }, `${diff.added} added, ${diff.changed} changed, ${diff.removed} removed. ${clean(diff.why_not_since ?? "")}`), ...diff.changes.slice(0, 50).map((each) => h("details", { open: diff.changes.length <= 4 }, h("summary", null, h("code", null, oneLine(each.path, 300)), h("span", { class: "dim" }, ` ${each.change}`)), each.diff ? diffOf(each.diff, { path: each.path }) : h("p", { class: "dim" }, "no text to compare"))));
      } catch (error) {
        said.replaceWith(h("p", { class: "dim" }, clean(error.message)));
      }
    } }, h("summary", null, "Files changed since then"));
    return box;
  }
}

export const open = (root, session) => new Compare(root, session);
