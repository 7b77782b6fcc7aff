// The nodes that work on the store, their health, and the configuration in force.

import { ask, get } from "../api.js";
import { announce, clean, h, oneLine, put } from "../dom.js";
import { ago, moment, span } from "../format.js";
import { title } from "../address.js";
import { field, form } from "./form.js";

/** What a person typed as a value: JSON, and else a text. */
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

class Nodes {
  constructor(root) {
    this.health = h("div", { class: "cards" });
    this.list = h("div");
    this.config = h("div");
    this.past = h("div");
    root.append(h("div", { class: "page" }, h("div", { class: "bar" }, h("h1", null, "Nodes and health")), this.health, h("h2", { class: "caps" }, "Nodes"), this.list, h("h2", { class: "caps" }, "Configuration"), this.config, h("h2", { class: "caps" }, "Changes of the configuration"), this.past));
    title("Nodes");
    this.load();
    this.settings();
    this.timer = setInterval(() => this.load(), 5000);
  }

  close() { clearInterval(this.timer); }

  async load() {
    try {
      const [health, nodes] = await Promise.all([get("/health").catch((error) => ({ status: error.status ? "degraded" : "unreachable", reason: error.message })), get("/nodes")]);
      const card = (text, value, more, cls) => h("section", { class: "card" }, h("div", { class: "dim" }, text), h("div", { class: `figure ${cls ?? ""}` }, value), more ? h("div", { class: "dim" }, more) : null);
      put(this.health, card("This node", health.status, clean(health.reason ?? (health.uptime ? `up ${span(health.uptime)}, version ${health.version}` : "")), health.status === "ok" ? "good" : "bad"), card("Sessions in memory", String(health.live ?? "?"), health.failed ? `${health.failed} failed` : ""),
        card("Sessions that wait for a node", String(nodes.waiting), nodes.waiting ? `the oldest for ${span(nodes.waiting_seconds)}` : ""));
      put(this.list, h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["Node", "State", "Live", "Room", "Offers", "Version", "Heartbeat"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, nodes.nodes.map((one) => h("tr", null,
        h("td", null, h("code", null, oneLine(one.id, 60)), one.this ? h("span", { class: "pill" }, "this") : null, one.url ? h("div", { class: "dim" }, oneLine(one.url, 80)) : null),
        h("td", { class: one.alive ? (one.draining ? "warn" : "good") : "bad" }, one.alive ? (one.draining ? "draining" : "alive") : "dead"), h("td", { class: "num" }, String(one.live)), h("td", { class: "num" }, String(one.room)), h("td", { class: "dim" }, one.offers.slice(0, 12).map((tag) => oneLine(tag, 30)).join(", ")), h("td", null, oneLine(one.version, 20)), h("td", { class: "num", title: moment(one.beat_at) }, ago(one.beat_at))))))));
    } catch (error) {
      put(this.list, h("p", { class: "bad" }, error.message));
    }
  }

  /** Change a setting on all nodes, or let the nodes' own value hold again. */
  change(one) {
    const value = h("input", { class: "mono", value: one.value === null ? "" : JSON.stringify(one.value), spellcheck: "false" });
    const own = h("input", { type: "checkbox", onchange: () => { value.disabled = own.checked; } });
    form(`Change ${one.key}`, [field("Value", value, clean(one.says)), one.set ? field(`Back to the nodes' own value, here ${one.started === null ? "none" : oneLine(JSON.stringify(one.started), 60)}`, own) : null], { button: "Change on all nodes", save: async () => {
      await ask("PATCH", "/config", { body: { values: { [one.key]: own.checked ? null : valueOf(value.value) }, by: "console" } });
      announce("changed");
      this.settings();
    } });
  }

  async settings() {
    try {
      const { settings, faults } = await get("/config");
      put(this.config, Object.entries(faults ?? {}).map(([name, text]) => h("p", { class: "bad" }, h("code", null, oneLine(name, 80)), " ", clean(text))),
        h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["Key", "Value", "What it does", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "hidden" }, "Orders"))))), h("tbody", null, settings.map((one) => h("tr", null, h("td", null, h("code", null, one.key)), h("td", null, one.value === null ? h("span", { class: "dim" }, "none") : oneLine(JSON.stringify(one.value), 80), one.set ? h("span", { class: "pill" }, "set") : null), h("td", { class: "dim" }, clean(one.says)),
          h("td", null, h("button", { type: "button", "aria-label": `Change ${one.key}`, onclick: () => this.change(one) }, "Change …"))))))));
      const { changes } = await get("/config/history", { limit: 20 });
      put(this.past, changes.length ? h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["Number", "When", "Who", "What"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, changes.map((one) => h("tr", null, h("td", { class: "num" }, String(one.number)), h("td", null, moment(one.at)), h("td", null, oneLine(one.by, 80)), h("td", null, h("code", null, oneLine(one.changes.map((each) => `${each.key}: ${JSON.stringify(each.old ?? null)} → ${JSON.stringify(each.new ?? null)}`).join(", "), 300)))))))) : h("p", { class: "dim" }, "None."));
    } catch (error) {
      put(this.config, h("p", { class: "dim" }, error.message));
    }
  }
}

export const open = (root) => new Nodes(root);
