// A session: its head, the conversation as it streams, its timeline, questions, and what a person says to it.

import { ask, Feed, get, newKey, of, post } from "./api.js";
import { question, remove } from "./approvals.js";
import { announce, h, late, once, oneLine, put, saveBlob } from "./dom.js";
import { Fold } from "./fold.js";
import { count, money, short } from "./format.js";
import { go, setQuery, title } from "./address.js";
import { Composer } from "./views/composer.js";
import { badge } from "./sessions.js";
import { firstWords, sessions, stateOf } from "./store.js";
import { Strip } from "./strip.js";
import { itemNode } from "./transcript.js";

const PAGE = 500;
const MOST = 2000; // events of a part that grows by itself
const NEAR = 120;
const AGAIN_MS = 3000;
const TABS = [["", "Conversation"], ["timeline", "Timeline"], ["events", "Events"], ["files", "Files"], ["terminals", "Terminals"], ["compare", "Compare"]];
const LOADERS = {
  timeline: () => import("./views/timeline.js"), events: () => import("./views/events.js"), files: () => import("./views/files.js"),
  terminals: () => import("./views/terminals.js"), compare: () => import("./views/compare.js"),
};
const TELLING = /^(turn\.|model\.(completed|failed)|approval\.|session\.|control\.|child\.|checkpoint\.|rule\.)/;

export class SessionView {
  constructor(root, id, rights) {
    this.id = id;
    this.root = root;
    this.rights = rights;
    this.events = [];
    this.fold = new Fold();
    this.nodes = new Map();
    this.boxes = new Map();
    this.pointsOld = true;
    this.view = null;
    this.detached = false;
    this.panelTurn = 0;
    this.build();
  }

  build() {
    this.headline = h("div", { class: "session-head" });
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Views of the session" });
    this.strip = new Strip((one) => this.jump(one.seq));
    this.earlier = h("button", { class: "quiet small", type: "button", hidden: true, onclick: () => this.loadEarlier() }, "Earlier events");
    this.list = h("div", { class: "items" });
    this.later = h("button", { class: "quiet small", type: "button", hidden: true, onclick: () => this.latest() }, "Go to the newest event");
    this.scroller = h("div", { class: "transcript", tabindex: "0", role: "log", "aria-label": "Conversation", "aria-live": "off", onscroll: () => this.scrolled() }, this.earlier, this.list, this.later);
    this.down = h("button", { class: "down", type: "button", hidden: true, title: "To the end", "aria-label": "To the end", onclick: () => this.latest() }, "↓");
    this.questions = h("div", { class: "questions", "aria-live": "polite" });
    this.panel = h("aside", { class: "inspector", "aria-label": "Inspector" });
    this.composer = new Composer(this);
    this.left = h("section", { class: "left" }, h("div", { class: "scroll-box" }, this.scroller, this.down), this.questions, this.composer.root);
    this.stays = true;
    this.top = 0;
    this.sizes = new ResizeObserver(() => { if (this.stays && !this.detached) this.toEnd(); }); // a question opens below, an item gets its height
    this.sizes.observe(this.scroller);
    this.sizes.observe(this.list);
    this.other = h("section", { class: "other", hidden: true });
    this.body = h("div", { class: "session-body" }, this.left, this.other, this.panel);
    this.composer.drops(this.left);
    this.root.append(this.headline, this.tabs, this.strip.root, this.body);
  }

  async begin(parts, query) {
    this.view = await get(of(this.id));
    this.id = this.view.info.id;
    this.head();
    const at = Number(query.get("at") ?? 0);
    if (at && at < this.view.info.head - PAGE) await this.window(at);
    else {
      await this.load(Math.max(0, this.view.info.head - PAGE), PAGE + 100);
      this.follow();
    }
    this.words ??= this.view.info.title || this.fold.first <= 1 ? "" : await firstWords(this.id).catch(() => "");
    this.head();
    this.tab(parts[1] ?? "");
    if (at) this.jump(at, false);
    else this.toEnd();
    this.inspect(at ? this.itemAt(at) : null);
    this.ask();
    this.heard = this.view.info.head;
    this.composer.restore();
    this.unwatch = sessions.watch(() => this.hear());
    if (this.closed) this.unwatch();
  }

