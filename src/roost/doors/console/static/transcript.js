// The items of a conversation as nodes.

import { clean, h, longText, oneLine } from "./dom.js";
import { clock, count, money, pretty, short, span } from "./format.js";
import { markdown } from "./markdown.js";

const LIVE = 30000; // a longer answer is formatted when it is complete
const IMAGE = /^image\/(png|jpeg|gif|webp|avif)$/;
const OUTCOMES = { ok: "✓", error: "✗", denied: "×", cancelled: "■", interrupted: "!", skipped: "–", running: "●", waiting: "?", planned: "○" };

function media(part) {
  if (part.kind === "image" && part.data && IMAGE.test(part.media_type) && part.data.length < 8e6) {
    return h("img", { class: "picture", src: `data:${part.media_type};base64,${part.data}`, alt: oneLine(part.name ?? "a picture", 80), loading: "lazy" });
  }
  return h("span", { class: "pill" }, `${part.kind} ${oneLine(part.name ?? part.media_type ?? "", 80)}${part.url ? ` (${oneLine(part.url, 80)})` : ""}`);
}

const partsOf = (parts) => (parts ?? []).map((part) => (part.kind === "text" ? longText(part.text, { tag: "div", cls: "plain", most: 6000, lines: 60 }) : media(part)));

/** Tools whose argument `command` says what they do: their others are settings, as a time limit. */
const SHELLS = /^(shell|bash|terminal_start|local_shell|run_shell_command|exec_command)$/i;

/** What a call of a tool is about, in a few words: its command, path, query. */
export function gist(text, tool = "") {
  try {
    const given = JSON.parse(text);
    if (given && typeof given === "object") {
      if (typeof given.command === "string" && Object.keys(given).length > 1 && !SHELLS.test(tool)) return oneLine(text, 160); // it may be one part of what the call does
      const best = ["command", "pattern", "path", "file", "query", "url", "task", "name", "text"].find((name) => typeof given[name] === "string");
      if (best) return oneLine(given[best], 160);
      const values = Object.values(given);
      if (values.length === 1 && typeof values[0] !== "object") return oneLine(String(values[0]), 160);
    }
    return text === "{}" ? "" : oneLine(text, 160);
  } catch {
    return oneLine(text, 160);
  }
}

function message(item) {
  const by = item.account ?? item.source;
  return [h("header", null, h("b", null, item.source?.startsWith("schedule:") || item.source?.startsWith("timer:") ? oneLine(item.source, 60) : item.account ? oneLine(item.account, 40) : "you"),
    item.mode === "steer" ? h("span", { class: "pill" }, "steered") : null, by && by !== item.account && !/^(schedule|timer):/.test(by) ? h("span", { class: "dim" }, `by ${oneLine(by, 40)}`) : null), partsOf(item.parts)];
}

const NOTICE = {
  retry: (d) => `retry${d.attempt ? ` ${d.attempt}` : ""}${d.error ? `: ${d.error.message ?? d.error.code ?? d.error}` : d.code ? `: ${d.code}` : ""}`,
  route: (d) => `route: ${d.model ?? d.chosen ?? (d.chain ?? []).join(" → ")}`,
  fallback: (d) => `fallback to ${d.model ?? d.to ?? "another model"}`,
  lost: (d) => `a crash cut off attempt ${d.attempt}`,
};

function noticeText(one) {
  const made = NOTICE[one.kind]?.(one.data);
  return oneLine(made ?? `${one.kind}${Object.keys(one.data).length ? ` ${JSON.stringify(one.data)}` : ""}`, 200);
}

function thinking(text, live) {
  if (!text.trim()) return null;
  return h("details", { class: "thinking", open: false }, h("summary", null, live ? "thinking …" : "thought"), longText(text, { tag: "div", cls: "plain", most: 8000, lines: 200 }));
}

function progress(piece) {
  const part = piece.total ? piece.done / piece.total : 0;
  return h("p", { class: "dim" }, `${piece.stage} ${piece.total ? `${Math.round(part * 100)} %` : ""} `, h("progress", piece.total ? { value: String(part), max: "1", "aria-label": piece.stage } : { "aria-label": piece.stage }));
}

function answer(item) {
  const body = [];
  if (item.parts) {
    for (const part of item.parts) {
      if (part.kind === "text") body.push(h("div", { class: "prose" }, markdown(part.text)));
      else if (part.kind === "thinking") body.push(part.redacted ? h("p", { class: "dim" }, "thinking that the provider hides") : thinking(part.text, false));
      else if (part.kind !== "tool_call") body.push(media(part));
    }
  } else {
    body.push(thinking(item.live.thinking, true));
    if (item.live.text.length > LIVE) body.push(h("div", { class: "plain" }, "…", clean(item.live.text.slice(-LIVE))));
    else if (item.live.text) body.push(h("div", { class: "prose" }, markdown(item.live.text)));
    if (item.status === "running") body.push(item.progress ? progress(item.progress) : h("p", { class: "dim working" }, item.live.text || item.live.thinking ? "" : "waiting for the model ", item.live.call ? "writes a call " : "", h("i", { class: "dots" })));
  }
  if (item.ordered) body.push(h("p", { class: "dim" }, `cut off: ${item.ordered}`));
  else if (item.error) body.push(h("p", { class: "bad" }, `${item.error.code}: ${clean(item.error.message)}`));
  const shown = item.notices.filter((one) => !["choice", "early"].includes(one.kind));
  if (shown.length) body.push(h("ul", { class: "notices" }, shown.slice(0, 20).map((one) => h("li", null, noticeText(one))), shown.length > 20 ? h("li", null, `${shown.length - 20} more`) : null));
  return body;
}

