// The list of sessions: live, filtered, one row each.

import { agentsKnown, ask, newKey, of, post } from "./api.js";
import { announce, h, oneLine, once, put } from "./dom.js";
import { ago, moment, short } from "./format.js";
import { go, setQuery, title } from "./address.js";
import { failed, learnAbout, sessions, stateOf } from "./store.js";
import { VirtualRows } from "./virtual.js";

const FILTERS = [["", "All"], ["active", "Active"], ["waiting", "Waiting"], ["error", "Failed"], ["paused", "Paused"], ["stopped", "Stopped"]];
const SORTS = { active: (a, b) => b.updated_at - a.updated_at, created: (a, b) => b.created_at - a.created_at };

export const badge = (state) => h("span", { class: `badge ${state}` }, state);

function fits(info, filter) {
  const state = stateOf(info);
  if (filter.state === "active" ? !["working", "waiting", "queued"].includes(state) : filter.state === "error" ? !failed(info) : filter.state && state !== filter.state) return false;
  if (filter.agent && info.agent !== filter.agent) return false;
  if (filter.top && info.parent) return false;
  if (!filter.words.length) return true;
  info.words ??= `${info.id} ${info.agent} ${info.title ?? ""} ${info.workspace ?? ""} ${Object.entries(info.labels).map((pair) => pair.join(":")).join(" ")}`.toLowerCase();
  return filter.words.every((word) => info.words.includes(word) || info.about?.toLowerCase().includes(word));
}

class SessionsView {
  constructor(root, query, rights) {
    this.rights = rights;
    this.at = -1;
    this.list = [];
    this.filter = { state: query.get("state") ?? "", agent: query.get("agent") ?? "", text: query.get("q") ?? "", sort: query.get("sort") ?? "active", top: query.get("top") === "1" };
    this.search = h("input", { type: "search", placeholder: "Search title, agent, folder, label, id", "aria-label": "Search sessions", value: this.filter.text, oninput: () => this.change({ text: this.search.value }) });
    this.agent = h("select", { "aria-label": "Agent", onchange: () => this.change({ agent: this.agent.value }) });
    this.states = h("div", { class: "chips", role: "group", "aria-label": "State" });
    this.sum = h("span", { class: "dim", role: "status" });
    this.scroller = h("div", { class: "list", tabindex: "0", role: "group", "aria-label": "Sessions" });
    root.append(h("div", { class: "bar" }, h("h1", null, "Sessions"), this.sum, h("span", { class: "grow" }),
      rights.may("use") ? h("button", { class: "main", type: "button", onclick: () => this.begin() }, "New session") : null),
    h("div", { class: "bar filters" }, this.search, this.states, this.agent,
      h("select", { "aria-label": "Order", onchange: (event) => this.change({ sort: event.target.value }) },
        Object.keys(SORTS).map((name) => h("option", { value: name, selected: name === this.filter.sort }, name === "active" ? "Last active" : "Newest"))),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.filter.top, onchange: (event) => this.change({ top: event.target.checked }) }), "without children")),
    h("div", { class: "row head", "aria-hidden": "true" }, ["State", "Session", "Agent", "Folder", "Events", "Active"].map((text) => h("span", null, text))),
    this.scroller);
    this.rows = new VirtualRows(this.scroller, { height: () => (matchMedia("(max-width: 700px)").matches ? 66 : 42), make: (index) => this.row(index), key: (index) => this.list[index].id });
    this.begin = once(() => newSession(() => !this.closed));
    this.stop = sessions.watch(() => this.draw());
    this.clock = setInterval(() => this.draw(), 15000);
    title("Sessions");
    this.draw();
  }

  close() {
    this.closed = true;
    this.stop();
    this.rows.close();
    clearInterval(this.clock);
  }

  change(values) {
    Object.assign(this.filter, values);
    setQuery({ state: this.filter.state, agent: this.filter.agent, q: this.filter.text, sort: this.filter.sort === "active" ? "" : this.filter.sort, top: this.filter.top ? "1" : "" });
    this.at = -1;
    this.scroller.scrollTop = 0;
    this.draw();
  }

  draw() {
    const filter = { ...this.filter, words: this.filter.text.toLowerCase().split(/\s+/).filter(Boolean) };
    const all = [...sessions.byId.values()];
    const chosen = this.list[this.at]?.id;
    this.list = all.filter((info) => fits(info, filter)).sort(SORTS[filter.sort] ?? SORTS.active);
    if (chosen) this.at = this.list.findIndex((info) => info.id === chosen);
    this.counts(all);
    this.sum.textContent = `${this.list.length.toLocaleString("en")}${this.list.length === all.length ? "" : ` of ${all.length.toLocaleString("en")}`}${sessions.loading && !sessions.complete ? " …" : ""}`;
    this.rows.set(this.list.length);
    if (!this.list.length) this.empty(all.length);
    else this.none?.remove();
  }

  counts(all) {
    const found = new Map();
    const agents = new Set();
    for (const info of all) {
      const state = stateOf(info);
      found.set(state, (found.get(state) ?? 0) + 1);
      if (["working", "waiting", "queued"].includes(state)) found.set("active", (found.get("active") ?? 0) + 1);
      if (state === "failed") found.set("error", (found.get("error") ?? 0) + 1); // one chip for both
      agents.add(info.agent);
    }
    const chips = JSON.stringify([[...found].sort(), this.filter.state]);
    if (chips !== this.chips) {
      this.chips = chips;
      const focus = document.activeElement?.dataset?.state;
      put(this.states, FILTERS.map(([name, text]) => h("button", { type: "button", class: "chip", "data-state": name, "aria-pressed": String(name === this.filter.state), onclick: () => this.change({ state: name }) },
        text, found.get(name) ? h("b", null, String(found.get(name))) : null)));
      if (focus !== undefined) this.states.querySelector(`[data-state="${focus}"]`)?.focus();
    }
    const names = [...agents].sort();
    if (names.join("\n") !== this.names) {
      this.names = names.join("\n");
      put(this.agent, h("option", { value: "" }, "All agents"), names.map((name) => h("option", { value: name, selected: name === this.filter.agent }, oneLine(name, 40))));
    }
  }

  empty(any) {
    this.none?.remove();
    this.none = h("p", { class: "empty" }, sessions.error ? sessions.error.message : !sessions.complete ? "Loading …" : any ? "No session fits." : ["No sessions yet. Begin one here, or with ", h("code", null, "roost chat"), "."]);
    this.scroller.append(this.none);
  }

  row(index) {
    const info = this.list[index];
    const state = stateOf(info);
    if (!info.title && info.about === undefined) learnAbout(info, () => sessions.tell());
    const name = oneLine(info.title || info.about || "", 160);
    return h("a", { class: `row${index === this.at ? " at" : ""}${info.parent ? " child" : ""}`, href: `#/s/${encodeURIComponent(info.id)}` },
      h("span", { class: "c-state" }, badge(state)),
      h("span", { class: "c-name" }, h("span", { class: name ? "name" : "name dim" }, name || "untitled"), h("code", null, oneLine(short(info.id), 40)), info.pending ? h("span", { class: "pill", title: "messages that wait" }, `+${info.pending}`) : null),
      h("span", { class: "c-agent" }, oneLine(info.agent, 40)),
      h("span", { class: "c-folder", title: info.workspace ?? "" }, info.workspace ? oneLine(info.workspace.split("/").slice(-2).join("/"), 40) : h("span", { class: "dim" }, "private")),
      h("span", { class: "c-events num" }, info.head.toLocaleString("en")),
      h("time", { class: "c-time num", title: moment(info.updated_at) }, ago(info.updated_at)));
  }

  key(event) {
    if (event.key === "n" && this.rights.may("use")) {
      event.preventDefault();
      return void this.begin();
    }
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.at = Math.max(0, Math.min(this.list.length - 1, this.at + step));
      this.rows.reveal(this.at);
      this.rows.draw(true);
    } else if (event.key === "Enter" && this.list[this.at]) go(`/s/${encodeURIComponent(this.list[this.at].id)}`);
    return undefined;
  }
}

