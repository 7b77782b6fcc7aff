// The timeline above a conversation: lanes of what took time, drawn as SVG.

import { axisOf } from "./views/axis.js";
import { h, oneLine, put, s } from "./dom.js";
import { money, span as seconds } from "./format.js";

const LANES = ["turn", "model", "tool", "wait", "child"];
const HIGH = 11;
const MOST = 4000;

export const told = (one, now) => {
  const parts = [oneLine(one.label, 100), seconds((one.to ?? now) - one.from)];
  if (one.usage?.input || one.usage?.output) parts.push(`${one.usage.input ?? 0} → ${one.usage.output ?? 0} tokens`, money(one.usage.cost));
  if (one.status && one.status !== "ok" && one.status !== "done") parts.push(one.status);
  return parts.join(" · ");
};

export class Strip {
  constructor(pick) {
    this.pick = pick;
    this.zoom = 1;
    this.box = h("div", { class: "strip-scroll", tabindex: "0", role: "img", "aria-label": "Timeline of the shown part" });
    this.root = h("div", { class: "strip" }, this.box, h("div", { class: "strip-tools", "data-fast": true },
      h("button", { class: "quiet icon", type: "button", title: "Wider", "aria-label": "Wider", onclick: () => this.wider(2) }, "+"),
      h("button", { class: "quiet icon", type: "button", title: "Narrower", "aria-label": "Narrower", onclick: () => this.wider(0.5) }, "−")));
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.box);
    this.spans = [];
  }

  close() { this.sizes.disconnect(); }

  wider(by) {
    this.zoom = Math.min(64, Math.max(1, this.zoom * by));
    this.draw();
  }

  set(spans) {
    this.spans = spans;
    this.draw();
  }

  draw() {
    const now = Date.now() / 1000;
    const wide = Math.max(100, this.box.clientWidth) * this.zoom;
    const all = this.spans.slice(-MOST);
    const axis = axisOf(all, now);
    const lanes = LANES.filter((lane) => all.some((one) => one.lane === lane));
    const high = Math.max(1, lanes.length) * HIGH + 2;
    const shapes = [];
    for (const gap of axis.gaps) {
      const x = axis.at(gap.from) * wide;
      shapes.push(s("rect", { class: "gap", x: x.toFixed(1), y: 0, width: Math.max(2, axis.at(gap.to) * wide - x).toFixed(1), height: high }, s("title", null, `${seconds(gap.to - gap.from)} without work`)));
    }
    const edge = new Map();
    for (const one of all) {
      if (one.lane === "kill") {
        const x = axis.at(one.to) * wide;
        shapes.push(s("path", { class: "kill", d: `M${x.toFixed(1)} 0V${high}` }, s("title", null, one.label)));
        continue;
      }
      const x = axis.at(one.from) * wide;
      const end = axis.at(one.to ?? now) * wide;
      if (end - x < 0.5 && (edge.get(one.lane) ?? -1) >= x - 0.5) continue; // another one has this pixel
      edge.set(one.lane, Math.max(end, x + 1));
      shapes.push(s("rect", { class: `${one.lane} ${one.status ?? ""}${one.to === null ? " open" : ""}${one.undone ? " undone" : ""}`, x: x.toFixed(1), y: 1 + lanes.indexOf(one.lane) * HIGH, width: Math.max(1.5, end - x - 0.5).toFixed(1), height: HIGH - 2, rx: 2, "data-seq": one.seq, onclick: () => this.pick(one) }, s("title", null, told(one, now))));
    }
    const atEnd = this.box.scrollLeft + this.box.clientWidth >= this.box.scrollWidth - 4;
    put(this.box, s("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, "aria-hidden": "true" }, shapes));
    if (atEnd) this.box.scrollLeft = this.box.scrollWidth;
  }
}
