// The agents of the daemon, and an editor of definitions that says what is wrong while one types.

import { ask, get, post } from "../api.js";
import { announce, clean, h, keep, once, oneLine, put, recall } from "../dom.js";
import { ago } from "../format.js";
import { go, title } from "../address.js";

const DRAFT = "roost.draft.agent";
const NEW = { instructions: "You are …", description: "", tools: ["read_file"], permissions: "workspace" };

class Agents {
  constructor(root, parts, rights) {
    this.rights = rights;
    this.page = h("div", { class: "page" });
    root.append(this.page);
    if (parts[0]) this.edit(parts[0]);
    else this.list();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }

  async list() {
    title("Agents");
    const [{ agents }, kept] = await Promise.all([get("/agents"), get("/definitions").catch(() => ({ definitions: [] }))]);
    const names = new Set(agents.map((one) => one.name));
    put(this.page, h("div", { class: "bar" }, h("h1", null, "Agents"), h("span", { class: "grow" }), this.rights.may("use") ? h("button", { class: "main", type: "button", onclick: () => go("/agents/new") }, "New agent") : null),
      h("div", { class: "cards" }, agents.map((one) => h("a", { class: "card agent", href: `#/agents/${encodeURIComponent(one.name)}` }, h("h2", null, oneLine(one.name, 60)), h("p", null, oneLine(one.description || "no description", 240)),
        h("p", { class: "dim" }, `${one.model ?? "default model"} · ${one.permissions} · ${one.tools.length} ${one.tools.length === 1 ? "tool" : "tools"}`))),
      kept.definitions.filter((one) => !names.has(one.name)).map((one) => h("a", { class: "card agent", href: `#/agents/${encodeURIComponent(one.name)}` }, h("h2", null, oneLine(one.name, 60)), h("p", { class: "dim" }, `kept in the store · version ${one.kept} · by ${one.door} · ${ago(one.changed)} ago`), one.archived ? h("span", { class: "badge" }, "archived") : null))));
  }

  async edit(name) {
    const fresh = name === "new";
    title(fresh ? "New agent" : name);
    const found = fresh ? { name: "", definition: NEW, kept: 0 } : await get(`/definitions/${encodeURIComponent(name)}`);
    const own = fresh || typeof found.kept === "number";
    const { name: _, instructions = "", ...rest } = found.definition;
    this.found = found;
    this.name = h("input", { id: "agent-name", value: found.name, disabled: !fresh, spellcheck: "false", oninput: () => this.soon() });
    this.instructions = h("textarea", { id: "agent-instructions", rows: "12", value: instructions, oninput: () => this.soon() });
    this.options = h("textarea", { id: "agent-options", rows: "14", class: "mono", spellcheck: "false", value: JSON.stringify(rest, null, 2), oninput: () => this.soon() });
    this.said = h("p", { role: "status" });
    this.save = h("button", { class: "main", type: "button", disabled: true, onclick: once(() => this.keep()) }, fresh ? "Keep" : "Keep as a new version");
    this.fresh = fresh;
    if (fresh) this.draft();
    put(this.page, h("div", { class: "bar" }, h("a", { href: "#/agents" }, "Agents"), h("h1", null, fresh ? "New agent" : oneLine(name, 80)), found.version ? h("code", { class: "dim" }, found.version) : null,
      found.kept ? h("span", { class: "pill" }, `version ${found.kept} of the store`) : null, found.python ? h("span", { class: "pill" }, "with Python parts") : null),
    own ? null : h("p", { class: "card dim" }, "This agent comes from a file of the node: change it there. You can try changes here, and begin a session with them."),
    h("div", { class: "card editor" }, h("label", { for: "agent-name" }, "Name"), this.name, h("label", { for: "agent-instructions" }, "Instructions"), this.instructions,
      h("label", { for: "agent-options" }, "Options, as JSON"), this.options, this.said,
      h("div", { class: "bar end" }, this.rights.may("use") ? h("button", { type: "button", onclick: once(() => this.trial()) }, "Begin a session with it") : null, own && this.rights.may("administer") ? this.save : null)));
    this.check();
  }

  /** Show again what this window had of a new agent when its view was left. */
  draft() {
    const kept = JSON.parse(recall(DRAFT, { session: true }) || "null");
    if (kept) [this.name.value, this.instructions.value, this.options.value] = kept;
  }

  soon() {
    clearTimeout(this.timer);
    if (this.fresh) keep(DRAFT, JSON.stringify([this.name.value, this.instructions.value, this.options.value]), { session: true });
    this.save.disabled = true;
    this.timer = setTimeout(() => this.check(), 250);
  }

  /** The definition as it stands. Throws with the place of the fault. */
  read() {
    const options = JSON.parse(this.options.value || "{}");
    if (!options || typeof options !== "object" || Array.isArray(options)) throw new Error("the options are no object");
    return { ...options, name: this.name.value, ...(this.instructions.value && { instructions: this.instructions.value }) };
  }

  async check() {
    const mine = this.turn = (this.turn ?? 0) + 1;
    const say = (text, bad) => {
      if (mine !== this.turn) return;
      this.said.textContent = text;
      this.said.className = bad ? "bad" : "good";
      this.options.setAttribute("aria-invalid", String(bad));
      this.save.disabled = bad;
    };
    let definition;
    try {
      definition = this.read();
    } catch (error) {
      return say(error.message, true);
    }
    if (!definition.name) return say("give it a name", true);
    try {
      const { faults, version } = await post("/definitions/check", { definition });
      return faults.length ? say(faults.map(clean).join("; "), true) : say(version === this.found.version ? "valid, and unchanged" : `valid: ${version}`, false);
    } catch (error) {
      return say(error.message, true);
    }
  }

  async keep() {
    try {
      const definition = this.read();
      const made = await ask("PUT", `/definitions/${encodeURIComponent(definition.name)}`, { body: { definition, kept: this.found.kept ?? 0 } });
      announce(`kept as version ${made.kept}`);
      if (this.fresh) keep(DRAFT, "", { session: true });
      if (this.closed) return;
      if (this.found.name) this.edit(made.name);
      else go(`/agents/${encodeURIComponent(made.name)}`);
    } catch (error) {
      announce(error.message, "bad");
    }
  }

  async trial() {
    try {
      const definition = this.read();
      const made = await post("/sessions", { agent: definition.name, definition, title: `Trial of ${definition.name}` });
      if (!this.closed) go(`/s/${encodeURIComponent(made.id)}`);
    } catch (error) {
      announce(error.message, "bad");
    }
  }
}

export const open = (root, parts, query, rights) => new Agents(root, parts, rights);