/** Ask for what a new session needs, make it, and go there. wanted(): whether the view that asks is still open. */
async function newSession(wanted) {
  const agents = await agentsKnown();
  if (!wanted()) return;
  const agent = h("select", { id: "new-agent" }, agents.map((one) => h("option", { value: one.name }, one.name)));
  const about = h("p", { class: "dim" });
  const say = () => { about.textContent = oneLine(agents.find((one) => one.name === agent.value)?.description ?? "", 200); };
  agent.addEventListener("change", say);
  const text = h("textarea", { id: "new-text", rows: "5", placeholder: "What is to be done?" });
  const workspace = h("input", { id: "new-folder", placeholder: "empty: a private folder", spellcheck: "false" });
  const model = h("input", { id: "new-model", placeholder: "empty: the agent's own", spellcheck: "false" });
  const name = h("input", { id: "new-title" });
  const said = h("p", { class: "bad", role: "alert" });
  const key = newKey();
  const box = h("dialog", { class: "form" }, h("form", { method: "dialog", onsubmit: async (event) => {
    if (event.submitter?.value === "leave") return;
    event.preventDefault();
    event.submitter.disabled = true;
    try {
      const made = await ask("POST", "/sessions", { key, body: { agent: agent.value, ...(workspace.value && { workspace: workspace.value }), ...(model.value && { model: model.value }), ...(name.value && { title: name.value }) } });
      if (text.value.trim()) await post(of(made.id, "/messages"), { text: text.value, source: "console" }, { key: `${key}-first` });
      if (!box.open) return void announce("the session was made; it is in the list");
      box.close();
      go(`/s/${encodeURIComponent(made.id)}`);
    } catch (error) {
      said.textContent = error.message;
      event.submitter.disabled = false;
    }
  } },
  h("h2", null, "New session"), h("label", { for: "new-agent" }, "Agent"), agent, about,
  h("label", { for: "new-text" }, "Message"), text, h("label", { for: "new-title" }, "Title"), name,
  h("details", null, h("summary", null, "Folder and model"), h("label", { for: "new-folder" }, "Folder on the machine of the daemon"), workspace, h("label", { for: "new-model" }, "Model"), model),
  said, h("div", { class: "bar end" }, h("button", { value: "leave", formnovalidate: true, class: "quiet" }, "Cancel"), h("button", { class: "main", value: "make" }, "Begin"))));
  text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.querySelector("button.main").click(); });
  document.body.append(box);
  box.addEventListener("close", () => box.remove());
  say();
  box.showModal();
  text.focus();
  if (!agents.length) announce("this daemon has no agents", "bad");
}

export const open = (root, parts, query, rights) => new SessionsView(root, query, rights);
