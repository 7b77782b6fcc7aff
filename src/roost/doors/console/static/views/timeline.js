// All steps of a session as rows, with durations, tokens, money, retries, and why calls were allowed.

import { get, of } from "../api.js";
import { axisOf } from "./axis.js";
import { clean, h, oneLine, put } from "../dom.js";
import { Fold } from "../fold.js";
import { clock, count, money, span } from "../format.js";
import { told } from "../strip.js";
import { gist } from "../transcript.js";
import { VirtualRows } from "../virtual.js";

const PAGE = 1000;
const AGAIN_MS = 2000;
const SHOWN = { model: "model", tool: "tool", wait: "wait", child: "child", kill: "kill", turn: "turn" };

/** A fold that keeps spans and forgets what was said, so that a long log fits. */
class Spans extends Fold {
  item(item) {
    return item;
  }

  add(seq, event) {
    super.add(seq, event);
    this.dirty.clear();
    this.items.length = 0;
    if (event.type === "model.completed") {
      const step = this.steps.get(event.step);
      if (step) step.parts = true;
    } else if (event.type === "tool.completed") {
      const call = this.calls.get(event.call);
      if (call) {
        call.parts = true;
        call.arguments = gist(call.arguments, call.name);
      }
    }
  }
}

class Timeline {
  constructor(root, session) {
    this.session = session;
    this.fold = new Spans();
    this.kinds = new Set(["model", "tool", "wait", "child", "kill"]);
    this.sum = h("span", { class: "dim", role: "status" });
    this.scroller = h("div", { class: "list", tabindex: "0", role: "group", "aria-label": "Steps" });
    put(root, h("div", { class: "bar" }, h("div", { class: "chips", role: "group", "aria-label": "Kinds" }, ["turn", "model", "tool", "wait", "child", "kill"].map((kind) =>
      h("button", { type: "button", class: "chip", "aria-pressed": String(this.kinds.has(kind)), onclick: (event) => {
        this.kinds.has(kind) ? this.kinds.delete(kind) : this.kinds.add(kind);
        event.currentTarget.setAttribute("aria-pressed", String(this.kinds.has(kind)));
        this.draw();
      } }, { turn: "Turns", model: "Model calls", tool: "Tools", wait: "Waits", child: "Children", kill: "Kills" }[kind]))), h("span", { class: "grow" }), this.sum),
    h("div", { class: "trow head", "aria-hidden": "true" }, ["Begun", "Kind", "What", "When", "Took", "Tokens", "Cost"].map((text, n) => h("span", { class: n > 3 ? "num" : null }, text))), this.scroller);
    this.rows = new VirtualRows(this.scroller, { height: () => 28, make: (n) => this.row(n) });
    session.onEvent = (seq, event) => { if (this.whole) { this.fold.add(seq, event); this.soon(); } else (this.later ??= []).push([seq, event]); };
    this.ticks = setInterval(() => { if (this.list?.some((one) => one.to === null)) this.draw(); }, 1000);
    this.read();
  }

  close() {
    this.closed = true;
    this.session.onEvent = null;
    clearInterval(this.ticks);
    this.rows.close();
  }

  async read() {
    for (let after = 0; !this.closed;) {
      let page;
      try {
        page = await get(of(this.session.id, "/events"), { after, limit: PAGE });
      } catch (error) {
        this.progress = `${error.message} · `;
        this.soon();
        if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
        await new Promise((go) => { setTimeout(go, AGAIN_MS); });
        continue;
      }
      for (const { seq, event } of page.events) this.fold.add(seq, event);
      after = page.events.at(-1)?.seq ?? page.head;
      this.progress = after < page.head ? `reading ${after.toLocaleString("en")} of ${page.head.toLocaleString("en")} events · ` : "";
      this.soon();
      if (after >= page.head) break;
    }
    this.whole = true;
    for (const [seq, event] of this.later ?? []) this.fold.add(seq, event);
    this.soon();
  }

  soon() {
    this.frame ??= setTimeout(() => { this.frame = null; if (!this.closed) this.draw(); }, 120);
  }

  draw() {
    this.now = Date.now() / 1000;
    this.list = this.fold.spans.filter((one) => this.kinds.has(one.lane));
    this.axis = axisOf(this.fold.spans, this.now);
    const sums = { model: 0, tool: 0, wait: 0 };
    let cost = 0;
    let kills = 0;
    for (const one of this.fold.spans) {
      if (one.lane in sums) sums[one.lane] += (one.to ?? this.now) - one.from;
      if (one.lane === "kill") kills++;
      cost = one.usage && (one.usage.input || one.usage.output) && (one.usage.cost ?? null) === null ? null : cost === null ? null : cost + (one.usage?.cost ?? 0);
    }
    this.sum.textContent = `${this.progress ?? ""}models ${span(sums.model)} · tools ${span(sums.tool)} · waits for people ${span(sums.wait)}${kills ? ` · ${kills} kills` : ""} · ${money(cost)}`;
    this.rows.set(this.list.length);
    this.none?.remove();
    this.none = this.list.length || !this.whole ? null : h("p", { class: "empty" }, "Nothing has run yet.");
    if (this.none) this.scroller.append(this.none);
  }

  row(n) {
    const one = this.list[n];
    const item = one.item ?? {};
    const left = this.axis.at(one.from) * 100;
    const wide = Math.max(0.3, this.axis.at(one.to ?? this.now) * 100 - left);
    const tokens = one.usage && (one.usage.input || one.usage.output) ? `↑${count(one.usage.input)} ↓${count(one.usage.output)}` : "";
    const more = [item.attempt > 1 ? `attempt ${item.attempt}` : "", item.notices?.length ? item.notices.map((note) => note.kind).join(", ") : "", item.why && one.lane === "tool" ? clean(item.why) : "", one.lane === "wait" && item.answer ? `${item.answer.decision} by ${clean(item.answer.by ?? "a person")}` : "", one.status && one.status !== "ok" && one.status !== "done" ? one.status : ""].filter(Boolean).join(" · ");
    const what = one.lane === "tool" ? [h("b", null, oneLine(one.label, 40)), " ", h("span", { class: "dim" }, oneLine(typeof item.arguments === "string" ? item.arguments : "", 100))] : oneLine(one.label, 80);
    return h("button", { type: "button", class: "trow", title: more ? `${told(one, this.now)} · ${more}` : told(one, this.now), onclick: () => this.session.jump(one.seq) },
      h("time", { class: "dim num" }, clock(one.from)), h("span", { class: one.lane === "kill" || one.status === "failed" || one.status === "error" ? "bad" : "dim" }, SHOWN[one.lane]), h("span", null, what, more ? h("span", { class: "dim" }, ` ${more}`) : null),
      h("span", { class: "lane" }, h("i", { class: `${one.lane} ${one.status ?? ""}`, style: { left: `${left}%`, width: `${Math.min(wide, 100 - left)}%` } })),
      h("span", { class: "num" }, span((one.to ?? this.now) - one.from)), h("span", { class: "num dim" }, tokens), h("span", { class: "num dim" }, tokens ? money(one.usage.cost ?? null) : ""));
  }
}

export const open = (root, session) => new Timeline(root, session);
