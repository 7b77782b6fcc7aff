// What is known of one item, or of the whole session, beside the conversation.

import { ask, of, get } from "../api.js";
import { announce, clean, copy, exact, h, longText, once, oneLine, put } from "../dom.js";
import { bytes, count, moment, money, pretty, short, span } from "../format.js";

const fact = (name, value) => (value === null || value === undefined || value === "" ? null : [h("dt", null, name), h("dd", null, value)]);

function figuresOf(usage) {
  if (!usage || !(usage.input || usage.output)) return null;
  return [fact("tokens in", `${(usage.input ?? 0).toLocaleString("en")}${usage.cached ? ` (${count(usage.cached)} from the cache)` : ""}`),
    fact("tokens out", `${(usage.output ?? 0).toLocaleString("en")}${usage.thinking ? ` (${count(usage.thinking)} thinking)` : ""}`), fact("cost", money(usage.cost ?? null))];
}

/** The numbers of the events that an item is made of. */
function positions(item) {
  const all = [item.seq, item.asked?.seq, item.answer?.seq, item.started, item.end, ...(item.notices ?? []).map((one) => one.seq)];
  return [...new Set(all.filter(Boolean))].sort((a, b) => a - b);
}

function eventBox(entry) {
  const text = JSON.stringify(entry.event);
  const box = h("details", { class: "event" }, h("summary", null, h("span", { class: "num" }, `#${entry.seq}`), h("code", null, clean(entry.event.type)), h("span", { class: "dim num" }, bytes(text.length))));
  box.addEventListener("toggle", () => {
    if (box.open && !box.filled) {
      box.filled = true;
      box.append(h("button", { class: "quiet small", type: "button", onclick: () => copy(JSON.stringify(entry, null, 2)) }, "Copy"), longText(pretty(text), { lines: 60 }));
    }
  });
  return box;
}

/** What a rollback or a fork at an event would change. */
function travel(view, item) {
  if (!view.rights.may("use")) return null;
  const at = Math.max(...positions(item));
  const after = view.fold.items.filter((one) => one.seq > at && !one.undone);
  const turns = after.filter((one) => one.kind === "message").length;
  const calls = after.filter((one) => one.kind === "call").length;
  const said = h("div", { class: "dim" }, `After event ${at} come ${turns} ${turns === 1 ? "message" : "messages"} and ${calls} tool ${calls === 1 ? "call" : "calls"}${view.detached ? " in the shown part" : ""}. Money that was spent stays spent.`);
  const show = async () => {
    try {
      const diff = await get(of(view.id, "/diff"), { since: String(at) });
      put(said, `Files since event ${diff.since}: ${diff.added} added, ${diff.changed} changed, ${diff.removed} removed. `, diff.why_not_since ? clean(diff.why_not_since) : "",
        h("ul", null, diff.changes.slice(0, 20).map((one) => h("li", null, h("code", null, oneLine(one.path, 120)), ` ${one.change}`))));
    } catch (error) {
      put(said, error.message);
    }
  };
  return h("section", { class: "travel" }, h("h3", null, "From here"), said, h("div", { class: "bar" },
    h("button", { type: "button", onclick: once(() => view.travel("fork", at)) }, "Fork"),
    h("button", { type: "button", onclick: once(async () => { if (confirm(`Roll the session back to event ${at}? Its conversation, memory and private files become what they were. You can undo this.`)) await view.travel("rollback", at); }) }, "Roll back"),
    h("button", { type: "button", class: "quiet", onclick: show }, "What changes?")));
}

function itemPanel(view, item) {
  const seqs = new Set(positions(item));
  const entries = view.events.filter((one) => seqs.has(one.seq));
  const kinds = { answer: "Model call", call: `Tool call ${item.name ?? ""}`, message: "Message", turn: `Turn ${item.turn ?? ""}`, note: "Event", plan: "Plan" };
  return [h("header", null, h("h2", null, oneLine(kinds[item.kind] ?? item.kind, 60)), h("button", { class: "quiet icon", type: "button", "aria-label": "Close", onclick: () => view.unselect() }, "×")),
    h("dl", null, fact("when", moment(item.at)), fact("event", `#${item.seq}`), fact("status", item.status), fact("model", oneLine(item.model ?? "", 80)), fact("duration", item.seconds ? span(item.seconds) : ""),
      figuresOf(item.usage), fact("context", item.context ? `${count(item.context)} tokens` : ""), fact("attempt", item.attempt > 1 ? item.attempt : ""), fact("stopped by", item.stop && item.stop !== "end" ? item.stop : ""),
      fact("allowed by", item.why ? clean(item.why) : ""), fact("replay", item.replay), fact("exit code", item.code ?? ""),
      item.asked ? fact("asked", `${clean(item.asked.reason)}${item.asked.why ? ` (${clean(item.asked.why)})` : ""}`) : null,
      item.answer ? fact("answered", `${item.answer.decision} by ${clean(item.answer.by ?? "a person")} after ${span(item.answer.at - (item.asked?.at ?? item.answer.at))}`) : null,
      item.key ? fact("key", h("code", null, oneLine(item.key, 80))) : null, item.child ? fact("child", h("a", { href: `#/s/${encodeURIComponent(item.child)}` }, oneLine(short(item.child), 40))) : null),
    (item.notices ?? []).length ? [h("h3", null, "What happened"), h("ul", { class: "notices" }, item.notices.map((one) => h("li", null, h("b", null, clean(one.kind)), " ", oneLine(JSON.stringify(one.data), 300))))] : null,
    item.kind === "call" && item.arguments ? [h("h3", null, "Arguments"), longText(pretty(item.arguments), { lines: 40 })] : null,
    travel(view, item), h("h3", null, "Events"), entries.length ? entries.map(eventBox) : h("p", { class: "dim" }, "not loaded")];
}

