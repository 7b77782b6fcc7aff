// The shell of the console: signing in, the views by address, the head of the page, keys.

import { address, go, title } from "./address.js";
import { announce, h, keep, put, recall } from "./dom.js";
import { ApiError, ask, get, keepHalf, onSignedOut } from "./api.js";
import { notifies, sessions, stateOf } from "./store.js";

/** Views by the first part of the address. Those that are not needed at first are loaded when they are opened. */
const VIEWS = {
  sessions: () => import("./sessions.js"),
  s: () => import("./session.js"),
  inbox: () => import("./views/inbox.js"),
  agents: () => import("./views/agents.js"),
  memory: () => import("./views/memory.js"),
  schedules: () => import("./views/schedules.js"),
  costs: () => import("./views/costs.js"),
  nodes: () => import("./views/nodes.js"),
  policy: () => import("./views/policy.js"),
  accounts: () => import("./views/accounts.js"),
};
const PAGES = [
  ["inbox", "Inbox", "read"], ["sessions", "Sessions", "read"], ["agents", "Agents", "read"], ["memory", "Memory", "read"],
  ["schedules", "Schedules", "read"], ["costs", "Costs", "read"], ["policy", "Policy", "operate"], ["nodes", "Nodes", "operate"],
  ["accounts", "Accounts", "administer"],
];
const OWN = ["accounts", "Account", "read"]; // of those who may see no other
const RIGHTS = ["read", "use", "operate", "administer"];
const ROLES = ["viewer", "user", "operator", "owner"];

const main = document.getElementById("main");
const top = document.getElementById("top");
let me = null;
let open = null;
let turn = 0;

const may = (right) => me !== null && RIGHTS.indexOf(right) <= ROLES.indexOf(me.role);

async function show() {
  const mine = ++turn;
  const { parts, query } = address();
  if (parts[0] === "enter") return enter(parts[1]);
  if (!me) return undefined;
  for (const one of document.querySelectorAll("dialog[open]")) one.close(); // it belongs to the view that was left
  const name = parts[0] ?? "sessions";
  mark(name);
  if (open?.name === name && open.view?.move?.(parts.slice(1), query)) return undefined;
  open?.view?.close?.();
  open = { name };
  const load = VIEWS[name];
  if (!load) return put(main, h("p", { class: "empty" }, "There is no such page."));
  try {
    const module = await load();
    if (mine !== turn) return undefined;
    main.className = `view-${name}`;
    const place = open;
    const view = await module.open(put(main), parts.slice(1), query, { may, me });
    if (open === place) open.view = view;
    else view?.close?.();
  } catch (error) {
    if (mine === turn) failed(error);
  }
  return undefined;
}

function failed(error) {
  if (error.status === 401) return;
  put(main, h("div", { class: "empty" }, h("p", null, error.message), h("button", { type: "button", onclick: show }, "Try again")));
}

function theme() {
  const kept = recall("roost.theme");
  if (kept) document.documentElement.dataset.theme = kept;
}

function turnTheme() {
  const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  keep("roost.theme", dark ? "light" : "dark");
  theme();
}

function head() {
  const links = [...PAGES.filter(([, , right]) => may(right)), ...(may("administer") ? [] : [OWN])].map(([name, text]) =>
    h("a", { href: `#/${name}`, "data-page": name }, text, name === "inbox" ? h("b", { class: "count", id: "waits", hidden: true }) : null));
  put(top,
    h("a", { class: "brand", href: "#/sessions", "aria-label": "Roost: sessions" }, h("img", { src: icon(), alt: "", width: 22, height: 22 }), h("span", null, "Roost")),
    h("nav", { "aria-label": "Pages" }, links),
    h("div", { class: "top-end" },
      h("span", { id: "link", class: "link", role: "status" }),
      h("button", { class: "quiet icon", type: "button", title: "Dark or light", "aria-label": "Dark or light", onclick: turnTheme }, "◐"),
      h("button", { class: "quiet icon", type: "button", title: "Keys (?)", "aria-label": "Keys", onclick: keys }, "?"),
      me.signed === false ? null : h("button", { class: "quiet", type: "button", onclick: signOut, title: "Sign out" }, me.account ?? "owner")));
  tell();
}

const icon = () => document.querySelector("link[rel=icon]").href;

