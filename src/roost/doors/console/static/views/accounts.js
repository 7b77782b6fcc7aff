// Accounts, their tokens, and the audit trail. Of those who may not administer: what they are themselves.

import { ask, get } from "../api.js";
import { announce, copy, h, oneLine, put } from "../dom.js";
import { ago, moment } from "../format.js";
import { go, title } from "../address.js";
import { choice, field, form } from "./form.js";

const ROLES = ["viewer", "user", "operator", "owner"];
const SAYS = { viewer: "reads its sessions", user: "makes and uses sessions", operator: "also changes nodes and settings", owner: "may do everything" };
const table = (heads, rows) => h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, heads.map((text) => h("th", { scope: "col" }, text || h("span", { class: "hidden" }, "Orders"))))), h("tbody", null, rows)));
const number = (value, step = "1") => h("input", { type: "number", min: "0", step, value: value ?? "", inputmode: "decimal" });
const globs = (text) => text.split(/[\s,]+/).filter(Boolean);
const scopes = (all) => all.map((one) => oneLine(one, 60)).join(", ");

async function pages(path, name, query = {}) {
  const found = [];
  for (let after; found.length < 5000;) {
    const page = await get(path, { ...query, after, limit: 500 });
    found.push(...page[name]);
    if (!page.next) break;
    after = page.next;
  }
  return found;
}

class Accounts {
  constructor(root, parts, query, rights) {
    this.rights = rights;
    this.root = root;
    this.move(parts, query);
  }

  move([part], query) {
    const page = this.page = h("div", { class: "page" }); // what comes late for another address fills a page that nobody sees
    put(this.root, page);
    const failed = (error) => put(page, h("p", { class: "bad" }, error.message));
    if (!this.rights.may("administer")) this.own();
    else if (part === "audit") this.audit(query);
    else if (part) this.one(part).catch(failed);
    else this.list().catch(failed);
    return true;
  }

  close() {}

  /** What a person who may not administer sees. */
  own() {
    const { me } = this.rights;
    title("Account");
    const limit = (value, text) => (value === null || value === undefined ? "no limit" : `${value} ${text}`);
    put(this.page, h("div", { class: "bar" }, h("h1", null, "Your account")), h("section", { class: "card" }, h("dl", null, h("dt", null, "account"), h("dd", null, me.account ?? "owner"), h("dt", null, "role"), h("dd", null, `${me.role}: ${SAYS[me.role]}`),
      h("dt", null, "agents"), h("dd", null, me.agents.length ? me.agents.map(scopes).join(" and ") : "all"), h("dt", null, "budget"), h("dd", null, limit(me.budget, "dollars in a month")), h("dt", null, "requests"), h("dd", null, limit(me.rate, "in a minute")),
      h("dt", null, "token ends"), h("dd", null, me.ends ? moment(me.ends) : "never"))));
  }

  head(page, text, ...more) {
    if (page.isConnected) title(text);
    return h("div", { class: "bar" }, text === "Accounts" ? null : h("a", { href: "#/accounts" }, "Accounts"), h("h1", null, text), h("span", { class: "grow" }), more);
  }

  async list() {
    const { page } = this;
    const accounts = await pages("/accounts", "accounts");
    put(page, this.head(page, "Accounts", h("a", { href: "#/accounts/audit", class: "button" }, "Audit trail"), h("button", { class: "main", type: "button", onclick: () => this.edit(null) }, "New account")),
      accounts.length ? table(["Name", "Role", "Agents", "Budget", "Made", "Note"], accounts.map((one) => h("tr", null,
        h("td", null, h("a", { href: `#/accounts/${encodeURIComponent(one.name)}` }, one.name), one.enabled ? null : h("span", { class: "badge error" }, "disabled")), h("td", null, one.role), h("td", null, h("code", null, scopes(one.agents))),
        h("td", { class: "num" }, one.budget === null || one.budget === undefined ? "–" : `$${one.budget}`), h("td", { title: moment(one.created) }, ago(one.created)), h("td", { class: "dim" }, oneLine(one.note, 120)))))
        : h("p", { class: "empty" }, "There are no accounts: only the owner uses this Roost. Make one for each person or program."));
  }