function figures(item) {
  const usage = item.usage ?? {};
  const parts = [];
  if (item.model) parts.push(oneLine(item.model, 60));
  if (item.seconds) parts.push(span(item.seconds));
  if (usage.input || usage.output) parts.push(`↑${count(usage.input)} ↓${count(usage.output)}`);
  if (item.parts && (usage.input || usage.output)) parts.push(money(usage.cost));
  if (item.attempt > 1) parts.push(`attempt ${item.attempt}`);
  return parts.join(" · ");
}

const KEEP_OPEN = new Set();

function call(item) {
  const result = (item.parts ?? []).filter((part) => part.kind === "text").map((part) => part.text).join("\n");
  const facts = [item.seconds ? span(item.seconds) : "", item.code ? `exit ${item.code}` : "", item.attempt > 1 ? `attempt ${item.attempt}` : "", item.early ? "early" : ""].filter(Boolean).join(" · ");
  const details = h("details", { open: KEEP_OPEN.has(item.id), ontoggle: (event) => {
    if (event.target !== details) return;
    details.open ? KEEP_OPEN.add(item.id) : KEEP_OPEN.delete(item.id);
    if (details.open && !details.filled) fill();
  } },
  h("summary", null, h("span", { class: `mark ${item.status}`, title: item.status }, OUTCOMES[item.status] ?? "?"), h("b", null, oneLine(item.name, 60)), h("span", { class: "gist" }, gist(item.arguments, item.name)), h("span", { class: "dim num" }, facts)));
  const fill = () => {
    details.filled = true;
    details.append(h("div", { class: "call-body" },
      item.why ? h("p", { class: "dim" }, `allowed by: ${clean(item.why)}`) : null,
      item.asked ? h("p", { class: "dim" }, `asked: ${clean(item.asked.reason)}${item.answer ? ` — ${item.answer.decision}${item.answer.by ? ` by ${clean(item.answer.by)}` : ""}${item.answer.note ? `: ${clean(item.answer.note)}` : ""}` : ""}`) : null,
      longText(pretty(item.arguments), { lines: 40 }), item.parts ? item.parts.map((part) => (part.kind === "text" ? longText(part.text, { end: false }) : media(part))) : null));
  };
  if (details.open) fill();
  const body = [details];
  if (item.child) body.push(h("p", { class: "sub" }, "works in ", h("a", { href: `#/s/${encodeURIComponent(item.child)}` }, oneLine(short(item.child), 40))));
  if (item.parts && !details.open && item.status !== "ok" && result.trim()) body.push(h("p", { class: "sub dim" }, oneLine(result.trim().split("\n").at(-1), 200)));
  return body;
}

const GOALS = { todo: "○", doing: "◐", done: "●", dropped: "–" };

function nodes(item) {
  switch (item.kind) {
    case "message": return message(item);
    case "answer": return answer(item);
    case "call": return call(item);
    case "plan": return h("ul", { class: "plan" }, item.goals.slice(0, 50).map((goal) => h("li", { class: goal.state }, `${GOALS[goal.state] ?? "○"} ${oneLine(goal.text, 300)}`)));
    case "turn": return [h("span", { class: item.outcome === "answered" ? "" : "bad" }, item.outcome === "answered" ? `turn ${item.turn}` : `turn ${item.turn} ${item.outcome}${item.reason ? `: ${clean(item.reason)}` : ""}`),
      h("span", { class: "num" }, [span(item.seconds), `${item.steps} ${item.steps === 1 ? "step" : "steps"}`, item.usage.input || item.usage.output ? `↑${count(item.usage.input)} ↓${count(item.usage.output)}` : "", money(item.usage.cost ?? (item.usage.input ? null : 0))].filter(Boolean).join(" · "))];
    default: return [item.pin ? "⚑ " : "", oneLine(item.text, 400), item.session ? [" ", h("a", { href: `#/s/${encodeURIComponent(item.session)}` }, oneLine(short(item.session), 40))] : null];
  }
}

/** Make the node of an item. select(item): called when it is chosen. */
export function itemNode(item, select) {
  const empty = item.kind === "answer" && item.parts && !item.parts.some((part) => part.kind !== "tool_call" && (part.text ?? "x").trim()) && !item.error && !item.notices.length;
  const kind = item.kind === "note" ? `note ${item.tone ?? (item.dim ? "dim" : "")}` : item.kind;
  const line = item.kind === "answer" ? figures(item) : "";
  return h("article", { class: `item ${kind}${item.undone ? " undone" : ""}${empty ? " bare" : ""}`, "data-id": item.id },
    h("div", { class: "item-body" }, nodes(item)),
    h("button", { class: "where", type: "button", title: `${clock(item.at)}: inspect event ${item.seq}`, "aria-label": `Inspect event ${item.seq}`, onclick: () => select(item) }, line ? h("span", null, line) : null, h("time", null, clock(item.at))));
}
