// A call that waits for a person: what it would do, why it is asked about, and the answer.

import { of, post } from "./api.js";
import { colour } from "./colour.js";
import { announce, exact, h, longText, oneLine } from "./dom.js";
import { parsed, pretty, short } from "./format.js";

const LINES = 400;
const WIDE = 4000;
const QUIET_MS = 400; // a question that has just come, or moved, takes no yes: it was meant for what stood there before

function diffLine(line, path) {
  const kind = line.startsWith("+++") || line.startsWith("---") ? "file" : line[0] === "+" ? "add" : line[0] === "-" ? "del" : line.startsWith("@@") ? "hunk" : "";
  if (line.length <= WIDE) {
    const sign = kind === "add" || kind === "del" || line[0] === " " ? line[0] : "";
    return h("span", { class: kind || null }, sign, path && kind !== "file" && kind !== "hunk" ? colour(h("code", null, line.slice(sign.length)), { path }) : line.slice(sign.length), "\n");
  }
  const more = h("button", { type: "button", class: "quiet small rest", onclick: () => more.replaceWith(line.slice(WIDE)) }, `Show ${(line.length - WIDE).toLocaleString("en")} more characters of this line`);
  return h("span", { class: kind || null }, line.slice(0, WIDE), more, "\n");
}

/** A unified diff with its signs, also without colour; `path` gives the language of its lines. A long one is shown in parts, the next at a click. */
export function diffOf(text, { path } = {}) {
  const lines = exact(text, 64).split("\n");
  let shown = 0;
  const body = h("pre", { class: "diff", tabindex: "0" });
  const more = h("button", { type: "button", class: "quiet small rest", "data-fast": true, onclick: () => step() });
  const step = () => {
    body.append(...lines.slice(shown, shown + LINES).map((line) => diffLine(line, path)));
    shown = Math.min(lines.length, shown + LINES);
    more.textContent = `Show ${Math.min(LINES, lines.length - shown)} of ${(lines.length - shown).toLocaleString("en")} more lines`;
    more.hidden = shown >= lines.length;
  };
  step();
  return h("div", null, body, more);
}

/** The text of a command with its dangerous parts marked. */
function commandOf(text, dangers) {
  const places = dangers.filter((one) => one.start !== undefined && one.start !== null && one.end > one.start).sort((a, b) => a.start - b.start);
  const letters = [...text];
  const out = [];
  let at = 0;
  for (const one of places) {
    if (one.start < at) continue;
    out.push(exact(letters.slice(at, one.start).join("")), h("mark", { title: one.why }, exact(letters.slice(one.start, one.end).join(""))));
    at = one.end;
  }
  out.push(exact(letters.slice(at).join("")));
  return h("pre", { class: "command", tabindex: "0" }, out);
}

function argumentsOf(waiting) {
  if (waiting.files?.some((one) => one.diff)) return waiting.files.map((one) => [h("p", { class: "path" }, h("code", null, exact(one.path))), one.diff ? diffOf(one.diff, { path: one.path }) : h("p", { class: "dim" }, "The file already has this content.")]);
  let known = null;
  try {
    known = parsed(waiting.arguments);
  } catch { /* shown as it is */ }
  const command = known && typeof known.command === "string" ? known.command : null;
  if (command === null) return longText(exact(pretty(waiting.arguments), 64), { lines: 30 });
  const rest = Object.entries(known).filter(([name]) => name !== "command");
  return [command.length > 20000 ? longText(exact(command)) : commandOf(command, waiting.dangers ?? []), rest.length ? longText(exact(pretty(Object.fromEntries(rest)), 64), { lines: 12 }) : null];
}

const WHERE = [["session", "in this session"], ["agent", "in all sessions of this user with this agent"], ["user", "in all sessions of this user"]];

/** Show the next part of a call that was not shown yet. Returns whether there was one. */
function shownMore(call, read) {
  const folded = () => [...call.querySelectorAll("button.rest")].find((one) => !one.hidden);
  if (folded()) {
    for (let one = folded(); one; one = folded()) one.click();
    return true;
  }
  const below = [...call.querySelectorAll("pre")].find((one) => !read.has(one) && !isAtEnd(one));
  below?.scrollBy(0, below.clientHeight - 40);
  return Boolean(below);
}

const isAtEnd = (node) => node.scrollTop + node.clientHeight >= node.scrollHeight - 8;