  /** Make an account, or change one. Only what a person changes is sent, so that two windows do not undo each other. */
  edit(known) {
    const name = h("input", { value: known?.name ?? "", required: true, disabled: Boolean(known), pattern: "[a-z0-9][a-z0-9_\\-]{0,31}", spellcheck: "false", autocomplete: "off" });
    const role = choice(ROLES, known?.role ?? "user");
    const agents = h("input", { value: (known?.agents ?? ["*"]).join(" "), spellcheck: "false", required: true });
    const numbers = { budget: number(known?.budget, "0.01"), rate: number(known?.rate), concurrent: number(known?.concurrent), sessions: number(known?.sessions) };
    const subject = h("input", { value: known?.subject ?? "", spellcheck: "false" });
    const note = h("input", { value: known?.note ?? "", maxlength: "256" });
    const enabled = h("input", { type: "checkbox", checked: known?.enabled ?? true });
    form(known ? `Change ${known.name}` : "New account", [
      field("Name", name, "Small letters, digits, - and _."), field("Role", role, ROLES.map((one) => `${one}: ${SAYS[one]}`).join("; ")), field("Agents", agents, "Patterns with spaces in between; * is all, model:NAME allows a model."),
      field("Budget, dollars a month", numbers.budget, "Empty: no limit."), field("Requests a minute", numbers.rate), field("Requests at once, on each node", numbers.concurrent), field("Sessions at once", numbers.sessions), field("Subject at an OpenID provider", subject, "ISSUER SUBJECT, if it signs in there. Empty: it does not."), field("Note", note), known ? field("May sign in and work", enabled) : null,
    ], { save: async () => {
      const body = { unlimited: [] };
      const changed = (key, value, before) => { if (JSON.stringify(value) !== JSON.stringify(before)) body[key] = value; };
      changed("role", role.value, known?.role);
      changed("agents", globs(agents.value), known?.agents);
      changed("note", note.value, known?.note ?? "");
      changed("enabled", enabled.checked, known?.enabled ?? true);
      changed("subject", subject.value.trim(), known?.subject ?? "");
      for (const [key, input] of Object.entries(numbers)) {
        if (input.value !== "") changed(key, Number(input.value), known?.[key]);
        else if (typeof known?.[key] === "number") body.unlimited.push(key);
      }
      if (!known) body.new = true; // another window may make it at the same time
      await ask("PUT", `/accounts/${encodeURIComponent(name.value)}`, { body });
      announce(known ? "changed" : "made");
      if (known) this.one(known.name);
      else go(`/accounts/${encodeURIComponent(name.value)}`);
    } });
  }

  async one(name) {
    const { page } = this;
    const path = `/accounts/${encodeURIComponent(name)}`;
    const [account, tokens] = await Promise.all([get(path), pages("/tokens", "tokens", { account: name })]);
    const limit = (value, text) => (value === null || value === undefined ? "no limit" : `${value} ${text}`);
    const order = (run, done) => run.then(() => { announce(done); if (page === this.page) this.one(name); }, (error) => announce(error.message, "bad"));
    if (page !== this.page) return;
    this.made ??= h("div", { "aria-live": "polite" });
    if (this.madeOf !== name) put(this.made);
    this.madeOf = name;
    put(page, this.head(page, account.name, h("button", { type: "button", onclick: () => this.edit(account) }, "Change …"),
      h("button", { type: "button", onclick: () => order(ask("PUT", path, { body: { enabled: !account.enabled } }), account.enabled ? "disabled" : "enabled") }, account.enabled ? "Disable" : "Enable"),
      h("button", { type: "button", class: "danger", onclick: () => { if (confirm(`Remove the account ${name} and its tokens? Its sessions stay, and only the owner sees them.`)) ask("DELETE", path).then(() => { announce("removed"); if (page.isConnected) go("/accounts"); }, (error) => announce(error.message, "bad")); } }, "Remove …")),
    h("section", { class: "card" }, h("dl", null, h("dt", null, "state"), h("dd", null, account.enabled ? "enabled" : h("span", { class: "bad" }, "disabled: no token of it works")), h("dt", null, "role"), h("dd", null, `${account.role}: ${SAYS[account.role]}`), h("dt", null, "agents"), h("dd", null, h("code", null, scopes(account.agents))),
      h("dt", null, "budget"), h("dd", null, limit(account.budget, "dollars in a month")), h("dt", null, "requests"), h("dd", null, limit(account.rate, "in a minute")), h("dt", null, "at once"), h("dd", null, limit(account.concurrent, "on each node")), h("dt", null, "sessions"), h("dd", null, limit(account.sessions, "at once")),
      account.subject ? [h("dt", null, "signs in as"), h("dd", null, oneLine(account.subject, 300))] : null, account.note ? [h("dt", null, "note"), h("dd", null, oneLine(account.note, 300))] : null, h("dt", null, "made"), h("dd", null, moment(account.created)),
      h("dt", null, "did"), h("dd", null, h("a", { href: `#/accounts/audit?account=${encodeURIComponent(name)}` }, "audit trail of this account")))),
    h("div", { class: "bar" }, h("h2", { class: "caps grow" }, "Tokens"), h("button", { type: "button", onclick: () => this.token(account) }, "New token …")), this.made,
    tokens.length ? table(["Id", "Name", "Role", "Agents", "State", "Made", "Ends", ""], tokens.map((one) => h("tr", null, h("td", null, h("code", null, one.id)), h("td", null, oneLine(one.name, 80)), h("td", null, one.role), h("td", null, h("code", null, scopes(one.agents))),
      h("td", null, h("span", { class: `badge ${one.state === "valid" ? "ok" : "error"}` }, one.state)), h("td", { title: moment(one.created) }, ago(one.created)), h("td", null, one.ends ? moment(one.ends) : "never"),
      h("td", null, one.state === "revoked" ? null : h("button", { type: "button", class: "danger", "aria-label": `Revoke ${one.id}`, onclick: () => { if (confirm(`Revoke the token ${one.name || one.id}? What uses it stops at once.`)) order(ask("DELETE", `/tokens/${encodeURIComponent(one.id)}`), "revoked"); } }, "Revoke")))))
      : h("p", { class: "dim" }, "None: nobody can act as this account yet."));
  }

