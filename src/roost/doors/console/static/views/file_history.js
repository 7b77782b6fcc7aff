// The history of one file of a session: its versions over the checkpoints, what changed between any two, and older ones.

import { ask, get, of } from "../api.js";
import { diffOf } from "../approvals.js";
import { announce, clean, h, oneLine, put, saveBlob } from "../dom.js";
import { bytes, moment } from "../format.js";

const SIGN = { added: "+", removed: "−", changed: "~" };
const PAGES = 4;
const WHY = { binary: "It is not a text.", too_large: "It is too large to compare.", limit: "It was not compared.", unreadable: "It cannot be read." };

const nameOf = (one) => (one.seq === null ? "now" : one.label ? `⚑ ${oneLine(one.label, 60)}` : `#${one.seq}`);
const range = ([from, to], word) => (to - from > 1 ? `${word}s ${from + 1}–${to}` : to > from ? `${word} ${to}` : "");

/** Calls and messages of a part of the log, as far as `PAGES` pages reach; `cut` tells that there are more. */
async function between(session, after, until) {
  const found = { messages: [], calls: new Map(), cut: false };
  for (let n = 0, at = after; n < PAGES && at < until; n++) {
    const { events } = await get(of(session, "/events"), { after: at, limit: Math.min(1000, until - at) });
    if (!events.length) break;
    for (const { seq, event } of events) {
      if (seq > until) break;
      if (event.type === "input.received") found.messages.push({ seq, event });
      else if (event.type === "model.completed") for (const part of event.parts ?? []) { if (part.kind === "tool_call") found.calls.set(part.id, { seq, name: part.name, given: part.arguments ?? "" }); }
      else if (event.type === "tool.started") Object.assign(found.calls.get(event.call) ?? {}, { seq, ran: true, why: event.why, at: event.at });
    }
    at = events.at(-1).seq;
    found.cut = n === PAGES - 1 && at < until;
  }
  return found;
}