  /** Learn what happens while an earlier part of the log is shown, which no feed follows. */
  hear() {
    const head = sessions.byId.get(this.id)?.head ?? 0;
    if (!this.detached || head <= this.heard) return;
    this.heard = head;
    this.refresh();
    this.askSoon();
  }

  async load(after, limit) {
    const page = await get(of(this.id, "/events"), { after, limit: Math.min(1000, limit) });
    this.events = page.events;
    this.refold();
  }

  refold() {
    const before = this.fold.working;
    this.fold = new Fold();
    this.nodes.clear();
    this.list.replaceChildren();
    for (const { seq, event } of this.events) this.fold.add(seq, event);
    if (before && this.fold.working?.id === before.id) this.fold.working.live = before.live;
    this.update();
  }

  follow() {
    this.detached = false;
    this.feed?.close();
    this.feed = new Feed(() => [of(this.id, "/events"), { after: this.events.at(-1)?.seq ?? 0 }], {
      event: (kind, data, seq) => this.take(kind, data, seq),
      state: (name) => { this.root.dataset.link = name; },
      end: (error) => announce(error.code === "session_deleted" ? "this session was deleted" : error.message, "bad"),
    });
  }

  take(kind, data, seq) {
    if (kind === "delta") this.fold.delta(data);
    else if (kind === "progress") this.fold.progress(data);
    else if (seq) {
      if (seq <= (this.events.at(-1)?.seq ?? 0)) return;
      this.events.push({ seq, event: data });
      this.fold.add(seq, data);
      if (kind === "input.received") this.composer.arrived(data);
      if (TELLING.test(kind)) this.refresh();
      if (/^(checkpoint|child|session|rule|approval)\./.test(kind)) this.pointsOld = true;
      if (/^(approval|child|turn)\./.test(kind)) this.askSoon();
      this.onEvent?.(seq, data);
      if (this.events.length > MOST) this.bound();
    }
    this.soon();
  }

  /** Forget old events when there are many. For a reader who is further up, stop the feed and keep what is shown. */
  bound() {
    if (this.stays || this.current) {
      this.events = this.events.slice(-PAGE);
      this.refold();
    } else this.leave();
  }

