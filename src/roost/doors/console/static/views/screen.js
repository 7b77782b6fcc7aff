// The screen of a terminal: xterm.js with the colours of the page, its keys, and writes in order.

import { announce, copy, exact, h, keep, recall } from "../dom.js";
import { FitAddon } from "../vendor/xterm/addon-fit.js";
import { Terminal } from "../vendor/xterm/xterm.js";
import { allowStyles } from "./strict_styles.js";

const SCROLLBACK = 5000;
const READER = "roost.terminal.reader";
const FONT = 'ui-monospace, "SF Mono", "Cascadia Code", "DejaVu Sans Mono", Menlo, Consolas, monospace';
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const NAMED = [...NAMES, ...NAMES.map((one) => `bright${one[0].toUpperCase()}${one.slice(1)}`)];
const palette = (text, rest) => ({ ...rest, ...Object.fromEntries(text.split(" ").map((one, at) => [NAMED[at], `#${one}`])) });
const DARK = palette("1d1f21 cc5555 6ab04c d9a441 5c8fd6 b079c9 4fb3b3 c5c8c6 7a7f87 ff7b72 8fd16f f2c96b 82b4ff d6a4ea 7fdede ffffff",
  { background: "#16181d", foreground: "#d8dbe2", cursor: "#d8dbe2", cursorAccent: "#16181d", selectionBackground: "#41506f", scrollbarSliderBackground: "#ffffff33" });
const LIGHT = palette("1b1e27 b3201f 13703a 8a5a00 1f5fbf 8a3ba0 0b7480 6b7180 5a6070 d0332f 1c8f4d a87400 2f74dd a855b8 0e8f9b 9aa1b2",
  { background: "#ffffff", foreground: "#1b1e27", cursor: "#1b1e27", cursorAccent: "#ffffff", selectionBackground: "#c9d4f5", scrollbarSliderBackground: "#00000033" });

let sheet = null;

/** Load the style sheet of xterm.js, once. */
export function loadSheet() {
  sheet ??= new Promise((done) => {
    const link = h("link", { rel: "stylesheet", href: new URL("../vendor/xterm/xterm.css", import.meta.url), onload: done, onerror: done });
    document.head.append(link);
  });
  return sheet;
}

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

/** on.data(text), on.bytes(text): what is typed here; on.leave(): the key that leaves the screen. reads: nothing can be typed. */
export class Screen {
  constructor(holder, { reads, on }) {
    this.holder = holder;
    this.behind = 0;
    this.waits = [];
    this.endStyles = allowStyles();
    this.term = new Terminal({
      cols: 80, rows: 24, scrollback: SCROLLBACK, disableStdin: reads, fontFamily: FONT, fontSize: 13, lineHeight: 1.15, minimumContrastRatio: 4.5, drawBoldTextInBrightColors: false,
      screenReaderMode: recall(READER) === "on", logLevel: "off", cursorInactiveStyle: reads ? "none" : "outline",
      linkHandler: { activate: (_, address) => this.follow(address) },
    });
    this.fitting = new FitAddon();
    this.term.loadAddon(this.fitting);
    this.term.attachCustomKeyEventHandler((event) => this.key(event, on));
    if (!reads) {
      this.term.onData((text) => on.data(this.held(text)));
      this.term.onBinary(on.bytes);
    }
    this.colour();
    this.term.open(holder);
    this.term.textarea.setAttribute("aria-label", `${reads ? "Terminal, only to read" : "Terminal"}. Control and ] leave it.`);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => this.colour();
    this.dark.addEventListener("change", this.onTheme);
    this.theme = new MutationObserver(this.onTheme);
    this.theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  close() {
    this.dark.removeEventListener("change", this.onTheme);
    this.theme.disconnect();
    this.term.dispose();
    this.endStyles();
    for (const one of this.waits.splice(0)) one.done();
  }

  colour() {
    const theme = isDark() ? DARK : LIGHT;
    this.term.options.theme = theme;
    this.holder.style.backgroundColor = theme.background;
  }

  write(data) {
    this.behind += data.length;
    this.term.write(data, () => {
      this.behind -= data.length;
      for (const one of this.waits.filter(({ most }) => this.behind <= most)) one.done();
      this.waits = this.waits.filter(({ most }) => this.behind > most);
    });
  }

  /** Wait until no more than `most` bytes are still to be drawn. */
  drawn(most = 0) {
    return this.behind <= most ? Promise.resolve() : new Promise((done) => { this.waits.push({ most, done }); });
  }

  /** Do something when all that was written before is drawn. */
  after(work) {
    this.term.write("", work);
  }

  redraw(data) {
    this.after(() => this.term.reset());
    this.write(data);
  }

  size(columns, rows) {
    this.after(() => this.term.resize(columns, rows));
  }

  /** The columns and rows that there is room for. */
  room() {
    const { cols, rows } = this.fitting.proposeDimensions() ?? { cols: 80, rows: 24 };
    return { columns: Math.max(20, Math.min(cols || 80, 500)), rows: Math.max(5, Math.min(rows || 24, 200)) };
  }

  /** Hold the control key for the next character. */
  control(held, changed) {
    this.holds = held;
    this.released = changed;
  }

  held(text) {
    if (!this.holds || text.length !== 1) return text;
    this.holds = false;
    this.released?.();
    const code = text.toUpperCase().charCodeAt(0);
    return code >= 64 && code < 96 ? String.fromCharCode(code & 31) : text;
  }

  /** Press a key that phones lack. */
  press(name) {
    const arrow = { up: "A", down: "B", right: "C", left: "D" }[name];
    const text = arrow ? `${this.term.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b["}${arrow}` : { escape: "\x1b", tab: "\t" }[name];
    this.term.input(text);
  }

  reader() {
    const on = !this.term.options.screenReaderMode;
    this.term.options.screenReaderMode = on;
    keep(READER, on ? "on" : "");
    return on;
  }

  /** Return whether xterm.js takes a key. */
  key(event, on) {
    if (event.type !== "keydown" || !event.ctrlKey || event.altKey || event.metaKey) return true;
    if (event.key === "]") {
      event.preventDefault();
      on.leave();
      return false;
    }
    const name = event.key.toLowerCase();
    if (name === "v" && event.shiftKey) return false; // the browser pastes
    if (name !== "c" || !(event.shiftKey || this.term.hasSelection())) return true;
    event.preventDefault();
    if (this.term.hasSelection()) copy(this.term.getSelection());
    this.term.clearSelection();
    return false;
  }

  follow(address) {
    if (!/^https?:\/\//i.test(address)) return announce("this link has an address that is not opened from here");
    if (confirm(`A program in the terminal has made this link. Open it?\n\n${exact(address)}`)) window.open(address, "_blank", "noopener,noreferrer");
    return undefined;
  }
}