/** The standing rules that count in a session; those who may use it can revoke them. */
async function showRules(view, box) {
  const { rules } = await get(of(view.id, "/rules"));
  const where = { session: "this session", agent: "its agent", user: "its user" };
  const revoke = (one, button) => {
    button.disabled = true;
    const path = one.scope === "session" ? of(view.id, `/rules/${encodeURIComponent(one.id)}`) : `/rules/${encodeURIComponent(one.id)}`;
    if (one.scope !== "session" && !confirm(`Revoke this rule of ${where[one.scope]}? It counts in other sessions, too.`)) { button.disabled = false; return; }
    ask("DELETE", path, { headers: { prefer: "wait=5" } }).then((done) => { announce(done.revoked ? "revoked" : "revoked: in effect after the step in progress"); showRules(view, box); }, (error) => { button.disabled = false; announce(error.message, "bad"); });
  };
  put(box, rules.length ? [h("h3", null, "Standing rules"), h("ul", { class: "points" }, rules.map((one) => h("li", null, h("span", null, "allows ", exact(one.says), " ", h("code", null, exact(one.rule)), " ", h("span", { class: "dim" }, `in ${where[one.scope]}`)),
    view.rights.may("use") ? h("button", { type: "button", class: "danger small", "aria-label": `Revoke ${exact(one.rule)}`, onclick: (event) => revoke(one, event.currentTarget) }, "Revoke") : null)))] : null);
}

function sessionPanel(view) {
  const { info, usage = {} } = view.view;
  const box = view.pointsBox ??= h("div", null, h("p", { class: "dim" }, "Loading …"));
  const children = view.childrenBox ??= h("div");
  const rules = view.rulesBox ??= h("div");
  if (view.pointsOld) showRules(view, rules).catch(() => null); // read again with the next event
  if (view.pointsOld) Promise.allSettled([get(of(view.id, "/checkpoints")), get(of(view.id, "/tree"))]).then(([made, tree]) => {
    const points = made.value?.checkpoints ?? [];
    put(box, points.length ? h("ul", { class: "points" }, points.slice(0, 30).map((one) => h("li", null,
      h("button", { class: "quiet", type: "button", onclick: () => view.jump(one.seq) }, one.label ? `⚑ ${oneLine(one.label, 60)}` : `#${one.seq}`), h("span", { class: "dim" }, one.files ? " with files" : ""), h("time", { class: "dim", title: moment(one.made_at) }, ` ${oneLine(one.cause, 30)}`)))) : h("p", { class: "dim" }, "none"));
    const below = (tree.value?.sessions ?? []).filter((one) => one.id !== view.id);
    put(children, below.length ? [h("h3", null, "Children"), h("ul", null, below.slice(0, 50).map((one) => h("li", null, h("a", { href: `#/s/${encodeURIComponent(one.id)}` }, oneLine(one.title ?? short(one.id), 60)), h("span", { class: "dim" }, ` ${oneLine(one.agent, 30)} · ${one.state}`))))] : null);
  });
  view.pointsOld = false;
  return [h("header", null, h("h2", null, "Session"), h("button", { class: "quiet icon narrow-only", type: "button", "aria-label": "Close", onclick: () => view.panel.classList.remove("shown") }, "×")),
    h("dl", null, fact("id", h("button", { class: "quiet mono", type: "button", title: "Copy", onclick: () => copy(info.id) }, info.id)), fact("agent", `${info.agent} ${info.version.slice(0, 8)}`), fact("model", view.view.model ?? "the node's default"), fact("permissions", view.view.permissions),
      fact("folder", info.workspace ? h("code", null, clean(info.workspace)) : "private"), fact("made", moment(info.created_at)), fact("last change", moment(info.updated_at)),
      fact("turns", view.view.turns), fact("steps", view.view.steps), fact("events", info.head.toLocaleString("en")), fact("in context", `${view.view.context_tokens.toLocaleString("en")} tokens`), figuresOf(usage),
      Object.entries(info.labels).map(([name, value]) => fact(oneLine(name, 40), oneLine(value, 120))),
      Object.entries(view.view.timers ?? {}).map(([name, due]) => fact(`timer ${oneLine(name, 40)}`, moment(due))),
      Object.entries(view.view.pins ?? {}).map(([name, text]) => fact(`pin ${oneLine(name, 40)}`, oneLine(text, 200))),
      (view.view.jobs ?? []).map((job) => fact("background", h("code", null, oneLine(job.command, 120))))),
    view.view.unknown?.length ? h("p", { class: "bad" }, `waits for a node that knows ${view.view.unknown.map(clean).join(", ")}`) : null,
    rules, children, h("h3", null, "Checkpoints"), box];
}

export const inspector = (view, item) => (item ? itemPanel(view, item) : sessionPanel(view));
