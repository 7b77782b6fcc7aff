// The policy tried out on a call, and the standing rules that answers have made.

import { agentsKnown, ask, get, post } from "../api.js";
import { announce, clean, h, oneLine, put } from "../dom.js";
import { ago, moment, short } from "../format.js";
import { title } from "../address.js";

const COLOURS = { allow: "ok", ask: "waiting", deny: "error" };

class PolicyView {
  constructor(root, rights) {
    this.rights = rights;
    this.agent = h("select", { id: "policy-agent" });
    this.kind = h("select", { id: "policy-kind", "aria-label": "What is tried", onchange: () => this.turn() }, h("option", { value: "command" }, "A shell command"), h("option", { value: "path" }, "A path of a file"));
    this.text = h("input", { id: "policy-text", class: "mono", placeholder: "git push --force", spellcheck: "false", "aria-label": "Command or path", required: true });
    this.tool = h("input", { placeholder: "write_file", "aria-label": "Tool", hidden: true, spellcheck: "false" });
    this.folder = h("input", { placeholder: "folder, for its project's rules", "aria-label": "Folder", spellcheck: "false", hidden: Boolean(rights.me.account) && rights.me.role !== "owner" });
    this.walled = h("input", { type: "checkbox" });
    this.said = h("div", { "aria-live": "polite" });
    this.rules = h("div");
    root.append(h("div", { class: "page" }, h("div", { class: "bar" }, h("h1", null, "Policy")),
      h("form", { class: "card", onsubmit: (event) => { event.preventDefault(); this.check(); } },
        h("div", { class: "bar" }, h("label", { class: "check" }, "Agent ", this.agent), this.kind, this.tool, this.folder, h("label", { class: "check" }, this.walled, "isolated")),
        h("div", { class: "bar try" }, this.text, h("button", { class: "main" }, "Try")), h("p", { class: "dim" }, "Nothing runs: this asks the gate what it would decide.")), this.said, h("h2", { class: "caps" }, "Standing rules"), this.rules));
    title("Policy");
    agentsKnown().then((agents) => put(this.agent, agents.map((one) => h("option", { value: one.name, selected: one.name === "assistant" }, one.name))));
    this.load();
  }

  turn() {
    const path = this.kind.value === "path";
    this.tool.hidden = !path;
    this.text.placeholder = path ? ".env" : "git push --force";
  }

  async check() {
    const path = this.kind.value === "path";
    try {
      const said = await post("/policy/check", { agent: this.agent.value, walled: this.walled.checked, ...(path ? { path: this.text.value, ...(this.tool.value && { tool: this.tool.value }) } : { command: this.text.value }), ...(this.folder.value && { workspace: this.folder.value }) });
      put(this.said, h("section", { class: "card" }, h("p", null, h("span", { class: `badge ${COLOURS[said.decision]}` }, said.decision), ` by the layer ${said.layer}: `, clean(said.reason)),
        said.dangers.length ? h("ul", { class: "dangers" }, said.dangers.map((one) => h("li", null, clean(one)))) : null,
        h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["Layer", "Says", "Why"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, said.layers.map((one) => h("tr", null, h("td", null, one.layer), h("td", null, one.decision ? h("span", { class: `badge ${COLOURS[one.decision]}` }, one.decision) : "–"), h("td", null, clean(one.reason), one.rule ? h("div", { class: "dim" }, clean(one.rule)) : null))))))));
    } catch (error) {
      put(this.said, h("p", { class: "card bad" }, error.message));
    }
  }

  async load() {
    try {
      const { rules } = await get("/rules", { limit: 500 });
      put(this.rules, rules.length ? h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["Allows", "Where", "Given", ""].map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, rules.map((one) => h("tr", null,
        h("td", null, clean(one.says), h("div", null, h("code", null, oneLine(one.rule, 120)))), h("td", null, one.scope === "agent" ? `agent ${one.agent}` : one.scope === "user" ? `user ${one.user || "of the home"}` : "", " ", h("a", { href: `#/s/${encodeURIComponent(one.session)}` }, oneLine(short(one.session), 40))),
        h("td", { title: one.given ? moment(one.given) : "" }, one.given ? `${ago(one.given)} ` : "", clean(one.account ?? one.source ?? "")),
        h("td", null, this.rights.may("use") ? h("button", { type: "button", class: "danger", onclick: () => ask("DELETE", `/rules/${encodeURIComponent(one.id)}`).then(() => { announce("revoked"); this.load(); }, (error) => announce(error.message, "bad")) }, "Revoke") : null)))))) : h("p", { class: "dim" }, "None. A person makes one by an answer “always” that counts beyond its session."));
    } catch (error) {
      put(this.rules, h("p", { class: "dim" }, error.message));
    }
  }
}

export const open = (root, parts, query, rights) => new PolicyView(root, rights);
