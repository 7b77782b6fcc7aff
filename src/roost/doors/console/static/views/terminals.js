// Terminals of a session: what its people and its agent see and type into.

import { ask, get, of, post } from "../api.js";
import { clean, h, once, oneLine, put } from "../dom.js";
import { Attachment } from "./attachment.js";
import { Player } from "./player.js";
import { Screen, loadSheet } from "./screen.js";

const SETTLED_MS = 150;
const PHONE_KEYS = [["Esc", "escape"], ["Tab", "tab"], ["←", "left"], ["↑", "up"], ["↓", "down"], ["→", "right"]];

const button = (text, act, more = {}) => h("button", { type: "button", class: "small", onclick: act, ...more }, text);

class Terminals {
  constructor(root, session) {
    this.id = session.id;
    this.session = session;
    this.use = session.rights.may("use");
    this.me = session.rights.me.account ?? "owner";
    this.mine = new Set(); // opened or fitted here: they follow the size of this window
    this.known = new Map();
    this.choice = h("select", { "aria-label": "Terminal", onchange: () => this.choose(this.choice.value, { focus: true }) });
    this.fitButton = button("Fit to window", () => this.toggleFit(), { "aria-pressed": "false", title: "Give the terminal the size of this window, for everybody" });
    this.holdButton = button("Take the keyboard", once(() => this.hold()));
    this.playButton = button("Recording", () => this.toggleRecording());
    this.endButton = button("End", once(() => this.end()));
    const reader = button("Screen reader", async () => { // a click may come before the screen is loaded
      await this.ready;
      if (!this.closed) reader.setAttribute("aria-pressed", String(this.screen.reader()));
    }, { "aria-pressed": "false", title: "Make the screen readable for screen readers" });
    this.state = h("span", { class: "dim t-state", role: "status" });
    this.note = h("p", { class: "dim t-note", role: "status" });
    this.holder = h("div", { class: "t-screen", hidden: true });
    this.foot = h("div", { class: "t-foot" });
    this.control = button("Ctrl", () => this.holdControl(), { "aria-pressed": "false" });
    this.keys = h("div", { class: "bar t-keys", "data-fast": true, hidden: !this.use, onpointerdown: (event) => event.preventDefault() },
      this.control, PHONE_KEYS.map(([text, name]) => button(text, () => this.screen?.press(name), { "aria-label": name })));
    const tools = this.use ? [button("Open a shell", once(() => this.make())), this.fitButton, this.holdButton, this.playButton, this.endButton] : [this.playButton];
    put(root, h("div", { class: "terminals" }, h("div", { class: "bar" }, this.choice, tools, reader, this.state), this.note, this.holder, this.foot, this.keys));
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.holder);
    session.onEvent = (_, event) => { if (/^(terminal\.(opened|ended)$|sandbox\.)/.test(event.type)) this.listSoon(); };
    this.ready = this.begin(reader);
    this.ready.catch((error) => this.fail(error));
  }

  async begin(reader) {
    await loadSheet();
    if (this.closed) return;
    this.holder.hidden = false;
    this.screen = new Screen(this.holder, { reads: !this.use, on: {
      data: (text) => this.attachment ? this.attachment.type(text) : this.say("This is not live: nothing was typed."),
      bytes: (bytes) => this.attachment?.typeBytes(bytes),
      leave: () => (this.choice.hidden ? this.holder.closest(".terminals").querySelector("button") : this.choice).focus(),
    } });
    reader.setAttribute("aria-pressed", String(this.screen.term.options.screenReaderMode));
    this.holder.hidden = true;
    await this.list();
  }

  /** Whether the terminal has the size of this window. */
  get fits() {
    return this.mine.has(this.one);
  }

  path(part = "") {
    return of(this.id, `/terminals/${encodeURIComponent(this.one)}${part}`);
  }

  say(text) {
    this.note.textContent = text;
  }

  /** Say why something failed. A cut connection is told beside the size, and hides nothing that was said here. */
  fail(error) {
    if (!(this.attachment && error.code === "unreachable")) this.say(error.message);
  }

  listSoon() {
    this.listing ??= setTimeout(() => { this.listing = null; this.list(); }, SETTLED_MS);
  }

  async list(chosen) {
    try {
      const { terminals } = await get(of(this.id, "/terminals"));
      if (this.closed || !this.screen) return; // `begin` asks again when the screen is loaded
      this.known = new Map(terminals.map((one) => [one.terminal, one]));
      put(this.choice, terminals.map((one) => h("option", { value: one.terminal }, `${oneLine(one.command.join(" "), 40)} · ${one.terminal}${one.state === "running" ? "" : ` (${one.state})`}`)));
      this.choice.hidden = !terminals.length;
      for (const one of [this.fitButton, this.holdButton, this.playButton, this.endButton]) one.hidden = !terminals.length;
      if (!terminals.length) this.say("This session has no terminals. One that you open runs in its sandbox, and others and the agent see it, too.");
      const running = terminals.filter((one) => one.state === "running");
      const wanted = chosen ?? (this.known.has(this.one) ? this.one : running.at(-1)?.terminal ?? terminals.at(-1)?.terminal);
      if (wanted && wanted !== this.one) this.choose(wanted);
      else if (wanted && this.view?.state === "asleep" && this.known.get(wanted).state === "running") this.choose(wanted); // it was resumed
      else if (wanted) this.choice.value = wanted;
      this.tell();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Show a terminal: live, or the recording of one that has ended. */
  choose(terminal, { focus = false } = {}) {
    this.leave();
    this.one = terminal;
    this.choice.value = terminal;
    this.view = this.known.get(terminal) ?? null;
    this.link = "";
    this.holder.hidden = false;
    this.say("");
    this.screen.redraw("");
    if (this.view?.state === "running") this.attach();
    else this.play();
    this.tell();
    if (focus) this.screen.term.focus();
  }

  leave() {
    this.attachment?.close();
    this.player?.close();
    [this.attachment, this.player] = [null, null];
  }

  attach() {
    const attachment = this.attachment = new Attachment(this.id, this.one, this.screen, {
      view: (view) => { this.view = view; this.tell(); this.resized(); },
      event: (event) => this.take(event),
      state: (name) => { this.link = name; this.tell(); },
      over: (error) => { if (this.attachment === attachment) this.over(error); },
      refused: (error) => this.say(error.code === "keyboard_held" ? `${clean(this.view?.keyboard ?? "Another one")} holds the keyboard: nothing was typed.` : `Not typed: ${error.message}`),
    });
  }

  over(error) {
    this.attachment = null;
    this.say(error.message);
    if (error.code !== "terminal_asleep") return void this.refresh();
    Object.assign(this.view, { state: "asleep", viewers: [] });
    this.tell();
    this.listSoon();
  }

  take(event) {
    const changes = {
      size: () => ({ columns: event.columns, rows: event.rows }), keyboard: () => ({ keyboard: event.holder }), viewers: () => ({ viewers: event.names }),
      title: () => ({ title: event.title }), ended: () => ({ state: "ended", code: event.code, reason: event.reason }),
    }[event.kind]?.();
    if (!changes) return;
    Object.assign(this.view, changes);
    if (event.kind === "keyboard") this.say("");
    if (event.kind === "size" && !(event.columns === this.wished?.columns && event.rows === this.wished?.rows)) this.mine.delete(this.one); // another window gave it its size: two that follow would fight
    if (event.kind === "ended") this.attachment = null;
    this.tell();
  }

  /** Look at a terminal again that could not be attached. */
  async refresh() {
    const one = this.one;
    await this.list();
    if (one !== this.one || this.attachment) return;
    this.view = this.known.get(one) ?? this.view;
    this.tell();
    if (this.view?.state === "ended" && !this.player) this.play();
  }

  async play() {
    const one = this.one;
    try {
      const { cast } = await get(this.path("/recording"));
      if (one !== this.one || this.attachment || this.closed) return;
      if (!cast) { // it ended with its node, before its output was kept: what this screen has is all there is
        this.say("There is no recording of this terminal: its node was lost before it was kept.");
        return this.tell();
      }
      this.player?.close();
      this.player = new Player(this.screen, cast);
      put(this.foot, this.player.bar);
    } catch (error) {
      if (one === this.one) this.say(error.message);
    }
    this.tell();
  }

  toggleRecording() {
    const live = this.player && this.view?.state === "running";
    this.leave();
    this.screen.redraw("");
    if (live) this.attach();
    else this.play();
    this.tell();
  }

  tell() {
    const view = this.view;
    if (!view) return;
    const running = view.state === "running";
    const how = view.state === "asleep" ? "asleep with its sandbox" : `ended: ${clean(view.reason ?? `exit code ${view.code}`)}`;
    const others = running && view.viewers?.length > 1 ? `${view.viewers.length} look: ${[...new Set(view.viewers)].map((one) => oneLine(one, 30)).join(", ")}` : "";
    this.state.textContent = [
      running ? "" : how, this.player && running ? "recording" : { cut: "cut off, connecting again", connecting: "connecting" }[running && this.attachment ? this.link : ""],
      running && view.keyboard ? `${oneLine(view.keyboard, 40)} holds the keyboard` : "", others, `${view.columns}×${view.rows}`, oneLine(view.title, 60), this.use ? "" : "only to read",
    ].filter(Boolean).join(" · ");
    this.holdButton.textContent = view.keyboard ? "Free the keyboard" : "Take the keyboard";
    this.playButton.textContent = this.player && running ? "Live" : "Recording";
    this.playButton.hidden = !running;
    for (const one of [this.fitButton, this.holdButton, this.endButton]) one.hidden = !running || !this.attachment;
    this.fitButton.setAttribute("aria-pressed", String(this.fits));
    this.keys.classList.toggle("off", !this.attachment);
  }

  /** Follow the window's size, for a terminal that was opened here or fitted. */
  resized() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      if (!this.fits || !this.use || !this.attachment || this.view?.state !== "running" || this.holder.offsetParent === null) return;
      const room = this.screen.room();
      if (room.columns !== this.view.columns || room.rows !== this.view.rows) this.attachment.ask("resize", this.wished = room).catch((error) => this.fail(error));
    }, SETTLED_MS);
  }

  toggleFit() {
    this.mine[this.fits ? "delete" : "add"](this.one);
    this.tell();
    this.resized();
    this.screen.term.focus();
  }

  make() {
    return this.act(async () => {
      await this.ready; // a click may come before the screen is loaded
      if (this.closed) return;
      this.holder.hidden = false;
      const made = await post(of(this.id, "/terminals"), this.wished = this.screen.room());
      this.mine.add(made.terminal);
      this.known.set(made.terminal, made);
      await this.list(made.terminal);
      this.screen.term.focus();
    });
  }

  hold() {
    return this.act(async () => {
      const holder = this.view?.keyboard;
      if (holder && holder !== this.me && !confirm(`${clean(holder)} holds the keyboard. Free it?`)) return;
      await this.attachment.ask("keyboard", { action: holder ? "release" : "take", force: true });
      this.screen.term.focus();
    });
  }

  async holdControl() {
    await this.ready;
    if (this.closed) return;
    const held = this.control.getAttribute("aria-pressed") !== "true";
    const show = (on) => this.control.setAttribute("aria-pressed", String(on));
    this.screen?.control(held, () => show(false));
    show(held);
  }

  async end() {
    if (!this.one || !confirm("End this terminal and all that runs in it?")) return;
    await this.act(() => ask("DELETE", this.path()));
  }

  async act(work) {
    this.say("");
    try {
      await work();
    } catch (error) {
      this.say(error.message);
    }
  }

  close() {
    this.closed = true;
    this.session.onEvent = null;
    this.observer.disconnect();
    clearTimeout(this.settling);
    clearTimeout(this.listing);
    this.leave();
    this.screen?.close();
  }
}

export const open = (root, session) => new Terminals(root, session);
