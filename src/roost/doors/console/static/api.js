// Ask the daemon: requests with the browser's cookie, and event streams that heal.

import { keep, recall } from "./dom.js";

export const base = new URL(".", location.href.split("#")[0]);
const HALF = `roost.browser ${base.pathname}`;
let half = null;
const QUIET_MS = 40000;
const REST_MS = 30000;

export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Keep this page's half of a sign-in; null forgets it. The other half is a cookie, which goes to other ports, too. */
export function keepHalf(text) {
  half = text;
  keep(HALF, text ?? "");
}

/** The header of every request; sent without a half, it only says that a page of the daemon asks. */
const mark = () => ({ "roost-browser": pageHalf() || "1" });

/** This page's half of a sign-in; empty without one. */
export const pageHalf = () => recall(HALF) || half || "";

const listeners = new Set();
/** Call `listener` when a request finds that this browser is not signed in. */
export const onSignedOut = (listener) => listeners.add(listener);

const signedOut = () => { for (const one of listeners) one(); };

async function failure(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch { /* a proxy's own answer */ }
  if (response.status === 401) signedOut();
  return new ApiError(response.status, problem.code ?? "error", problem.detail ?? `the server answered ${response.status}`);
}

export function url(path, query) {
  const found = new URL(path.replace(/^\//, ""), base);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") found.searchParams.set(name, value);
  }
  return found;
}

/** Make a request. Returns the decoded JSON, or null. Throws `ApiError`; its status is 0 when nothing answers. */
export async function ask(method, path, { body, query, key, headers, signal, raw } = {}) {
  const more = { ...mark(), ...headers };
  if (body !== undefined) more["content-type"] = "application/json";
  if (key) more["idempotency-key"] = key;
  let response;
  try {
    response = await fetch(url(path, query), {
      method, signal, headers: more, credentials: "same-origin", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "the daemon does not answer");
  }
  if (!response.ok) throw await failure(response);
  if (raw) return response;
  return response.status === 204 ? null : response.json();
}

export const get = (path, query, signal) => ask("GET", path, { query, signal });
export const post = (path, body = {}, more = {}) => ask("POST", path, { body, ...more });
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

/** The agents that a session can be made of: those of this node, and those of the store. */
export async function agentsKnown() {
  const [{ agents }, kept] = await Promise.all([get("/agents"), get("/definitions").catch(() => ({ definitions: [] }))]);
  const names = new Set(agents.map((one) => one.name));
  return [...agents, ...kept.definitions.filter((one) => !one.archived && !names.has(one.name))];
}

/** Path of a session, `part` below it. */
export const of = (session, part = "") => `/sessions/${encodeURIComponent(session)}${part}`;

function frames(onFrame) {
  let rest = "";
  let fields = { event: "message", data: [], id: null };
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (fields.data.length) onFrame(fields.event, fields.data.join("\n"), fields.id);
        fields = { event: "message", data: [], id: null };
      } else if (line.startsWith("data: ")) fields.data.push(line.slice(6));
      else if (line.startsWith("event: ")) fields.event = line.slice(7);
      else if (line.startsWith("id: ")) fields.id = Number(line.slice(4));
    }
  };
}

/**
 * A stream of events that connects again by itself, and rests while the page is hidden.
 * A feed with on.awake() true does not rest. on.event(kind, data, id): a frame. on.open(again): connected; again tells whether it was before. on.state(name):
 * "live", "connecting" or "cut". on.end(problem): it ends for good. path(): the address for the present position.
 */
export class Feed {
  constructor(path, on) {
    this.path = path;
    this.on = on;
    this.closed = false;
    this.failures = 0;
    this.opened = false;
    this.onVisible = () => this.visible();
    document.addEventListener("visibilitychange", this.onVisible);
    this.run();
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.onVisible);
    this.abort?.abort();
    clearTimeout(this.resting);
    this.wake?.();
  }

  visible() {
    clearTimeout(this.resting);
    if (document.visibilityState === "hidden") {
      this.resting = setTimeout(() => {
        if (this.on.awake?.()) return;
        this.rests = true;
        this.abort?.abort();
      }, REST_MS);
    } else {
      this.rests = false;
      this.wake?.();
    }
  }

  async run() {
    while (!this.closed) {
      if (this.rests) {
        await new Promise((go) => { this.wake = go; });
        continue;
      }
      this.on.state?.("connecting");
      try {
        await this.once();
        this.failures = 0;
      } catch (error) {
        if (this.closed) return;
        if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
          this.close();
          this.on.end?.(error);
          return;
        }
        this.failures++;
      }
      if (this.closed || this.rests) continue;
      this.on.state?.("cut");
      const wait = Math.min(10000, 300 * 2 ** Math.min(this.failures, 6)) * (0.5 + Math.random() / 2);
      await new Promise((go) => { this.wake = go; setTimeout(go, wait); });
    }
  }

  async once() {
    const abort = this.abort = new AbortController();
    let quiet = setTimeout(() => abort.abort(), QUIET_MS);
    try {
      const response = await fetch(url(...this.path()), {
        headers: { ...mark(), accept: "text/event-stream" }, credentials: "same-origin", signal: abort.signal, cache: "no-store",
      });
      if (!response.ok) throw await failure(response);
      this.failures = 0;
      this.on.state?.("live");
      this.on.open?.(this.opened);
      this.opened = true;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const take = frames((kind, data, id) => {
        if (this.closed) return;
        const value = JSON.parse(data);
        if (kind === "problem") this.problem = value;
        else this.on.event(kind, value, id);
      });
      while (!this.closed) {
        const { done, value } = await reader.read();
        clearTimeout(quiet);
        if (done) break;
        quiet = setTimeout(() => abort.abort(), QUIET_MS);
        take(value);
      }
    } finally {
      clearTimeout(quiet);
    }
    const problem = this.problem;
    this.problem = null;
    if (problem?.status === 401) signedOut();
    if (problem) throw new ApiError(problem.status, problem.code, problem.detail);
  }
}
