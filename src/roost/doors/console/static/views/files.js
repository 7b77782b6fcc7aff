// The files of a session: what changed between two moments, and the files as they are.

import { ask, get, of } from "../api.js";
import { diffOf } from "../approvals.js";
import { colour } from "../colour.js";
import { clean, h, late, longText, oneLine, put, saveBlob } from "../dom.js";
import { bytes, moment, short } from "../format.js";
import { address } from "../address.js";
import { readTar } from "./tar.js";

const MOST = 48 * 1024 * 1024;
const SIGN = { added: "+", removed: "−", changed: "~" };
const WHY = { binary: "not a text", too_large: "too large to compare", limit: "not compared: too many changes", unreadable: "cannot be read" };

/** Whether a changed file is a coding agent's own: its settings and conversations, which come last and closed. */
const own = (one) => Number(one.path.startsWith(".roost-agent/"));

/** The point of the log that is said of files. */
const pointText = (one) => `${one.label ? `⚑ ${oneLine(one.label, 40)}` : `#${one.seq}`} · ${one.cause} · ${moment(one.made_at)}`;

/** A file's text in colours; of a long one, the part that is shown at first. */
function contentOf(text, path) {
  const box = longText(text, { lines: 200, most: 20000 });
  const body = box.matches("pre") ? box : box.querySelector("pre");
  if (body) colour(body, { path });
  return box;
}

class Files {
  constructor(root, session) {
    this.session = session;
    this.since = h("select", { "aria-label": "Since", onchange: () => this.compare() });
    this.until = h("select", { "aria-label": "Until", onchange: () => this.compare() });
    this.changes = h("div", { class: "changes" });
    this.tree = h("div", { class: "card tree" }, h("button", { type: "button", onclick: () => this.load() }, "Show all files"));
    this.box = h("div", { class: "page files" }, h("div", { class: "bar" }, h("label", { class: "check" }, "Changes since ", this.since), h("label", { class: "check" }, "until ", this.until)), this.changes, h("h2", { class: "caps" }, "All files"), this.tree);
    this.list = h("div", { class: "list", tabindex: "0", role: "group", "aria-label": "Files" });
    put(root, this.list);
    this.move(address().query);
  }

  /** Show all files, or the history of one, as the address says. */
  move(query) {
    const path = query.get("path") ?? "";
    if (path === this.path) return;
    this.path = path;
    if (path) {
      late(() => import("./file_history.js"), this.list, ({ FileHistory }) => new FileHistory(put(this.list), this.session, path, this.address("")), () => this.path === path);
      return;
    }
    put(this.list, this.box);
    if (!this.begun) this.begin();
    this.begun = true;
  }

  address(path) {
    return `#/s/${encodeURIComponent(this.session.id)}/files${path ? `?${new URLSearchParams({ path })}` : ""}`;
  }

  async begin() {
    try {
      const { checkpoints } = await get(of(this.session.id, "/checkpoints"));
      const points = checkpoints.filter((one) => one.files);
      put(this.since, points.map((one) => h("option", { value: one.seq }, pointText(one))));
      put(this.until, h("option", { value: "" }, "now"), points.map((one) => h("option", { value: one.seq }, pointText(one))));
      if (!points.length) {
        put(this.since, h("option", { value: "" }, "no checkpoint with files"));
        const kept = this.session.view.info.workspace;
        put(this.changes, h("p", { class: "card dim" }, kept ? ["The session works in ", h("code", null, clean(kept)), ", of which Roost keeps no history: use git there."] : "Changes are shown between checkpoints: make one with ⋯ above, or let the agent make them (`checkpoints.every_steps` of its definition)."));
      } else this.compare();
    } catch (error) {
      put(this.changes, h("p", { class: "bad" }, error.message));
    }
  }

  async compare() {
    if (!this.since.value) return;
    const mine = this.turn = (this.turn ?? 0) + 1;
    put(this.changes, h("p", { class: "dim" }, "Comparing …"));
    try {
      const diff = await get(of(this.session.id, "/diff"), { since: this.since.value, until: this.until.value });
      if (mine !== this.turn) return;
      const notes = [diff.why_not_since, diff.why_not_until].filter(Boolean);
      put(this.changes, h("p", { class: "dim" }, `${diff.added} added, ${diff.changed} changed, ${diff.removed} removed`), notes.map((one) => h("p", { class: "warn" }, clean(one))),
        [...diff.changes].sort((a, b) => own(a) - own(b)).map((one) => h("details", { class: "card change", open: !own(one) && diff.changes.length <= 8 + diff.changes.filter(own).length },
          h("summary", null, h("b", { class: { added: "good", removed: "bad" }[one.change] ?? "" }, SIGN[one.change]), " ", h("code", null, oneLine(one.path, 300)), h("span", { class: "dim" }, ` ${one.after ? bytes(one.after.size) : "gone"}`)),
          h("p", null, h("a", { href: this.address(one.path) }, "History of this file")),
          one.diff ? diffOf(one.diff, { path: one.path }) : h("p", { class: "dim" }, WHY[one.why_no_diff] ?? "no change of its bytes"))));
    } catch (error) {
      if (mine === this.turn) put(this.changes, h("p", { class: "bad" }, error.message));
    }
  }

  async load() {
    put(this.tree, h("p", { class: "dim" }, "Reading …"));
    try {
      const response = await ask("GET", of(this.session.id, "/files"), { raw: true });
      const size = Number(response.headers.get("content-length") ?? 0);
      if (size > MOST) {
        response.body.cancel();
        put(this.tree, h("p", null, `The files are ${bytes(size)}, more than the console shows. Get them with `, h("code", null, `roost export ${short(this.session.id)}`), "."));
        return;
      }
      const whole = new Uint8Array(await response.arrayBuffer());
      const files = readTar(whole).filter((one) => one.kind !== "folder").sort((a, b) => (a.path < b.path ? -1 : 1));
      put(this.tree, h("p", { class: "dim" }, `${files.length} ${files.length === 1 ? "file" : "files"}, ${bytes(files.reduce((sum, one) => sum + one.size, 0))}`), files.slice(0, 2000).map((one) => this.file(one)), files.length > 2000 ? h("p", { class: "dim" }, `${files.length - 2000} more`) : null);
    } catch (error) {
      put(this.tree, h("p", { class: "bad" }, error.message));
    }
  }

  file(one) {
    const box = h("details", { class: "file", ontoggle: () => {
      if (!box.open || box.filled) return;
      box.filled = true;
      const text = one.bytes.subarray(0, 8000).includes(0) ? null : new TextDecoder().decode(one.bytes.subarray(0, 2 << 20));
      box.append(text === null ? h("p", { class: "dim" }, "not a text") : contentOf(text, one.path), h("p", { class: "bar" }, h("button", { class: "quiet small", type: "button", onclick: () => saveBlob(new Blob([one.bytes], { type: "application/octet-stream" }), one.path.split("/").at(-1)) }, "Download"), h("a", { href: this.address(one.path) }, "History of this file")));
    } }, h("summary", null, h("code", null, oneLine(one.path, 300)), h("span", { class: "dim num" }, ` ${bytes(one.size)}`)));
    return box;
  }

  close() {}
}

export const open = (root, session) => new Files(root, session);
