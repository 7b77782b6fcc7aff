// What a person says to a session: the text that is being written, files, and messages that have not arrived yet.

import { newKey, of, post } from "../api.js";
import { announce, h, keep, oneLine, put } from "../dom.js";
import { attached, sending, unsure } from "./unsent.js";

export class Composer {
  constructor(session) {
    this.session = session;
    this.sent = new Map();
    this.root = this.build();
  }

  build() {
    if (!this.session.rights.may("use")) return h("p", { class: "composer dim" }, "Your role may read this session, and not write to it.");
    const key = `roost.draft.${this.session.id}`;
    this.field = h("textarea", { rows: "1", placeholder: "Message …", "aria-label": "Message", oninput: () => this.typed(key), onkeydown: (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.say(key);
      }
    } });
    const { text, again } = unsure(key);
    [this.field.value, this.again] = [text, again];
    this.mode = h("select", { hidden: true, "aria-label": "When the agent works", title: "When the agent works" }, h("option", { value: "steer" }, "Steer: now"), h("option", { value: "follow_up" }, "Queue: after the turn"));
    this.waiting = h("ul", { class: "sent", "aria-label": "Messages that wait" });
    requestAnimationFrame(() => this.typed(key));
    this.attached = h("div");
    const pick = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Files to attach", onchange: () => { this.attach([...pick.files]); pick.value = ""; } });
    this.field.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      this.attach(files);
    });
    return h("form", { class: "composer", onsubmit: (event) => { event.preventDefault(); this.say(key); } }, this.waiting, this.attached, h("div", { class: "bar" }, pick, h("button", { type: "button", class: "quiet icon", title: "Attach files: choose, paste or drop them", "aria-label": "Attach files", onclick: () => pick.click() }, "+"), this.field, this.mode, h("button", { class: "main" }, "Send")));
  }

  /** Take files that are dropped anywhere on `place`. */
  drops(place) {
    if (!this.field) return;
    const has = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    place.addEventListener("dragover", (event) => { if (has(event)) { event.preventDefault(); place.classList.add("drop"); } });
    place.addEventListener("dragleave", (event) => { if (!place.contains(event.relatedTarget)) place.classList.remove("drop"); });
    place.addEventListener("drop", (event) => {
      place.classList.remove("drop");
      if (!has(event)) return;
      event.preventDefault();
      this.attach([...event.dataTransfer.files]);
    });
  }

  async attach(files) {
    this.files ??= import("./attachments.js").then(({ Attachments }) => {
      const kept = attached.get(this.session.id) ?? [];
      this.attachments = new Attachments({ model: () => this.session.view?.model ?? null, changed: () => {
        this.attachments.list.length ? attached.set(this.session.id, this.attachments.list) : attached.delete(this.session.id);
        this.typed(`roost.draft.${this.session.id}`);
      } });
      if (kept.length) this.attachments.set(kept);
      this.attached.append(this.attachments.root);
      return this.attachments;
    });
    try {
      await (await this.files).add(files);
    } catch (error) {
      this.files = this.attachments ? this.files : null; // its module, when the connection was cut: the next try loads it
      announce(error.message, "bad");
    }
    if (files.length) this.field.focus();
  }

  typed(key) {
    keep(key, this.field.value, { session: true });
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(220, this.field.scrollHeight + 2)}px`;
  }

  async say(key) {
    const text = this.field.value;
    if (!text.trim() && !this.attachments?.list.length) return;
    const parts = this.attachments?.list.length ? this.attachments.parts(text) : null;
    const files = this.attachments?.take() ?? [];
    const mine = this.again?.text === text && !parts ? this.again.key : newKey();
    this.again = null;
    sending(key, { key: mine, text });
    this.field.value = "";
    this.typed(key);
    this.sent.set(mine, { text: parts ? parts[0].text ?? files.map((one) => one.name).join(", ") : text });
    this.drawSent();
    for (let tries = 0; ; tries++) {
      try {
        const done = await post(of(this.session.id, "/messages"), { ...(parts ? { parts } : { text }), mode: this.mode.hidden ? "follow_up" : this.mode.value, source: "console" }, { key: mine });
        const waits = this.sent.get(mine);
        if (waits) waits.input = done.input; // else its event came before this response
        if (this.session.fold.items.some((item) => item.input === done.input)) this.sent.delete(mine);
        break;
      } catch (error) {
        if (error.status === 0 && tries < 5) { // the key makes it count once
          await new Promise((wake) => { setTimeout(wake, 500 * 2 ** tries); });
          continue;
        }
        this.sent.delete(mine);
        if (!this.field.value) this.field.value = text;
        if (files.length) this.attachments.set([...files, ...this.attachments.list]);
        this.typed(key);
        announce(error.message, "bad");
        break;
      }
    }
    sending(key);
    this.drawSent();
  }

  drawSent() {
    if (this.waiting) put(this.waiting, [...this.sent.values()].map((one) => h("li", null, h("span", { class: "pill" }, "waits"), oneLine(one.text, 160))));
  }

  /** Take files again that were chosen before the view was left. */
  restore() {
    if (this.field && attached.has(this.session.id)) this.attach([]);
  }

  /** The log has this input now: it waits no longer. */
  arrived(event) {
    for (const [key, one] of this.sent) {
      if (one.input !== event.input && (one.input || one.text !== event.parts?.[0]?.text)) continue;
      this.sent.delete(key);
      this.drawSent();
    }
  }

  /** Offer to steer while the agent works. */
  steers(busy) {
    if (this.mode) this.mode.hidden = !busy;
  }
}