  /** Stop the feed: what is shown is an earlier part of the log from now on. */
  leave() {
    this.feed?.close();
    this.detached = true;
    const step = this.fold.working;
    if (step) this.fold.settle(step, "later", this.fold.lastAt); // it did not go on until now: its end is in a later part
    this.update();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.update(); });
  }

  /** Draw what changed, and stay at the end when the reader is there. */
  update() {
    const stay = this.atEnd();
    for (const item of this.fold.dirty) {
      const known = this.nodes.get(item.id);
      const node = itemNode(item, (one) => this.select(one));
      if (item.id === this.chosen?.id) { // also when the log was folded anew
        this.chosen = item;
        node.classList.add("chosen");
      }
      if (known) {
        const open = known.querySelector("details.thinking")?.open;
        if (open) node.querySelector("details.thinking")?.setAttribute("open", "");
        known.replaceWith(node);
      } else this.list.append(node);
      this.nodes.set(item.id, node);
    }
    this.fold.dirty.clear();
    this.earlier.hidden = this.fold.first <= 1;
    this.later.hidden = !this.detached;
    if (stay && !this.detached) this.toEnd();
    if (performance.now() - (this.drawn ?? 0) > 400) this.drawStrip();
    else this.drawing ??= setTimeout(() => this.drawStrip(), 400);
  }

  drawStrip() {
    clearTimeout(this.drawing);
    this.drawing = null;
    this.drawn = performance.now();
    this.strip.set(this.fold.spans);
  }

  atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
    this.stays = true;
  }

  scrolled() {
    const { scrollTop } = this.scroller;
    const end = this.atEnd();
    if (end || scrollTop < this.top) this.stays = end; // a question that opens takes the end away, and nobody scrolled up
    this.top = scrollTop;
    this.down.hidden = end && !this.detached;
    if (this.scroller.scrollTop < 60 && this.fold.first > 1) this.loadEarlier();
    else if (this.detached && this.atEnd()) this.loadLater();
  }

  async loadEarlier() {
    if (this.loading || this.fold.first <= 1) return;
    this.loading = true;
    try {
      const to = this.fold.first - 1;
      const page = await get(of(this.id, "/events"), { after: Math.max(0, to - PAGE), limit: Math.min(PAGE, to) });
      if (to !== this.fold.first - 1) return; // another part was opened meanwhile
      const below = this.scroller.scrollHeight - this.scroller.scrollTop;
      this.events = [...page.events.filter((one) => one.seq <= to), ...this.events];
      this.refold();
      this.scroller.scrollTop = this.scroller.scrollHeight - below;
    } catch (error) {
      announce(error.message, "bad");
    } finally {
      setTimeout(() => { this.loading = false; }, 50);
    }
  }

  async loadLater() {
    if (this.loading) return;
    this.loading = true;
    try {
      const known = this.events;
      const page = await get(of(this.id, "/events"), { after: known.at(-1).seq, limit: PAGE });
      if (this.events !== known || !this.detached) return; // another part was opened meanwhile
      for (const { seq, event } of page.events) {
        this.events.push({ seq, event });
        this.fold.add(seq, event);
      }
      this.update();
      if (this.events.at(-1).seq >= page.head) this.follow();
    } finally {
      this.loading = false;
    }
  }

  async latest() {
    if (this.detached) {
      this.view = await get(of(this.id));
      await this.load(Math.max(0, this.view.info.head - PAGE), PAGE + 100);
      if (this.closed) return;
      this.follow();
      this.update();
    }
    this.toEnd();
  }

  /** Show the part of the log around an event. */
  async window(at) {
    this.feed?.close();
    this.detached = true;
    await this.load(Math.max(0, at - PAGE / 2), PAGE);
    if (this.detached) this.leave();
  }

  itemAt(seq) {
    let best = null;
    for (const item of this.fold.items) {
      if (item.seq === seq || item.started === seq || item.end === seq || item.asked?.seq === seq) return item;
      if (item.seq <= seq) best = item;
    }
    return best;
  }

  /** Scroll to an event, loading its part of the log, and show it in the inspector. */
  async jump(seq, select = true) {
    if (this.current) return go(`/s/${encodeURIComponent(this.id)}?at=${seq}`);
    if (!(seq >= this.fold.first && seq <= this.fold.last)) await this.window(seq);
    const item = this.itemAt(seq);
    if (!item) return undefined;
    const node = this.nodes.get(item.id);
    node?.scrollIntoView({ block: "center" });
    this.stays = this.atEnd();
    if (select) this.select(item);
    else {
      this.chosen = item;
      node?.classList.add("chosen");
    }
    return undefined;
  }

  select(item) {
    if (this.chosen) this.nodes.get(this.chosen.id)?.classList.remove("chosen");
    this.chosen = item;
    this.nodes.get(item.id)?.classList.add("chosen");
    setQuery({ at: String(item.seq) });
    this.inspect(item);
    this.panel.classList.add("shown");
  }

  inspect(item) {
    const mine = ++this.panelTurn;
    this.lent = false;
    late(() => import("./views/inspector.js"), this.panel, ({ inspector }) => put(this.panel, inspector(this, item)), () => mine === this.panelTurn);
  }

  /** Lend the inspector to a view, for what it shows beside itself. It stays until something else is chosen. */
  lend(...nodes) {
    this.panelTurn++;
    this.lent = true;
    put(this.panel, ...nodes);
    this.panel.classList.add("shown");
  }

  unselect() {
    if (this.chosen) this.nodes.get(this.chosen.id)?.classList.remove("chosen");
    this.chosen = null;
    setQuery({ at: "" });
    this.panel.classList.remove("shown");
    this.inspect(null);
  }

  refresh() {
    this.refreshing ??= setTimeout(async () => {
      this.refreshing = null;
      try {
        this.view = await get(of(this.id));
        if (this.closed) return;
        this.head();
        if (!this.chosen && !this.lent) this.inspect(null);
      } catch { /* the next event asks again */ }
    }, 400);
  }

  head() {
    const { info } = this.view;
    const state = stateOf(info);
    const reason = this.view.reason || (state === "failed" && info.last_turn.reason);
    const may = this.rights.may("use");
    const name = oneLine(info.title || this.firstWords() || (this.words === undefined ? "…" : "untitled"), 120);
    if (this.headline.isConnected) title(name); // else the person is elsewhere already
    const usage = this.view.usage ?? {};
    const control = (action, text, more = {}) => h("button", { type: "button", class: more.class ?? null, onclick: once(() => this.control(action, more.sure)) }, text);
    this.about ??= h("div", { class: "about" });
    this.actions ??= h("div", { class: "actions" });
    if (!this.headline.firstChild) this.headline.append(this.about, this.actions);
    put(this.about, h("div", { class: "session-name" }, h("h1", null, name), badge(state), reason ? h("span", { class: "bad" }, oneLine(reason, 160)) : null),
      h("p", { class: "facts dim" }, h("code", null, oneLine(short(info.id), 60)), h("span", null, oneLine(info.agent, 40)), this.view.model ? h("span", null, oneLine(this.view.model, 60)) : null,
        h("span", { title: "tokens in the context" }, `${count(this.view.context_tokens)} in context`), h("span", { title: "tokens to and from models" }, `↑${count(usage.input)} ↓${count(usage.output)}`), h("span", null, money(usage.cost ?? (usage.input ? null : 0))),
        info.parent ? h("a", { href: `#/s/${encodeURIComponent(info.parent)}` }, "parent") : null));
    const key = `${state} ${info.state}`;
    if (may && key !== this.actionsKey) {
      this.actionsKey = key;
      this.more ??= this.menu();
      put(this.actions,
        ["working", "waiting", "queued"].includes(state) ? control("cancel", "Cancel turn") : null,
        info.state === "paused" ? control("resume", "Resume", { class: "main" }) : null,
        info.state === "error" || info.state === "stopped" ? control("start", "Start", { class: "main" }) : null,
        info.state === "running" || info.state === "created" ? control("pause", "Pause") : null, this.more);
    }
    this.composer.steers(["working", "waiting", "queued"].includes(state));
  }

  firstWords() {
    const known = sessions.byId.get(this.id)?.about || this.words;
    if (known) return known;
    const item = this.fold.items.find((one) => one.kind === "message");
    return item ? (item.parts ?? []).map((part) => part.text ?? "").join(" ") : "";
  }

  menu() {
    const act = (text, run, cls) => h("button", { type: "button", class: cls ?? "quiet", onclick: () => { box.open = false; run(); } }, text);
    const box = h("details", { class: "menu", onkeydown: (event) => { if (event.key === "Escape") box.open = false; } }, h("summary", { "aria-label": "More" }, "⋯"), h("div", null,
      act("Make a checkpoint …", () => this.checkpoint()), act("Fork from the end of the last turn", () => this.travel("fork", null)),
      act("Undo the last rollback", () => this.order("/rollback", { undo: true }, "undone")),
      act("Schedule a message …", () => go(`/schedules?session=${encodeURIComponent(this.id)}`)),
      act("Compact the context", () => this.control("compact")), act("Clear the untrusted-content flag", () => this.control("trust", "Clear the flag that untrusted content was read?")),
      act("Export as a file", () => this.export()), act("Stop", () => this.control("stop", "Stop this session? It takes no more messages until it is started."), "quiet"),
      act("Delete …", () => this.remove(), "quiet danger")));
    return box;
  }

  async control(action, sure) {
    if (sure && !confirm(sure)) return;
    await this.order(`/${action}`, {}, { cancel: "cancelled", pause: "paused", resume: "resumed", stop: "stopped", start: "started", compact: "compaction begun", trust: "flag cleared" }[action]);
  }

  async order(part, body, done) {
    try {
      const result = await post(of(this.id, part), body, { key: newKey(), headers: { prefer: "wait=2" } });
      announce(done);
      this.refresh();
      return result;
    } catch (error) {
      announce(error.message, "bad");
      return null;
    }
  }

  async checkpoint() {
    const label = prompt("A label for the checkpoint:");
    if (label !== null) await this.order("/checkpoints", label ? { label } : {}, "checkpoint made");
  }

  async travel(kind, at) {
    if (kind === "fork") {
      const made = await this.order("/fork", at ? { at } : {}, "forked");
      if (made && !this.closed) go(`/s/${encodeURIComponent(made.id)}`);
    } else await this.order("/rollback", { to: at }, `rolled back to event ${at}`);
  }

  async export() {
    try {
      const response = await ask("GET", of(this.id, "/export"), { query: { format: "roost" }, raw: true });
      saveBlob(await response.blob(), `${short(this.id)}.roost.jsonl`);
    } catch (error) {
      announce(error.message, "bad");
    }
  }

  async remove() {
    if (!confirm("Delete this session, its log and its private files, and those of its children? This cannot be undone.")) return;
    try {
      await ask("DELETE", of(this.id));
      announce("deleted");
      if (!this.closed) go("/sessions");
    } catch (error) {
      announce(error.message, "bad");
    }
  }

  askSoon(ms = 150) { this.asking ??= setTimeout(() => { this.asking = null; this.ask(); }, ms); }

  async ask() {
    const read = this.read = get(of(this.id, "/approvals"));
    try {
      const { approvals } = await read;
      const key = JSON.stringify(approvals.map((one) => [one.session, one.call, one.asked]));
      if (read !== this.read || key === this.asked) return; // the newest read counts
      this.asked = key;
      const boxes = new Map(approvals.map((one) => {
        const name = JSON.stringify([one.session, one.call, one.asked]);
        return [name, this.boxes.get(name) ?? question(one, { may: this.rights.may("use"), where: one.session !== this.id, answered: () => this.askSoon() })];
      }));
      for (const [name, box] of this.boxes) if (!boxes.has(name)) remove(box);
      for (const box of boxes.values()) if (!box.isConnected) this.questions.append(box); // others may be typed into
      this.boxes = boxes;
    } catch (error) { // while the session waits for the answer, no event makes it ask again
      if (!this.closed && !(error.status >= 400 && error.status < 500 && error.status !== 429)) this.askSoon(AGAIN_MS);
    }
  }

  tab(name) {
    put(this.tabs, TABS.map(([part, text]) => h("a", { role: "tab", "aria-selected": String(part === name), tabindex: part === name ? "0" : "-1", href: `#/s/${encodeURIComponent(this.id)}${part ? `/${part}` : ""}` }, text)));
    this.other.hidden = !name;
    this.left.hidden = Boolean(name);
    this.strip.root.hidden = Boolean(name);
    this.current?.close?.();
    this.current = null;
    put(this.other);
    this.panel.classList.remove("shown"); // on a phone it lies over the view
    if (this.lent) this.inspect(this.chosen);
    if (name && LOADERS[name]) {
      const mine = this.tabTurn = (this.tabTurn ?? 0) + 1;
      const live = this.detached ? this.latest().catch((error) => announce(error.message, "bad")) : null; // the views follow the log's end
      const load = async () => { await live; return LOADERS[name](); };
      late(load, this.other, (module) => { this.current = module.open(put(this.other), this); }, () => mine === this.tabTurn && !this.closed);
    } else this.tabTurn = (this.tabTurn ?? 0) + 1;
  }

  /** Take a new address of the same session. */
  move(parts, query) {
    if (parts[0] !== this.id && parts[0] !== this.named) return false;
    const name = parts[1] ?? "";
    const before = this.other.hidden ? "" : this.shown;
    this.shown = name;
    if (name !== before) this.tab(name);
    else this.current?.move?.(query);
    if (!name && query.get("at")) this.jump(Number(query.get("at")));
    return true;
  }

  key(event) {
    if (event.key === "Escape" && this.chosen) this.unselect();
    else if (event.key === "m" && this.composer.field) {
      event.preventDefault();
      this.composer.field.focus();
    } else if (event.key === "a" && this.questions.firstChild) {
      event.preventDefault();
      this.questions.firstChild.focus();
    } else if ((event.key === "j" || event.key === "k") && !this.current) {
      const items = this.fold.items;
      const at = this.chosen ? items.indexOf(this.chosen) : items.length;
      const next = items[at + (event.key === "j" ? 1 : -1)];
      if (next) this.jump(next.seq);
    }
  }

  close() {
    this.closed = true;
    this.unwatch?.();
    this.feed?.close();
    this.strip.close();
    this.sizes.disconnect();
    this.current?.close?.();
    clearTimeout(this.refreshing);
    clearTimeout(this.asking);
    clearTimeout(this.drawing);
  }
}

export async function open(root, parts, query, rights) {
  const view = new SessionView(root, parts[0], rights);
  view.named = parts[0];
  view.shown = parts[1] ?? "";
  await view.begin(parts, query);
  return view;
}
