// The schedules of all sessions: when they come due, what they send, and orders.

import { ask, get, newKey, of, post } from "../api.js";
import { announce, clean, h, once, oneLine, put } from "../dom.js";
import { moment, short, span } from "../format.js";
import { setQuery, title } from "../address.js";
import { sessions } from "../store.js";
import { field, form } from "./form.js";

const rhythm = (spec) => (spec.cron ? `${spec.cron} (${spec.zone ?? "UTC"})` : spec.every ? `every ${span(spec.every)}` : spec.at ? `once, ${moment(spec.at)}` : "");

/** A local time with its offset, shorter. */
const when = (local) => local.replace("T", " ").replace(/:00(?=[+-Z]|$)/, "").replace(/[+-]\d\d:\d\d$|Z$/, "");

const MISSED = { once: "run once for all that were missed", skip: "leave out what was missed", all: "run each that was missed" };

/** A moment as a field for local times has it, and back. */
const asLocal = (at) => new Date(at * 1000 - new Date(at * 1000).getTimezoneOffset() * 60000).toISOString().slice(0, 16);

/** Make a schedule, or change one: what the form does not show stays as it is. saved(): called when it was kept. */
export function scheduleForm(known, { session = "", saved }) {
  const { cron, every, at, ...rest } = known?.spec ?? {};
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const list = h("datalist", { id: "schedule-sessions" }, [...sessions.byId.values()].slice(0, 200).map((one) => h("option", { value: one.id }, oneLine(one.title || one.about || one.agent, 60))));
  const whose = h("input", { value: known?.session ?? session, required: true, disabled: Boolean(known), spellcheck: "false", list: "schedule-sessions" });
  const name = h("input", { value: known?.name ?? "", required: true, disabled: Boolean(known), maxlength: "64", spellcheck: "false" });
  const text = h("textarea", { rows: "4", required: true, value: rest.text ?? "" });
  const kind = h("select", null, [["cron", "by a cron expression"], ["every", "every so many seconds"], ["at", "once"]].map(([value, label]) => h("option", { value, selected: value === (every ? "every" : at ? "at" : "cron") }, label)));
  const fields = {
    cron: field("Minute, hour, day, month, weekday", h("input", { value: cron ?? "0 9 * * 1-5", class: "mono", spellcheck: "false" }), "0 9 * * 1-5 is 9 o'clock on working days; @hourly, @daily, @weekly, @monthly."),
    zone: field("Time zone", h("input", { value: known ? rest.zone ?? "UTC" : here, spellcheck: "false" })),
    every: field("Seconds", h("input", { type: "number", min: "1", step: "any", value: every ?? 3600 })),
    at: field(`When (${here})`, h("input", { type: "datetime-local", value: asLocal(at ?? Date.now() / 1000 + 3600) })),
  };
  const missed = h("select", null, Object.entries(MISSED).map(([value, label]) => h("option", { value, selected: value === (rest.missed ?? "once") }, label)));
  const fresh = h("input", { type: "checkbox", checked: rest.fresh });
  const heartbeat = h("input", { type: "checkbox", checked: rest.heartbeat });
  const turn = () => { for (const [part, one] of Object.entries(fields)) one.node.closest(".form-field").hidden = part === "zone" ? kind.value !== "cron" : part !== kind.value; };
  kind.addEventListener("change", turn);
  form(known ? `Change ${oneLine(known.name, 60)}` : "New schedule", [field("Session", whose), field("Name", name), field("Message", text), field("When", kind), ...Object.values(fields), field("After a pause or a stop", missed), field("Without the conversation so far", fresh), field("A heartbeat: without the conversation, and silent when there is nothing to do", heartbeat)], { save: async () => {
    const value = { cron: () => ({ cron: fields.cron.node.value.trim(), zone: fields.zone.node.value.trim() || "UTC" }), every: () => ({ every: Number(fields.every.node.value) }), at: () => ({ at: new Date(fields.at.node.value).getTime() / 1000 }) }[kind.value]();
    if (kind.value === "at" && !Number.isFinite(value.at)) throw new Error("Say when.");
    const path = of(whose.value.trim(), `/schedules/${encodeURIComponent(name.value)}`);
    if (!known && await get(path).then(() => true, (error) => { if (error.status !== 404) throw error; })) throw new Error("This session has a schedule of this name.");
    await ask("PUT", path, { body: { ...rest, ...value, text: text.value, missed: missed.value, fresh: fresh.checked, heartbeat: heartbeat.checked }, key: newKey() });
    announce("kept");
    saved();
  } }).append(list);
  turn();
}