  token(account) {
    const name = h("input", { maxlength: "256", placeholder: "laptop, CI …" });
    const role = choice(ROLES.slice(0, ROLES.indexOf(account.role) + 1), account.role);
    const agents = h("input", { value: "*", required: true, spellcheck: "false" });
    const days = h("input", { type: "number", min: "0.01", step: "any", value: "90" });
    form(`New token of ${account.name}`, [field("Name", name), field("Role", role), field("Agents", agents, "It may use what these and the account's allow."), field("Days until it expires", days, "Empty: never.")], { button: "Make", save: async () => {
      const body = { name: name.value, role: role.value, agents: globs(agents.value), ...(days.value && { days: Number(days.value) }) };
      const made = await ask("POST", `/accounts/${encodeURIComponent(account.name)}/tokens`, { body });
      const shown = h("input", { class: "mono", readonly: true, value: made.token, "aria-label": "The new token", onfocus: (event) => event.target.select() });
      put(this.made, h("section", { class: "card" }, h("p", null, h("strong", null, "This token is shown only now."), " Give it to its holder; here and with ", h("code", null, "ROOST_TOKEN"), " it signs in."), h("div", { class: "bar try" }, shown, h("button", { type: "button", onclick: () => copy(made.token) }, "Copy"), h("button", { type: "button", class: "quiet", onclick: () => put(this.made) }, "Hide"))));
      this.one(account.name);
    } });
  }

  async audit(query) {
    const account = query.get("account") ?? "";
    const body = h("tbody");
    const more = h("button", { type: "button", hidden: true, onclick: () => load() }, "Earlier");
    const said = h("p", { class: "dim", role: "status" });
    const filter = h("input", { type: "search", value: account, placeholder: "all accounts", "aria-label": "Account", spellcheck: "false" });
    put(this.page, this.head(this.page, "Audit trail", h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); go(`/accounts/audit${filter.value.trim() ? `?account=${encodeURIComponent(filter.value.trim())}` : ""}`); } }, filter, h("button", null, "Filter"))),
      h("p", { class: "dim" }, "What accounts sent to sessions is in the events of these. Entries are kept for 180 days."), h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, h("tr", null, ["When", "Who", "What", "About", "Outcome"].map((text) => h("th", { scope: "col" }, text)))), body)), said, more);
    let before;
    const load = async () => {
      try {
        const page = await get("/audit", { account, before, limit: 100 });
        before = page.next;
        more.hidden = !before;
        body.append(...page.entries.map((one) => h("tr", null, h("td", { class: "num" }, moment(one.at)), h("td", null, one.account ? h("a", { href: `#/accounts/${encodeURIComponent(one.account)}` }, one.account) : "owner", one.token ? h("div", { class: "dim" }, oneLine(one.token, 80)) : null), h("td", { class: "nowrap" }, h("code", null, oneLine(one.what, 120))), h("td", null, oneLine(one.target ?? "", 130)),
          h("td", { class: one.outcome === "allowed" ? "" : "bad" }, oneLine(one.outcome, 60), one.times > 1 ? ` × ${one.times}` : ""))));
        said.textContent = body.firstChild ? "" : "No entries.";
      } catch (error) {
        said.textContent = error.message;
      }
    };
    await load();
  }
}

export const open = (root, parts, query, rights) => new Accounts(root, parts, query, rights);
