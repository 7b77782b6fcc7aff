// Play a recording, asciicast v2, on a screen.

import { h } from "../dom.js";

const PAUSE = 2; // seconds: longer ones are cut to this
const SPEEDS = [1, 2, 4, 8];

/** Read a recording. Returns its size, its events with the time that they are shown at, and its length in seconds. */
export function parse(cast) {
  const [head, ...lines] = cast.split("\n").filter(Boolean).map((line) => {
    try {
      return JSON.parse(line);
    } catch {
      return null; // cut off
    }
  });
  const events = [];
  let [before, at] = [null, 0];
  for (const one of lines) {
    if (!Array.isArray(one) || typeof one[0] !== "number" || typeof one[2] !== "string") continue;
    at += Math.min(PAUSE, Math.max(0, one[0] - (before ?? one[0])));
    before = one[0];
    events.push({ at, kind: one[1], data: one[2] });
  }
  const size = (value, most, usual) => (Number.isInteger(value) && value > 0 ? Math.min(value, most) : usual);
  return { columns: size(head?.width, 500, 80), rows: size(head?.height, 200, 24), events, length: at };
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export class Player {
  /** Show the end of a recording, with what plays it from its beginning. */
  constructor(screen, cast) {
    this.screen = screen;
    this.cast = parse(cast);
    [this.at, this.next, this.speed] = [0, 0, 1];
    this.button = h("button", { type: "button", class: "small", onclick: () => this.toggle() }, "Play");
    this.slider = h("input", { type: "range", min: 0, max: String(this.cast.length), step: "any", "aria-label": "Time in the recording", oninput: () => { this.pause(); this.seek(Number(this.slider.value)); } });
    this.rate = h("select", { "aria-label": "Speed", onchange: () => { this.speed = Number(this.rate.value); } }, SPEEDS.map((one) => h("option", { value: one }, `${one}×`)));
    this.time = h("span", { class: "num dim" });
    this.bar = h("div", { class: "bar t-player" }, this.button, this.slider, this.time, this.rate);
    this.seek(this.cast.length);
  }

  toggle() {
    if (this.frame) return this.pause();
    if (this.at >= this.cast.length) this.seek(0);
    this.before = performance.now();
    this.button.textContent = "Pause";
    this.frame = requestAnimationFrame((now) => this.step(now));
    return undefined;
  }

  pause() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.button.textContent = "Play";
  }

  step(now) {
    const at = Math.min(this.cast.length, this.at + ((now - this.before) / 1000) * this.speed);
    this.before = now;
    this.seek(at);
    if (at >= this.cast.length) this.pause();
    else this.frame = requestAnimationFrame((later) => this.step(later));
  }

  /** Show the screen of a moment. */
  seek(at) {
    if (at < this.at || this.next === 0) {
      this.screen.redraw("");
      this.screen.size(this.cast.columns, this.cast.rows);
      this.next = 0;
    }
    this.at = at;
    const { events } = this.cast;
    for (; this.next < events.length && events[this.next].at <= at; this.next++) {
      const { kind, data } = events[this.next];
      const size = kind === "r" && /^(\d{1,3})x(\d{1,3})$/.exec(data);
      if (kind === "o") this.screen.write(data);
      else if (size) this.screen.size(Math.max(2, Math.min(Number(size[1]), 500)), Math.max(1, Math.min(Number(size[2]), 200)));
    }
    this.slider.value = String(at);
    this.time.textContent = `${clock(at)} / ${clock(this.cast.length)}`;
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.bar.remove();
  }
}
