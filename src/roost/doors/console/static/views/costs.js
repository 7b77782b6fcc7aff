// What was spent in a month: by day, model, agent and session, with limits; and the models that can be asked.

import { get } from "../api.js";
import { clean, h, oneLine, put, s } from "../dom.js";
import { count, money, short } from "../format.js";
import { setQuery, title } from "../address.js";

const BY = [["day", "By day"], ["model", "By model"], ["agent", "By agent"], ["session", "By session"]];
/** What a row has cost, as far as it is known. */
const costOf = ({ cost, calls, unpriced }) => (unpriced && unpriced === calls ? "$?" : `${money(cost)}${unpriced ? " + ?" : ""}`);
const thisMonth = () => new Date().toISOString().slice(0, 7);

/** A chart of bars, one for each day. */
function bars(rows, month) {
  const [year, number] = month.split("-").map(Number);
  const days = new Date(Date.UTC(year, number, 0)).getUTCDate();
  const byDay = new Map(rows.map((row) => [Number(row.name.slice(-2)), row]));
  const priced = rows.some((row) => row.cost);
  const sizeOf = (row) => (priced ? row.cost : row.input + row.output);
  const most = Math.max(1, ...rows.map(sizeOf));
  const top = priced ? money(most) : `${count(most)} tokens`;
  const [wide, high] = [900, 150];
  const step = wide / days;
  const shapes = [];
  for (let day = 1; day <= days; day++) {
    const row = byDay.get(day);
    const size = row ? Math.max(1, (sizeOf(row) / most) * (high - 30)) : 0;
    if (row) shapes.push(s("rect", { x: (day - 1) * step + 2, y: high - 18 - size, width: step - 4, height: size, rx: 2 }, s("title", null, `${row.name}: ${costOf(row)}, ${row.calls} calls`)));
    if (day === 1 || day % 5 === 0) shapes.push(s("text", { x: (day - 0.5) * step, y: high - 4, "text-anchor": "middle" }, String(day)));
  }
  return h("div", { class: "wide", tabindex: "0" }, s("svg", { class: "bars", viewBox: `0 0 ${wide} ${high}`, width: "100%", height: high, role: "img", "aria-label": `${priced ? "Costs" : "Tokens"} by day of ${month}: at most ${top} a day` },
    s("path", { class: "grid", d: `M0 ${high - 18}H${wide}` }), s("text", { x: 2, y: 10 }, top), shapes));
}

const table = (name, rows, link) => h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, [name, "Calls", "Tokens in", "cached", "out", "Cost"].map((text, n) => h("th", { class: n ? "num" : null, scope: "col" }, text)))),
  h("tbody", null, rows.slice(0, 200).map((row) => h("tr", null, h("td", null, link ? h("a", { href: link(row) }, oneLine(short(row.name), 60)) : oneLine(row.name, 80)), h("td", { class: "num" }, row.calls.toLocaleString("en")), h("td", { class: "num" }, count(row.input)), h("td", { class: "num" }, count(row.cached)), h("td", { class: "num" }, count(row.output)),
    h("td", { class: "num" }, costOf(row)))))));

class CostsView {
  constructor(root, query) {
    this.month = h("input", { type: "month", "aria-label": "Month", value: query.get("month") ?? thisMonth(), onchange: () => this.load() });
    this.by = query.get("by") ?? "day";
    this.sums = h("div", { class: "cards" });
    this.parts = h("div");
    this.models = h("div");
    root.append(h("div", { class: "page" }, h("div", { class: "bar" }, h("h1", null, "Costs and models"), this.month), this.sums, this.parts, this.models));
    title("Costs");
    this.load();
    this.readModels();
  }

  async load() {
    const month = /^\d{4}-\d\d$/.test(this.month.value) ? this.month.value : thisMonth();
    setQuery({ month: month === thisMonth() ? "" : month, by: this.by === "day" ? "" : this.by });
    const mine = this.turn = (this.turn ?? 0) + 1;
    put(this.parts, h("p", { class: "dim" }, "Reading the logs of the month …"));
    try {
      const { month: sum, shares, lost } = await get("/costs", { month });
      if (mine !== this.turn) return;
      const card = (text, value, more) => h("section", { class: "card" }, h("div", { class: "dim" }, text), h("div", { class: "figure" }, value), more ? h("div", { class: "dim" }, more) : null);
      const sums = [];
      const spent = (nano) => { // the logs tell whether nothing was spent, or it is not known
        const node = h("span", null, nano ? money(nano) : "…");
        sums.push([node, nano]);
        return node;
      };
      put(this.sums, card("Spent", spent(sum.spent), sum.limit ? `of ${money(sum.limit)}` : "no limit"), card("Reserved by running calls", money(sum.reserved)),
        sum.lost_calls || lost?.length ? card("Lost calls", money(sum.lost), `${sum.lost_calls} calls that a crash cut off, at most`) : null,
        shares.filter((one) => one.limit).slice(0, 9).map((one) => card(`${one.kind} ${oneLine(one.name, 40)}`, spent(one.spent), h("progress", { max: String(one.limit), value: String(Math.min(one.spent, one.limit)), "aria-label": `spent of ${money(one.limit)}` }))));
      const { rows } = await get("/costs", { month, by: this.by });
      if (mine !== this.turn) return;
      const unpriced = rows.some((row) => row.unpriced);
      for (const [node, nano] of sums) node.textContent = nano || !unpriced ? `${money(nano)}${unpriced ? " + ?" : ""}` : "$?";
      const chips = h("div", { class: "chips", role: "group", "aria-label": "By" }, BY.map(([by, text]) => h("button", { type: "button", class: "chip", "aria-pressed": String(by === this.by), onclick: () => { this.by = by; this.load(); } }, text)));
      const link = this.by === "session" ? (row) => `#/s/${encodeURIComponent(row.name)}` : null;
      put(this.parts, h("div", { class: "bar by" }, chips), rows.length ? [this.by === "day" ? bars(rows, month) : null, table(BY.find(([by]) => by === this.by)[1].slice(3), this.by === "day" ? [...rows].sort((a, b) => (a.name < b.name ? 1 : -1)) : rows, link)] : h("p", { class: "empty" }, "No model was called in this month."));
    } catch (error) {
      if (mine === this.turn) put(this.parts, h("p", { class: "bad" }, error.message));
    }
  }

  async readModels() {
    try {
      const found = await get("/models");
      put(this.models, h("h2", { class: "caps" }, `Models of the profile ${oneLine(found.profile, 60)}`), h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["Model", "State", "Window", "Output", "Reads"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", null, found.models.map((one) => h("tr", null, h("td", null, oneLine(one.name, 80)), h("td", { class: one.usable ? "good" : "dim" }, one.usable ? "usable" : "not usable", one.trouble ? h("span", { class: "dim" }, ` ${clean(one.trouble)}`) : null), h("td", { class: "num" }, one.window ? count(one.window) : ""), h("td", { class: "num" }, one.max_output ? count(one.max_output) : ""), h("td", null, (one.media ?? []).join(", "))))))));
    } catch (error) {
      put(this.models, h("p", { class: "dim" }, error.message));
    }
  }
}

export const open = (root, parts, query) => new CostsView(root, query);