export class FileHistory {
  constructor(root, session, path, back) {
    this.session = session;
    this.path = path;
    this.versions = [];
    this.older = h("select", { "aria-label": "Older version", onchange: () => this.compare() });
    this.newer = h("select", { "aria-label": "Newer version", onchange: () => this.compare() });
    this.said = h("div", { "aria-live": "polite" });
    this.diff = h("div", { class: "changes" });
    this.list = h("ol", { class: "versions", "aria-label": "Versions" });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.load() }, "Look at more checkpoints");
    put(root, h("div", { class: "page files" }, h("div", { class: "bar" }, h("a", { href: back }, "← All files"), h("h2", null, h("code", null, oneLine(path, 300)))),
      h("div", { class: "bar" }, h("label", { class: "check" }, "From ", this.older), h("label", { class: "check" }, "to ", this.newer)), this.diff, h("h3", { class: "caps" }, "Versions"), this.said, this.list, this.more));
    this.load();
  }

  async load() {
    this.more.disabled = true;
    try {
      const page = await get(of(this.session.id, "/file-history"), { path: this.path, before: this.next });
      const first = !this.versions.length;
      this.next = page.next;
      this.versions.push(...page.versions);
      this.more.hidden = !page.next;
      const notes = page.unread.map((seq) => h("p", { class: "warn" }, `The files of checkpoint #${seq} cannot be read any more.`));
      put(this.said, this.versions.length ? null : h("p", { class: "dim" }, page.next ? "No change of this file in the newest checkpoints." : "No checkpoint has this file, and it is not there now."), notes);
      this.list.append(...page.versions.map((one) => this.row(one)));
      this.points();
      if (first) this.compare();
    } catch (error) {
      put(this.said, h("p", { class: "bad" }, error.message));
      this.more.hidden = error.status >= 400 && error.status < 500; // else the same page can be asked for again
    }
    this.more.disabled = false;
  }

  /** Offer all versions on both sides; at first, the newest with the one before it. */
  points() {
    const [older, newer] = [this.older.value, this.newer.value];
    const option = (one, chosen) => h("option", { value: one.seq ?? "", selected: chosen }, `${nameOf(one)}${one.made_at ? ` · ${moment(one.made_at)}` : ""}`);
    const kept = this.versions.filter((one) => one.seq !== null);
    const before = this.versions[0]?.since;
    put(this.newer, this.versions.map((one, n) => option(one, newer ? String(one.seq ?? "") === newer : n === 0)));
    const known = before === null || before === undefined || kept.some((one) => one.seq === before);
    put(this.older, known ? null : h("option", { value: before, selected: !older }, `#${before}`), kept.map((one) => option(one, older ? String(one.seq) === older : one.seq === before)));
  }

  choose(one) {
    if (one.since !== null && ![...this.older.options].some((option) => option.value === String(one.since))) this.older.prepend(h("option", { value: one.since }, `#${one.since}`));
    this.older.value = String(one.since ?? one.seq);
    this.newer.value = String(one.seq ?? "");
    this.compare();
    this.diff.scrollIntoView({ block: "nearest" });
  }

  async compare() {
    const mine = this.turn = (this.turn ?? 0) + 1;
    if (!this.older.value) return put(this.diff, this.versions.length ? h("p", { class: "dim" }, "There is one version.") : null);
    put(this.diff, h("p", { class: "dim" }, "Comparing …"));
    try {
      const found = await get(of(this.session.id, "/diff"), { since: this.older.value, until: this.newer.value, path: this.path });
      if (mine !== this.turn) return undefined;
      const one = found.changes[0];
      const notes = [found.why_not_since, found.why_not_until].filter(Boolean).map((text) => h("p", { class: "warn" }, clean(text)));
      put(this.diff, notes, !one ? h("p", { class: "dim" }, "Both are the same.") : one.diff ? diffOf(one.diff, { path: this.path }) : h("p", { class: "dim" }, WHY[one.why_no_diff] ?? "Only its permissions or its kind differ."));
    } catch (error) {
      if (mine === this.turn) put(this.diff, h("p", { class: "bad" }, error.message));
    }
    return undefined;
  }

  row(one) {
    const may = this.session.rights.may("use");
    const made = [range(one.turns, "turn"), range(one.steps, "step")].filter(Boolean).join(", ");
    const calls = h("details", { class: "calls", ontoggle: () => { if (calls.open && !calls.filled) { calls.filled = true; this.who(one, calls); } } }, h("summary", null, "Who changed it"));
    return h("li", { class: "card version" },
      h("div", { class: "bar" }, h("b", { class: { added: "good", removed: "bad" }[one.change] ?? "" }, SIGN[one.change], h("span", { class: "hidden" }, one.change)), h("strong", null, nameOf(one)), one.cause ? h("span", { class: "pill" }, oneLine(one.cause, 30)) : h("span", { class: "pill" }, "since the newest checkpoint"),
        one.made_at ? h("time", { class: "dim" }, moment(one.made_at)) : null, h("span", { class: "dim" }, made), h("span", { class: "dim num" }, one.file ? `${bytes(one.file.size)}${one.file.kind === "file" ? "" : ` ${one.file.kind}`}` : "removed")),
      h("div", { class: "bar" }, one.since === null ? null : h("button", { type: "button", onclick: () => this.choose(one) }, "Show this change"),
        one.file?.kind === "file" ? h("button", { type: "button", onclick: () => this.download(one) }, "Download") : null,
        may && one.seq !== null ? h("button", { type: "button", onclick: () => this.back(one) }, "Roll back to here …") : null), calls);
  }

  /** Name what may have made a change: the calls of the steps before it, first those that name the file. */
  async who(one, box) {
    const line = h("p", { class: "dim" }, "Reading …");
    box.append(line);
    try {
      const found = await between(this.session.id, one.since ?? 0, one.seq ?? this.session.view.info.head);
      const name = this.path.split("/").at(-1);
      const ran = [...found.calls.values()].filter((call) => call.ran);
      const named = ran.filter((call) => call.given.includes(name) || call.given.includes(this.path));
      const shown = named.length ? named : ran;
      const link = (seq, text) => h("a", { href: `#/s/${encodeURIComponent(this.session.id)}?at=${seq}` }, text);
      line.replaceWith(
        h("ul", null, found.messages.slice(-5).map(({ seq, event }) => h("li", null, link(seq, `message of ${oneLine(event.account ?? event.source ?? "a person", 60)}`), " ", h("span", { class: "dim" }, oneLine((event.parts ?? []).map((part) => part.text ?? "").join(" "), 100)))),
          shown.slice(0, 50).map((call) => h("li", null, link(call.seq, `call ${oneLine(call.name, 60)}`), " ", call.why ? h("span", { class: "pill" }, oneLine(call.why, 60)) : null, " ", h("code", null, oneLine(call.given, 160))))),
        h("p", { class: "dim" }, !ran.length ? "No call ran in between: a person or another program changed it." : named.length ? "These calls name the file; another may have changed it, too." : "No call names the file; one of these may have changed it.", shown.length > 50 ? ` ${shown.length - 50} more are not shown.` : "", found.cut ? " Not all events in between were read." : ""));
    } catch (error) {
      line.replaceWith(h("p", { class: "bad" }, error.message));
    }
  }

  async download(one) {
    try {
      const response = await ask("GET", of(this.session.id, "/file"), { query: { path: this.path, at: one.seq ?? "" }, raw: true });
      saveBlob(await response.blob(), this.path.split("/").at(-1));
    } catch (error) {
      announce(error.message, "bad");
    }
  }

  async back(one) {
    if (!confirm(`Roll the whole session back to event ${one.seq}? Its conversation, memory and all of its private files become what they were. You can undo this.`)) return;
    await this.session.travel("rollback", one.seq);
    this.versions = [];
    this.next = undefined;
    put(this.list);
    put(this.older);
    put(this.newer);
    this.load();
  }
}
