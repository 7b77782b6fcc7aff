// Colours for code: one pass over a text, made into spans by patterns that read every letter once. Nothing parses HTML.

import { h } from "../dom.js";

const MOST = 60000;
const SPANS = 12000;

const words = (text) => new Set(text.split(" "));
const C = { line: "//", block: true, quotes: "\"'", words: words("auto bool break case catch char class const constexpr continue default delete do double else enum explicit extern false final float for friend goto if inline int long namespace new noexcept nullptr operator override private protected public return short signed sizeof static struct switch template this throw true try typedef typename union unsigned using virtual void volatile while NULL") };
const JS = { line: "//", block: true, quotes: "\"'`", words: words("abstract any as async await boolean break case catch class const continue debugger declare default delete do else enum export extends false finally for from function get if implements import in instanceof interface keyof let new null number of private protected public readonly return set static string super switch this throw true try type typeof undefined var void while yield") };
const PYTHON = { line: "#", triple: true, quotes: "\"'", words: words("False None True and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return self try type while with yield") };
const SHELL = { line: "#", quotes: "\"'", words: words("alias break case continue cd do done echo elif else esac eval exec exit export fi for function if in local read return select set shift source test then trap unset until while") };
const SPECS = {
  c: C, js: JS, python: PYTHON, shell: SHELL,
  java: { ...C, words: words("abstract assert boolean break byte case catch char class const continue default do double else enum extends false final finally float for fun if implements import in instanceof int interface internal is long native new null object open override package private protected public record return sealed short static super switch synchronized this throw throws true try val var void volatile when while") },
  csharp: { ...C, words: words("abstract as async await base bool break case catch class const continue decimal default do double else enum event false finally float for foreach get if in int interface internal is lock long namespace new null object out override params private protected public readonly ref return sealed set static string struct switch this throw true try typeof using var virtual void while yield") },
  go: { line: "//", block: true, quotes: "\"'`", words: words("any bool break byte case chan const continue default defer else error fallthrough false float64 for func go goto if import int int64 interface iota len make map nil package range return rune select string struct switch true type uint uint64 var") },
  rust: { line: "//", block: true, quotes: "\"", words: words("Err None Ok Option Result Self Some String Vec as async await bool break const continue crate dyn else enum extern false fn for i32 i64 if impl in let loop match mod move mut pub ref return self static str struct super trait true type u32 u64 u8 unsafe use usize where while") },
  ruby: { line: "#", quotes: "\"'", words: words("alias and begin break case class def do else elsif end ensure false for if in module next nil not or private protected public raise redo rescue retry return self super then true undef unless until when while yield") },
  php: { ...C, words: words("abstract and array as break case catch class const continue default do echo else elseif extends false final finally fn for foreach function global if implements interface namespace new null or private protected public return static switch this throw trait true try use var while") },
  swift: { ...C, words: words("as associatedtype async await break case catch class continue default defer do else enum extension false fileprivate for func guard if import in init inout internal is let nil open operator override private protocol public repeat return self static struct subscript super switch throw throws true try typealias var where while") },
  lua: { line: "--", quotes: "\"'", words: words("and break do else elseif end false for function goto if in local nil not or repeat return then true until while") },
  sql: { line: "--", block: true, quotes: "'", fold: true, words: words("add all alter and any as asc begin between by case cast check column commit constraint create cross database default delete desc distinct drop else end exists false foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer primary references returning right rollback select set table then transaction true union unique update using values view when where with") },
  json: { quotes: "\"", keys: true, words: words("true false null") },
  yaml: { line: "#", quotes: "\"'", keys: true, words: words("true false null yes no on off") },
  ini: { line: "#", quotes: "\"'", keys: true, words: words("true false") },
  css: { block: true, quotes: "\"'", keys: true, words: words("important") },
  html: { tags: true, quotes: "\"'", words: words("") },
  make: { line: "#", quotes: "\"'", keys: true, words: words("define else endef endif ifdef ifeq ifndef ifneq include ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM LABEL RUN USER VOLUME WORKDIR") },
};
const NAMES = {
  c: "c h cc cpp cxx hh hpp hxx c++ objc m proto", js: "js jsx ts tsx mjs cjs mts cts javascript typescript", python: "py pyi python python3 py3 ipython starlark bzl", shell: "sh bash zsh fish shell console shellsession ksh profile bashrc", java: "java kt kts kotlin scala groovy gradle dart",
  csharp: "cs csharp c#", go: "go golang", rust: "rs rust", ruby: "rb ruby rake gemfile gemspec", php: "php", swift: "swift", lua: "lua", sql: "sql psql postgres mysql sqlite", json: "json jsonc json5 jsonl ndjson ipynb webmanifest",
  yaml: "yaml yml", ini: "toml ini cfg conf env properties editorconfig gitconfig lock", css: "css scss less", html: "html htm xml svg xhtml vue svelte plist xsl rss", make: "make makefile mk dockerfile containerfile cmake",
};
const KNOWN = new Map(Object.entries(NAMES).flatMap(([spec, names]) => names.split(" ").map((name) => [name, spec])));
const PATTERNS = new Map();