/** Make the question of a waiting call. answered(): called when it was answered, here or elsewhere. Its `moved()` says that it stands elsewhere now, or has the focus of another one. */
export function question(waiting, { may, answered, where = false }) {
  const said = h("p", { class: "bad", role: "alert" });
  const always = h("div", { class: "always" });
  let [sending, calm, timer] = [false, false, null];
  const able = () => { for (const button of box.querySelectorAll("button")) button.disabled = sending || (button === accept && !calm); };
  const busy = (on) => { sending = on; able(); };
  const read = new WeakSet();
  const call = h("div", { class: "call" }, argumentsOf(waiting));
  call.addEventListener("scroll", ({ target }) => { if (isAtEnd(target)) read.add(target); }, true);
  const send = async (body) => {
    if (sending) return;
    busy(true);
    said.textContent = "";
    try {
      await post(of(waiting.session, `/approvals/${encodeURIComponent(waiting.call)}`), { asked: waiting.asked || undefined, source: "console", ...body });
      announce({ approve: "approved", reject: "rejected", modify: "approved with changes" }[body.decision]);
      answered();
    } catch (error) {
      if (error.code === "not_waiting") {
        announce("this call was answered elsewhere");
        answered();
      } else said.textContent = error.message;
      busy(false);
    }
  };
  const chosen = () => [...always.querySelectorAll("input:checked")].map((one) => one.value);
  const scope = h("select", { "aria-label": "Where the rule counts", hidden: true });
  const yes = () => {
    if (!calm || sending) return;
    if (shownMore(call, read)) said.textContent = "There is more of this call: read it before you allow it.";
    else send({ decision: "approve", ...(chosen().length && { always: chosen(), scope: scope.value || "session" }) });
  };
  const more = h("div");
  const no = () => {
    const note = h("input", { placeholder: "why (the agent reads it)", "aria-label": "Why not", onkeydown: (event) => { if (event.key === "Enter" && !event.isComposing) send({ decision: "reject", ...(note.value && { note: note.value }) }); } });
    more.replaceChildren(h("div", { class: "bar" }, note, h("button", { type: "button", class: "danger", onclick: () => send({ decision: "reject", ...(note.value && { note: note.value }) }) }, "Reject")));
    note.focus();
  };
  const edit = () => {
    const field = h("textarea", { rows: "8", spellcheck: "false", "aria-label": "Arguments as JSON", class: "mono" });
    field.value = pretty(waiting.arguments);
    more.replaceChildren(field, h("div", { class: "bar" }, h("button", { type: "button", class: "main", onclick: () => {
      try {
        send({ decision: "modify", arguments: parsed(field.value) });
      } catch (error) {
        said.textContent = error.message;
      }
    } }, "Run with these")));
    field.focus();
  };
  const offers = waiting.offers?.length ? waiting.offers : (waiting.prefixes ?? []).map((rule) => ({ rule, says: `commands that begin with ${rule}`, scopes: ["session"] }));
  const once = h("span", null, "Yes, once");
  const scopes = () => {
    once.textContent = chosen().length ? "Yes, always" : "Yes, once";
    const rules = offers.filter((one) => chosen().includes(one.rule));
    const shared = rules.length ? WHERE.filter(([name]) => rules.every((one) => (one.scopes ?? ["session"]).includes(name))) : [];
    scope.hidden = shared.length < 2;
    const kept = scope.value;
    scope.replaceChildren(...shared.map(([name, text]) => h("option", { value: name, selected: name === kept }, text)));
  };
  for (const one of offers) always.append(h("label", { class: "check" }, h("input", { type: "checkbox", value: one.rule, onchange: scopes }), h("span", null, "always allow ", exact(one.says), " ", h("code", null, exact(one.rule)))));
  always.append(scope);
  const isHead = (one) => waiting.reason === `${one.why}: ${one.text}`;
  const dangers = (waiting.dangers ?? []).filter((one) => !isHead(one)).map((one) => h("li", null, h("code", null, exact(one.text)), " ", exact(one.why)));
  const accept = h("button", { type: "button", class: "main", onclick: yes }, once, " ", h("kbd", null, "y"));
  const box = h("section", {
    class: "question card", tabindex: "-1", "aria-label": `Question: ${oneLine(waiting.tool, 60)}`,
    onkeydown: (event) => {
      if (event.target.closest("input, textarea, button, a, pre") && event.target !== box) return;
      const act = { y: yes, n: no, e: edit }[event.key];
      if (act && may && !event.repeat && !event.ctrlKey && !event.metaKey) { // a held key answers one question
        event.preventDefault();
        event.stopPropagation();
        act();
      }
    },
  },
  h("header", null, h("strong", null, oneLine(waiting.tool, 60)), h("span", { class: "badge waiting" }, "asks"),
    where ? h("a", { href: `#/s/${encodeURIComponent(waiting.session)}` }, `${oneLine(waiting.agent, 40)} · ${oneLine(short(waiting.session), 40)}`) : null,
    h("span", { class: "dim" }, exact(waiting.reason))),
  call, dangers.length ? h("ul", { class: "dangers" }, dangers) : null, may ? always : null,
  may ? h("div", { class: "bar" }, accept, h("button", { type: "button", onclick: no }, "No … ", h("kbd", null, "n")), h("button", { type: "button", onclick: edit }, "Edit … ", h("kbd", null, "e"))) : h("p", { class: "dim" }, "Your role may read this, and not answer it."),
  more, said);
  box.moved = () => {
    calm = false;
    able();
    clearTimeout(timer);
    timer = setTimeout(() => { calm = true; able(); }, QUIET_MS);
  };
  box.moved();
  return box;
}

/** Remove a question. Those below it come to stand where it stood. */
export function remove(box) {
  for (let next = box.nextElementSibling; next; next = next.nextElementSibling) next.moved?.();
  box.remove();
}
