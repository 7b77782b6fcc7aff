// Make DOM nodes. All text goes in as text nodes: nothing here, and nothing that uses it, parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b\n]{0,4096}(?:\u0007|\u001b\\)|\u001b[@-_]/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g;
const HIDING = /(?![ \n\t])[\p{C}\p{Z}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/gu;

/** Return foreign text without terminal sequences and controls. Characters that reorder what follows are spelled out. */
export function clean(text) {
  return String(text ?? "")
    .replace(/\r\n?/g, "\n")
    .replace(ESCAPES, "")
    .replace(CONTROLS, "")
    .replace(DIRECTIONS, (c) => `\\u${c.charCodeAt(0).toString(16)}`);
}

/** Return foreign text that a person decides on: nothing is left out, and what hides or reorders text has its number. */
export function exact(text, gap = 16) {
  return String(text ?? "")
    .replace(HIDING, (c) => `<U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`)
    .replace(new RegExp(` {${gap},}`, "g"), (spaces) => ` <${spaces.length - 2} spaces> `);
}

/** Return the first line of a foreign text, cut at `most` characters. */
export function oneLine(text, most = 200) {
  const line = clean(text).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

function fill(node, props, kids) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else if (name === "value") node.value = value;
    else if (name === "checked" || name === "disabled" || name === "open" || name === "hidden" || name === "indeterminate") node[name] = Boolean(value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  append(node, kids);
  return node;
}

export function append(node, kids) {
  for (const kid of kids.flat(4)) {
    if (kid === null || kid === undefined || kid === false || kid === "") continue;
    node.append(kid instanceof Node ? kid : document.createTextNode(String(kid)));
  }
  return node;
}

/** Make an element: `h("p", {class: "x", onclick: f}, "text", child)`. */
export const h = (tag, props, ...kids) => fill(document.createElement(tag), props, kids);

/** Make an element of SVG. */
export const s = (tag, props, ...kids) => fill(document.createElementNS(SVG, tag), props, kids);

/** Put these children into a node, instead of what it has. */
export function put(node, ...kids) {
  node.replaceChildren();
  return append(node, kids);
}

const SAFE = /^(https?:|mailto:)/i;

/** Make a link to a foreign address; other kinds than http, https and mailto stay text. */
export function foreignLink(address, ...kids) {
  const url = clean(address).trim();
  if (!SAFE.test(url)) return h("span", { class: "dead-link", title: oneLine(url, 120) }, ...kids);
  return h("a", { href: url, rel: "noopener noreferrer nofollow", target: "_blank", title: oneLine(url, 300) }, ...kids);
}

const STEP = 20000;

/** Show a long text, the first part at once and more at a click. */
export function longText(text, { most = 4000, lines = 80, tag = "pre", cls = "output", end = false } = {}) {
  const whole = clean(text);
  let cut = Math.min(whole.length, most);
  let at = -1;
  for (let n = 0; n < lines && at < cut; n++) {
    at = whole.indexOf("\n", at + 1);
    if (at < 0) break;
    if (n === lines - 1) cut = Math.min(cut, at);
  }
  if (cut >= whole.length) return h(tag, { class: cls }, whole);
  const box = h("div", { class: "long" });
  if (end) {
    let from = whole.length - cut;
    const body = h(tag, { class: cls }, whole.slice(from));
    const more = h("button", { class: "quiet small", type: "button", "data-fast": true });
    const say = () => { more.textContent = from > 0 ? `Show ${from.toLocaleString("en")} characters before` : ""; more.hidden = from <= 0; };
    more.addEventListener("click", () => { const to = from; from = Math.max(0, from - STEP); body.firstChild.data = whole.slice(from, to) + body.firstChild.data; say(); });
    say();
    append(box, [more, body]);
    return box;
  }
  let shown = cut;
  const body = h(tag, { class: cls }, whole.slice(0, shown));
  const more = h("button", { class: "quiet small rest", type: "button", "data-fast": true });
  const say = () => { more.textContent = `Show ${(whole.length - shown).toLocaleString("en")} more characters`; more.hidden = shown >= whole.length; };
  more.addEventListener("click", () => { body.append(document.createTextNode(whole.slice(shown, shown + STEP))); shown += STEP; say(); });
  say();
  append(box, [body, more]);
  return box;
}

/** Return what the browser keeps under a name for this window (`session`) or for all; null if it keeps nothing. */
export function recall(name, { session = false } = {}) {
  try {
    return (session ? sessionStorage : localStorage).getItem(name);
  } catch {
    return null; // storage is blocked: nothing depends on it
  }
}

/** Let the browser keep a text under a name. */
export function keep(name, text, { session = false } = {}) {
  try {
    (session ? sessionStorage : localStorage).setItem(name, text);
  } catch { /* as above */ }
}

/** Make a listener that does not begin again while what it has begun goes on: what a person clicks twice happens once. */
export function once(work) {
  let busy = false;
  return async (event) => {
    if (busy) return;
    busy = true;
    try {
      await work(event);
    } finally {
      busy = false;
    }
  };
}

/** Copy a text, and say so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce("copied");
  } catch {
    announce("the browser does not allow copying here");
  }
}

/** Say something to screen readers, and to eyes for a moment. */
export function announce(text, kind = "") {
  document.getElementById("live").textContent = text;
  const note = h("div", { class: `toast ${kind}`, role: kind === "bad" ? "alert" : null, "aria-hidden": kind === "bad" ? null : "true" }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 8000 : 2500);
}

/** Let the browser keep bytes as a file. */
export function saveBlob(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Load a module and show what it has; where it cannot be loaded, say so in the node, and offer to try again. */
export function late(load, node, show, wanted = () => true) {
  load().then((module) => { if (wanted()) show(module); }, () => {
    if (wanted()) put(node, h("div", { class: "empty" }, h("p", null, "This part of the console could not be loaded."), h("button", { type: "button", onclick: () => late(load, node, show, wanted) }, "Try again")));
  });
}