/** The language of a fence's word or of a file's path; null when it is not known. */
export function languageOf(word, path) {
  const name = (path ? path.split("/").at(-1) : word ?? "").toLowerCase();
  return KNOWN.get(name) ?? KNOWN.get(name.split(".").at(-1)) ?? null;
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");

/** One pattern for all parts of a language. None of its parts can go back over what it has read. */
function patternOf(spec) {
  if (PATTERNS.has(spec)) return PATTERNS.get(spec);
  const one = SPECS[spec];
  const comments = [one.block && "\\/\\*(?:[^*]|\\*(?!\\/))*(?:\\*\\/)?", one.tags && "<!--(?:[^-]|-(?!->))*(?:-->)?", one.line && `(?<![^\\s;({])${escaped(one.line)}[^\\n]*`].filter(Boolean);
  const texts = [one.triple && "\"\"\"(?:[^\"\\\\]|\\\\[^]|\"(?!\"\"))*(?:\"\"\")?|'''(?:[^'\\\\]|\\\\[^]|'(?!''))*(?:''')?"];
  for (const quote of one.quotes) texts.push(quote === "`" ? "`(?:[^`\\\\]|\\\\[^])*`?" : `${quote}(?:[^${quote}\\\\\\n]|\\\\[^])*${quote}?`);
  const made = new RegExp([`(${comments.join("|") || "(?!)"})`, `(${texts.filter(Boolean).join("|")})`, one.tags ? "(<\\/?[A-Za-z][\\w:.-]*|\\/?>)" : "((?!))", "(\\b\\d[\\w.]*)", "([A-Za-z_$@][\\w$]*)"].join("|"), "g");
  PATTERNS.set(spec, made);
  return made;
}

/** Return a text as text and spans; together they have exactly the text. */
export function coloured(text, spec) {
  if (!spec || text.length > MOST) return [text];
  const { words: reserved, keys, fold } = SPECS[spec];
  const out = [];
  let at = 0;
  const add = (kind, found) => {
    if (!kind || out.length > SPANS) return;
    if (found.index > at) out.push(text.slice(at, found.index));
    out.push(h("span", { class: `y-${kind}` }, found[0]));
    at = found.index + found[0].length;
  };
  for (const found of text.matchAll(patternOf(spec))) {
    const [whole, comment, string, tag, number, word] = found;
    const end = found.index + whole.length;
    if (comment !== undefined) add("c", found);
    else if (string !== undefined) add(keys && /^\s{0,8}:/.test(text.slice(end, end + 9)) ? "f" : "s", found);
    else if (tag !== undefined) add("k", found);
    else if (number !== undefined) add("n", found);
    else if (word !== undefined) add(reserved.has(fold ? word.toLowerCase() : word) ? "k" : text[end] === "(" || (keys && /^\s{0,8}[:=]/.test(text.slice(end, end + 9))) ? "f" : null, found);
  }
  if (at < text.length) out.push(text.slice(at));
  return out;
}
