// Files that a person sends with a message: by button, pasted, or dropped on the conversation.

import { get } from "../api.js";
import { announce, h, oneLine, put } from "../dom.js";
import { bytes } from "../format.js";

const MOST = 20;
const ALL_BYTES = 22 * 1024 * 1024; // the server takes 32 MiB, and base64 makes four bytes of three
const TEXT_BYTES = 512 * 1024;
const IMAGE = /^image\/(png|jpeg|gif|webp)$/;
const WORDS = { image: "images", audio: "sound", video: "videos", file: "documents" };

/** The kind of part that a file becomes; null for what no model reads. */
async function kindOf(file) {
  if (IMAGE.test(file.type)) return ["image", file.type];
  if (/^audio\//.test(file.type)) return ["audio", file.type];
  if (/^video\//.test(file.type)) return ["video", file.type];
  if (file.type === "application/pdf") return ["file", file.type];
  if (file.size > TEXT_BYTES) return null;
  const body = new Uint8Array(await file.arrayBuffer());
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    return null;
  }
  return body.includes(0) ? null : ["text", "text/plain"];
}

const dataOf = (file) => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => failed(new Error(`${oneLine(file.name, 80)} cannot be read`));
  reader.readAsDataURL(file);
});

export class Attachments {
  /** model(): the name of the session's model, null for the node's default. changed(): the list is another. */
  constructor({ model, changed }) {
    this.model = model;
    this.changed = changed;
    this.list = [];
    this.items = h("ul", { class: "attached", "aria-label": "Attachments" });
    this.said = h("p", { class: "warn", role: "status", hidden: true });
    this.root = h("div", null, this.items, this.said);
  }

  async add(files) {
    for (const file of files) {
      const name = oneLine(file.name || "pasted", 80);
      if (this.list.length >= MOST) {
        announce(`a message takes at most ${MOST} files`, "bad");
        break;
      }
      if (this.list.reduce((sum, one) => sum + one.size, file.size) > ALL_BYTES) {
        announce(`${name}: the files of a message may have ${bytes(ALL_BYTES)} together`, "bad");
        continue;
      }
      try {
        const kind = await kindOf(file);
        if (!kind) announce(`${name}: attach pictures (PNG, JPEG, GIF, WebP), sound, videos, PDFs and texts up to ${bytes(TEXT_BYTES)}`, "bad");
        else this.list.push({ kind: kind[0], type: kind[1], name: file.name || `pasted.${kind[1].split("/")[1]}`, size: file.size, data: kind[0] === "text" ? null : await dataOf(file), text: kind[0] === "text" ? await file.text() : null });
      } catch (error) {
        announce(error.message || `${name} cannot be read`, "bad"); // a folder, or a file that is gone
      }
    }
    this.draw();
    await this.warn();
  }

  /** The parts of a message. A text is a part of its own under its name: all models read it. */
  parts(text) {
    return [...(text.trim() ? [{ kind: "text", text }] : []), ...this.list.map((one) => (one.kind === "text" ? { kind: "text", text: `File ${one.name}:\n\n${one.text}` } : { kind: one.kind, media_type: one.type, data: one.data, name: one.name }))];
  }

  take() {
    const taken = this.list;
    this.set([]);
    return taken;
  }

  set(list) {
    this.list = list;
    this.draw();
    this.warn();
  }

  draw() {
    put(this.items, this.list.map((one) => h("li", { class: "pill" }, one.kind === "image" ? h("img", { src: `data:${one.type};base64,${one.data}`, alt: "" }) : null, h("span", null, oneLine(one.name, 40)), h("span", { class: "dim num" }, bytes(one.size)),
      h("button", { type: "button", class: "quiet icon small", "aria-label": `Remove ${oneLine(one.name, 40)}`, onclick: () => this.set(this.list.filter((other) => other !== one)) }, "×"))));
    this.changed();
  }

  /** Say which kinds the session's model does not take, as far as the node knows it. */
  async warn() {
    const kinds = [...new Set(this.list.map((one) => one.kind))].filter((kind) => WORDS[kind]);
    if (!kinds.length) {
      this.said.hidden = true;
      return;
    }
    const { models } = await (this.known ??= get("/models").catch(() => ({ models: [] })));
    const name = this.model();
    const able = name && name !== "auto" ? models.filter((one) => one.name === name) : models.filter((one) => one.usable);
    const lacking = able.length ? kinds.filter((kind) => !able.some((one) => one.media.includes(kind))) : [];
    this.said.textContent = lacking.length ? `${name && name !== "auto" ? oneLine(name, 60) : "No model of this node"} takes ${name && name !== "auto" ? "no" : ""} ${lacking.map((kind) => WORDS[kind]).join(" and no ")}: the turn would fail.`.replace("  ", " ") : able.length ? "" : "It is not known whether the session's model takes these: if not, the turn fails and says so.";
    this.said.hidden = !this.said.textContent;
  }
}
