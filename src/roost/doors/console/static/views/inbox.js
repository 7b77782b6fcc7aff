// What waits for a person: questions, sessions that failed, facts that were proposed, messages of bots that were refused.

import { get, of, post } from "../api.js";
import { question, remove } from "../approvals.js";
import { announce, clean, h, oneLine, put } from "../dom.js";
import { ago, short } from "../format.js";
import { title } from "../address.js";
import { badge } from "../sessions.js";
import { failed, notifies, sessions, setNotify, stateOf } from "../store.js";

const MOST = 100;

class Inbox {
  constructor(root, rights) {
    this.rights = rights;
    this.asked = new Map();
    this.boxes = new Map();
    this.questions = h("div");
    this.failed = h("div");
    this.proposed = h("div");
    this.letters = h("div");
    this.none = h("p", { class: "empty", hidden: true }, "Nothing waits for you.");
    root.append(h("div", { class: "page inbox" }, h("div", { class: "bar" }, h("h1", null, "Inbox"), h("span", { class: "grow" }), h("label", { class: "check" }, this.bell(), "Notify me when a call waits")), this.none, this.questions, this.failed, this.letters, this.proposed));
    title("Inbox");
    this.stop = sessions.watch(() => this.look());
    this.look();
    this.facts();
    if (rights.may("administer")) this.refused();
  }

  async refused() {
    const { deadLetters } = await import("./letters.js");
    const cards = await deadLetters(() => this.refused()).catch(() => []);
    if (this.closed) return;
    put(this.letters, cards);
    this.dead = cards.length;
    this.sum();
  }

  /** The switch for notifications, which are for windows that nobody looks at. */
  bell() {
    const box = h("input", { type: "checkbox", checked: notifies(), onchange: async () => {
      const why = await setNotify(box.checked);
      box.checked = notifies();
      if (why) announce(why, "bad");
    } });
    return box;
  }

  close() {
    this.stop();
    this.closed = true;
  }

  look() {
    const waiting = [...sessions.byId.values()].filter((info) => stateOf(info) === "waiting").sort((a, b) => a.updated_at - b.updated_at).slice(0, MOST);
    const known = new Set(waiting.map((info) => info.id));
    for (const id of this.asked.keys()) if (!known.has(id)) { this.asked.delete(id); this.drop(id, []); }
    for (const info of waiting) {
      if (this.asked.get(info.id) === info.head) continue;
      this.asked.set(info.id, info.head);
      this.ask(info.id);
    }
    const broken = [...sessions.byId.values()].filter(failed).sort((a, b) => b.updated_at - a.updated_at).slice(0, MOST);
    const key = broken.map((info) => `${info.id} ${info.head}`).join();
    if (key !== this.failedKey) {
      this.failedKey = key;
      put(this.failed, broken.length ? [h("h2", { class: "caps" }, "Failed sessions"), broken.map((info) => this.broken(info))] : null);
    }
    this.sum();
  }

  async ask(id) {
    try {
      const { approvals } = await get(of(id, "/approvals"));
      if (this.closed) return;
      const own = approvals.filter((one) => one.session === id);
      this.drop(id, own);
      for (const one of own) {
        const key = JSON.stringify([id, one.call, one.asked]);
        if (this.boxes.has(key)) continue;
        const box = question(one, { may: this.rights.may("use"), where: true, answered: () => this.ask(id) });
        this.boxes.set(key, box);
        this.questions.append(box);
      }
    } catch {
      this.asked.delete(id);
    }
    this.sum();
  }

  drop(id, kept) {
    const keys = new Set(kept.map((one) => JSON.stringify([id, one.call, one.asked])));
    for (const [key, box] of this.boxes) {
      if (JSON.parse(key)[0] !== id || keys.has(key)) continue;
      const focus = box.contains(document.activeElement);
      const next = box.nextElementSibling ?? box.previousElementSibling;
      remove(box);
      this.boxes.delete(key);
      if (focus && next) {
        next.moved();
        next.focus();
      }
    }
  }

  broken(info) {
    const state = stateOf(info);
    const turn = info.last_turn;
    const said = h("span", { class: "dim" }, state === "failed" ? oneLine(turn.reason || turn.outcome, 300) : null);
    if (state === "error") get(of(info.id)).then((view) => { said.textContent = oneLine(view.reason ?? "", 300); }, () => null);
    return h("section", { class: "card" }, h("div", { class: "bar" }, badge(state), h("a", { href: `#/s/${encodeURIComponent(info.id)}` }, oneLine(info.title || short(info.id), 120)), h("span", { class: "dim" }, `${oneLine(info.agent, 40)} · ${ago(info.updated_at)}`), h("span", { class: "grow" }),
      state === "error" && this.rights.may("use") ? h("button", { type: "button", onclick: () => post(of(info.id, "/start")).then(() => announce("started"), (error) => announce(error.message, "bad")) }, "Start again") : null), said);
  }

  async facts() {
    try {
      const { facts } = await get("/memory/facts", { proposed: true, limit: 50 });
      if (this.closed) return;
      put(this.proposed, facts.length ? [h("h2", { class: "caps" }, "Proposed facts"), facts.map((fact) => h("section", { class: "card" }, h("p", null, clean(fact.text)), h("div", { class: "bar" }, h("span", { class: "dim" }, `${oneLine(fact.space, 60)} · ${fact.category ?? "fact"}`), h("span", { class: "grow" }),
        this.rights.may("use") ? [["accept", "Accept"], ["reject", "Reject"]].map(([action, text]) => h("button", { type: "button", onclick: () => post(`/memory/facts/${encodeURIComponent(fact.id)}/${action}`).then(() => this.facts(), (error) => announce(error.message, "bad")) }, text)) : null)))] : null);
      this.facted = facts.length;
    } catch { /* a role that may not read it */ }
    this.sum();
  }

  sum() {
    this.none.hidden = this.boxes.size > 0 || Boolean(this.failedKey) || Boolean(this.facted) || Boolean(this.dead);
    this.none.textContent = sessions.complete ? "Nothing waits for you." : "Loading …";
  }

  key(event) {
    const boxes = [...this.boxes.values()];
    const at = boxes.findIndex((box) => box.contains(document.activeElement));
    const next = event.key === "j" ? boxes[Math.min(boxes.length - 1, at + 1)] : event.key === "k" ? boxes[Math.max(0, at - 1)] : null;
    if (next) {
      event.preventDefault();
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    }
  }
}

export const open = (root, parts, query, rights) => new Inbox(root, rights);