class Schedules {
  constructor(root, query, rights) {
    this.rights = rights;
    this.list = h("div");
    root.append(h("div", { class: "page" }, h("div", { class: "bar" }, h("h1", null, "Schedules"), h("span", { class: "grow" }), h("button", { type: "button", onclick: () => this.load() }, "Read again"),
      rights.may("use") ? h("button", { type: "button", class: "main", onclick: () => scheduleForm(null, { saved: () => this.load() }) }, "New schedule") : null), this.list));
    if (query.get("session") && rights.may("use")) {
      scheduleForm(null, { session: query.get("session"), saved: () => this.load() });
      setQuery({ session: "" });
    }
    title("Schedules");
    this.load();
    this.timer = setInterval(() => this.load(), 20000);
  }

  close() { clearInterval(this.timer); }

  async load() {
    try {
      const found = [];
      for (let after; ;) {
        const page = await get("/schedules", { after, limit: 200 });
        found.push(...page.schedules);
        after = page.next;
        if (!after || found.length > 2000) break;
      }
      put(this.list, found.length ? found.map((one) => this.card(one)) : h("p", { class: "empty" }, "There are no schedules. One sends a message to a session at its times."));
    } catch (error) {
      put(this.list, h("p", { class: "bad" }, error.message));
    }
  }

  card(one) {
    const path = of(one.session, `/schedules/${encodeURIComponent(one.name)}`);
    const order = (run, text) => run.then(() => { announce(text); this.load(); }, (error) => announce(error.message, "bad"));
    return h("section", { class: "card" }, h("div", { class: "bar" }, h("h2", null, oneLine(one.name, 80)), h("span", { class: `badge ${one.state === "active" ? "ok" : one.state}` }, one.state),
      h("a", { href: `#/s/${encodeURIComponent(one.session)}` }, `${oneLine(one.agent, 40)} · ${oneLine(short(one.session), 40)}`), one.session_state !== "running" && one.session_state !== "created" ? h("span", { class: "badge error" }, one.session_state) : null, h("span", { class: "grow" }),
      this.rights.may("use") ? [h("button", { type: "button", onclick: once(() => order(post(`${path}/run`, {}, { key: newKey() }), "runs now")) }, "Run now"),
        one.state === "active" ? h("button", { type: "button", onclick: () => order(post(`${path}/pause`, {}, { key: newKey() }), "paused") }, "Pause") : h("button", { type: "button", onclick: () => order(post(`${path}/resume`, {}, { key: newKey() }), "resumed") }, "Resume"),
        h("button", { type: "button", onclick: () => scheduleForm(one, { saved: () => this.load() }) }, "Change …"),
        h("button", { type: "button", class: "danger", onclick: () => { if (confirm(`Delete the schedule ${one.name}?`)) order(ask("DELETE", path), "deleted"); } }, "Delete")] : null),
    h("p", null, clean(one.spec.text).slice(0, 600)), h("dl", null, h("dt", null, "when"), h("dd", null, h("code", null, rhythm(one.spec))),
      one.coming?.length ? [h("dt", null, "next"), h("dd", null, one.coming.map((at) => when(at.local)).join(" · "))] : null,
      one.last ? [h("dt", null, "last"), h("dd", null, `${when(one.last.local)}${one.turn ? `, turn ${one.turn}` : ""}`)] : null,
      one.spec.heartbeat ? [h("dt", null, "heartbeat"), h("dd", null, `${one.idle ?? 0} runs in a row with nothing to do`)] : null));
  }
}

export const open = (root, parts, query, rights) => new Schedules(root, query, rights);