function mark(name) {
  for (const link of top.querySelectorAll("[data-page]")) {
    if (link.dataset.page === (name === "s" ? "sessions" : name)) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
}

function tell() {
  const link = document.getElementById("link");
  if (!link) return;
  link.className = `link ${sessions.state}`;
  const text = { live: "live", connecting: "connecting", cut: "cut off" }[sessions.state];
  if (link.textContent !== text) link.textContent = text;
  let waits = 0;
  for (const info of sessions.byId.values()) if (stateOf(info) === "waiting" || stateOf(info) === "error") waits++;
  const count = document.getElementById("waits");
  count.textContent = waits > 99 ? "99+" : String(waits);
  count.hidden = waits === 0;
}

sessions.awake = notifies;
sessions.onWaiting = (info) => {
  if (!notifies() || (document.visibilityState === "visible" && document.hasFocus())) return;
  import("./views/notify.js").then(({ notify }) => notify(info, { icon: icon(), open: go })).catch(() => null); // the inbox has it anyway
};

const KEYS = [["g s", "sessions"], ["g i", "inbox"], ["g a", "agents"], ["g c", "costs"], ["/", "search"], ["j k", "next, previous"], ["Enter", "open"], ["n", "new session"], ["y n e", "answer the question that has the focus"], ["Esc", "leave a field, close"], ["?", "this"]];

function keys() {
  const box = h("dialog", { class: "keys" }, h("h2", null, "Keys"), h("dl", null, KEYS.map(([key, text]) => [h("dt", null, key.split(" ").map((one) => h("kbd", null, one))), h("dd", null, text)])),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")));
  document.body.append(box);
  box.addEventListener("close", () => box.remove());
  box.showModal();
}

/** The second click of a double click gives no order: by then another button may stand in the place of the first. */
document.addEventListener("click", (event) => {
  const button = event.detail > 1 && event.target.closest?.("button");
  if (!button || button.closest("[data-fast]")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

let before = "";
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "Escape" && typing && !event.target.closest("dialog")) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const page = before === "g" && { s: "sessions", i: "inbox", a: "agents", c: "costs", m: "memory", n: "nodes", p: "policy" }[event.key];
  before = event.key;
  if (page) {
    event.preventDefault();
    return void go(`/${page}`);
  }
  if (event.key === "?") keys();
  else if (event.key === "/") {
    const field = main.querySelector("input[type=search]");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  } else open?.view?.key?.(event);
});

function signInPage(note) {
  me = null;
  sessions.stop();
  open?.view?.close?.();
  open = null;
  put(top);
  title("");
  main.className = "view-sign-in";
  const field = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true, spellcheck: "false" });
  const said = h("p", { class: "bad", role: "alert" }, note ?? "");
  const form = h("form", { class: "card sign-in", onsubmit: async (event) => {
    event.preventDefault();
    try {
      const { page } = await ask("POST", "/console/sign-in", { headers: { authorization: `Bearer ${field.value.trim()}` } });
      keepHalf(page);
      field.value = "";
      await begin();
    } catch (error) {
      said.textContent = error.status === 401 ? "This token is not known here." : error.message;
    }
  } },
  h("img", { src: icon(), alt: "", width: 44, height: 44 }), h("h1", null, "Sign in to Roost"),
  h("label", { for: "token" }, "Token"), field, h("button", { class: "main" }, "Sign in"), said,
  h("p", { class: "dim" }, "On the machine of the daemon, ", h("code", null, "roost console"), " opens this page signed in. The owner's token is in ", h("code", null, "~/.roost/token"), "."));
  put(main, form);
  field.focus();
}

async function enter(code) {
  history.replaceState(null, "", "#/sessions");
  try {
    const before = me ?? await get("/me").catch(() => null);
    const { page } = await ask("POST", "/console/enter", { body: { code: code ?? "" } });
    keepHalf(page);
    const now = await get("/me");
    const [was, is] = [before, now].map((one) => one?.account ?? "the owner");
    if (before && was !== is && !confirm(`This link has signed you in as ${is}; you were ${was}. Go on as ${is}?`)) return leave();
    sessions.stop();
    open?.view?.close?.();
    await begin();
  } catch (error) {
    if (me) announce(error.message, "bad");
    else await begin(error.message);
  }
  return undefined;
}

async function signOut() {
  if (confirm("Sign this browser out?")) await leave();
}

async function leave() {
  try {
    await ask("POST", "/console/sign-out");
  } catch (error) {
    return announce(`still signed in: ${error.message}`, "bad");
  }
  forget();
  return signInPage();
}

/** Drop what was typed and not sent: the next person at this browser may be another. */
function forget() {
  keepHalf(null);
  dispatchEvent(new Event("roost-forget"));
  try {
    sessionStorage.clear();
  } catch { /* storage is blocked */ }
}

async function begin(note) {
  try {
    me = await get("/me");
  } catch (error) {
    if (error.status === 401) return signInPage(note);
    put(main, h("p", { class: "empty" }, error.message));
    return void setTimeout(() => begin(note), 2000);
  }
  head();
  sessions.start();
  open = null;
  return show();
}

onSignedOut(() => { if (me) signInPage("The sign-in has ended. Sign in again."); });
addEventListener("unhandledrejection", (event) => { // what a view asked for, and nothing there waits for the answer
  if (!(event.reason instanceof ApiError)) return;
  event.preventDefault();
  if (event.reason.status !== 401) announce(event.reason.message, "bad");
});
sessions.watch(tell);
addEventListener("hashchange", show);
theme();
if (address().parts[0] === "enter") enter(address().parts[1]);
else begin();
