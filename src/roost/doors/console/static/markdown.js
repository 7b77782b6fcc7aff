// A small part of Markdown as DOM nodes: what models write. Unknown syntax stays text; HTML is text.

import { colour } from "./colour.js";
import { clean, foreignLink, h, longText } from "./dom.js";

const MOST = 200000;
const LINE = 4000;
const PARAGRAPH = 8000; // longer ones, which no model writes, stay plain: the patterns below take time
const INLINE = /(?<!`)(`{1,4})(?!`)([^`](?:[\s\S]{0,2000}?[^`])?)\1(?!`)|\*\*([^\s*](?:[\s\S]{0,1000}?[^\s*])?)\*\*|\*([^\s*](?:[^*\n]{0,1000}[^\s*])?)\*|(?<![\w_])_([^\s_](?:[^_\n]{0,1000}[^\s_])?)_(?![\w_])|~~([^~\n]{1,1000})~~|!?\[([^\]\n]{0,500})\]\(([^()\s]{1,2000})\)|(https?:\/\/[^\s<>"'`)\]]{2,2000})/;

const ADDRESS = /^\s*(?:https?:\/\/|(?=www\.))([\w-]+(?:\.[\w-]+)+)/i;

/** Say where a link leads whose text is the address of another host. */
function elsewhere(label, target) {
  const said = ADDRESS.exec(label)?.[1].toLowerCase();
  if (!said || !/^https?:/i.test(target)) return "";
  let host = "not an address";
  try {
    host = new URL(target).hostname;
  } catch { /* the browser would not follow it */ }
  return said === host ? "" : h("span", { class: "dim" }, ` (${host})`);
}

function inline(text, depth = 0, linked = false) {
  const out = [];
  let rest = text;
  while (rest) {
    const found = depth < 6 && rest.length < PARAGRAPH ? INLINE.exec(rest) : null;
    if (!found) break;
    if (found.index) out.push(rest.slice(0, found.index));
    const [whole, , code, bold, star, line, gone, label, target, bare] = found;
    if (code !== undefined) out.push(h("code", null, code.trim() ? code.replace(/^ (.*) $/s, "$1") : code));
    else if (bold !== undefined) out.push(h("strong", null, inline(bold, depth + 1, linked)));
    else if (star !== undefined || line !== undefined) out.push(h("em", null, inline(star ?? line, depth + 1, linked)));
    else if (gone !== undefined) out.push(h("del", null, inline(gone, depth + 1)));
    else if (linked) out.push(whole); // a link has no links within
    else if (target !== undefined) out.push(foreignLink(target, inline(label || target, depth + 1, true)), elsewhere(label, target));
    else out.push(foreignLink(bare.replace(/[.,;:!?]+$/, ""), bare.replace(/[.,;:!?]+$/, "")), /[.,;:!?]+$/.exec(bare)?.[0] ?? "");
    rest = rest.slice(found.index + whole.length);
  }
  if (rest) out.push(rest);
  return out;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
// No two neighbours of a pattern may take the same letters: a line of thousands of spaces would take their square.
const HEAD = /^ {0,3}(#{1,6})\s+(\S.*)$/;
const DASHES = /^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$/;

const cells = (line) => line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));

class Lines {
  constructor(lines) {
    this.lines = lines;
    this.at = 0;
  }
  get more() { return this.at < this.lines.length; }
  get line() { return this.lines[this.at]; }
  next() { return this.lines[this.at++]; }
}

function fenced(from, mark) {
  from.next();
  const end = new RegExp(`^ {0,3}${mark[0] === "`" ? "`" : "~"}{${mark.length},}\\s*$`);
  const body = [];
  while (from.more && !end.test(from.line)) body.push(from.next());
  if (from.more) from.next();
  return body.join("\n");
}

function list(from, depth) {
  const [, indent, mark] = ITEM.exec(from.line);
  const node = /\d/.test(mark) ? h("ol", { start: Number.parseInt(mark, 10) }) : h("ul");
  while (from.more) {
    const found = ITEM.exec(from.line);
    if (!found || found[1].length < indent.length) break;
    if (found[1].length > indent.length + 1) {
      if (depth < 8) (node.lastChild ?? node).append(list(from, depth + 1));
      else from.next();
      continue;
    }
    from.next();
    const text = [found[3]];
    while (from.more && from.line.trim() && !ITEM.test(from.line) && /^\s/.test(from.line) && !FENCE.test(from.line)) text.push(from.next().trim());
    const task = /^\[([ xX])\]\s+/.exec(text[0]);
    if (task) text[0] = text[0].slice(task[0].length);
    const item = h("li", task ? { class: "task" } : null, task ? (task[1] === " " ? "☐ " : "☑ ") : null, inline(text.join("\n")));
    node.append(item);
    if (from.more && /^\s+/.test(from.line) && FENCE.test(from.line.trim())) {
      const pad = /^\s*/.exec(from.line)[0].length;
      const inner = new Lines(from.lines.slice(from.at).map((one) => one.slice(Math.min(pad, /^\s*/.exec(one)[0].length))));
      const [, tick, language] = FENCE.exec(inner.line);
      item.append(code(fenced(inner, tick), language));
      from.at += inner.at;
    }
    while (from.more && !from.line.trim() && ITEM.test(from.lines[from.at + 1] ?? "")) from.next();
  }
  return node;
}

function table(from) {
  const head = cells(from.next());
  const aligned = cells(from.next()).map((one) => (/^:-+:$/.test(one) ? "center" : /-:$/.test(one) ? "right" : ""));
  const rows = [];
  while (from.more && from.line.length < LINE && from.line.includes("|")) rows.push(cells(from.next()));
  const row = (tag, all) => h("tr", null, head.map((_, n) => h(tag, { class: aligned[n] || null }, inline(all[n] ?? ""))));
  return h("div", { class: "wide", tabindex: "0" }, h("table", null, h("thead", null, row("th", head)), h("tbody", null, rows.map((one) => row("td", one)))));
}

function isTable(from) {
  const next = from.lines[from.at + 1] ?? "";
  return from.line.includes("|") && next.includes("-") && next.length < LINE && DASHES.test(next.trim());
}

/** A block of code. */
export const code = (text, language) => h("pre", { class: "code", "data-language": language || null, tabindex: "0" }, language ? colour(h("code", null, text), { word: language }) : h("code", null, text));

/** The text of a headline without the signs that may close it. */
function headline(text) {
  let end = text.length;
  while (text[end - 1] === "#") end--;
  return end && text[end - 1] !== " " ? text : text.slice(0, end).trimEnd();
}

function block(from, depth) {
  if (from.line.length > LINE) return longText(from.next(), { tag: "p", cls: "plain" });
  const fence = FENCE.exec(from.line);
  if (fence) return code(fenced(from, fence[1]), fence[2]);
  const head = HEAD.exec(from.line);
  if (head) {
    from.next();
    return h(`h${Math.min(6, head[1].length + 2)}`, null, inline(headline(head[2].trimEnd())));
  }
  if (RULE.test(from.line)) {
    from.next();
    return h("hr");
  }
  if (/^ {0,3}>/.test(from.line) && depth < 6) {
    const inner = [];
    while (from.more && /^ {0,3}>/.test(from.line)) inner.push(from.next().replace(/^ {0,3}> ?/, ""));
    return h("blockquote", null, blocks(new Lines(inner), depth + 1));
  }
  if (ITEM.test(from.line)) return list(from, 0);
  if (isTable(from)) return table(from);
  const text = [from.next()];
  while (from.more && from.line.trim() && !FENCE.test(from.line) && !ITEM.test(from.line) && !/^ {0,3}(#{1,6}\s|>)/.test(from.line)) {
    if (from.line.length > LINE || isTable(from)) break;
    text.push(from.next());
  }
  const joined = [];
  text.forEach((line, n) => joined.push(n ? "\n" : "", line));
  return h("p", null, inline(joined.join("")));
}

function blocks(from, depth) {
  const out = [];
  while (from.more) {
    if (!from.line.trim()) from.next();
    else out.push(block(from, depth));
  }
  return out;
}

/** Return the nodes of a Markdown text of a model. */
export function markdown(text) {
  const whole = clean(text);
  if (whole.length > MOST) return [h("pre", { class: "output" }, whole.slice(0, MOST)), h("p", { class: "dim" }, `${whole.length - MOST} more characters`)];
  return blocks(new Lines(whole.split("\n")), 0);
}
