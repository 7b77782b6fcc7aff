// The sessions of the daemon, kept up to date: read page by page, then changed by the stream of changes.

import { Feed, get } from "./api.js";
import { keep, recall } from "./dom.js";

const PAGE = 200;
const MOST = 50000;
const AGAIN_MS = 5000;

class Sessions {
  constructor() {
    this.byId = new Map();
    this.listeners = new Set();
    this.state = "connecting";
    this.loading = false;
    this.complete = false;
    this.feed = null;
    this.round = 0;
    this.error = null;
    this.awake = () => false;
    this.onWaiting = null;
  }

  /** Begin to follow; safe to call again. */
  start() {
    this.feed ??= new Feed(() => ["/console/changes"], {
      open: () => this.load(),
      awake: () => this.awake(),
      event: (kind, data) => this.take(kind, data),
      state: (name) => { this.state = name; this.tell(); },
      end: (error) => { this.error = error; this.state = "cut"; this.feed = null; this.tell(); },
    });
  }

  stop() {
    this.feed?.close();
    this.feed = null;
    this.round++;
    this.byId.clear();
    this.complete = false;
  }

  watch(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell() {
    if (this.telling) return;
    this.telling = true;
    requestAnimationFrame(() => {
      this.telling = false;
      for (const one of this.listeners) one();
    });
  }

  /** Read the whole list again. What the former round had and this one lacks was deleted meanwhile. */
  async load() {
    const round = ++this.round;
    const seen = new Set();
    let before;
    this.loading = true;
    try {
      do {
        const page = await get("/sessions", { limit: PAGE, before, turns: true });
        if (round !== this.round) return;
        for (const info of page.sessions) {
          seen.add(info.id);
          this.keep(info);
        }
        before = page.next;
        this.error = null;
        this.tell();
      } while (before && seen.size < MOST);
      for (const [id, info] of this.byId) if (!seen.has(id) && info.seenIn !== round) this.byId.delete(id);
      this.complete = true;
    } catch (error) {
      if (round === this.round) {
        this.error = error;
        this.again = setTimeout(() => { if (this.feed && round === this.round) this.load(); }, AGAIN_MS);
      }
    } finally {
      if (round === this.round) this.loading = false;
      this.tell();
    }
  }

  keep(info) {
    const known = this.byId.get(info.id);
    if (known && known.updated_at > info.updated_at) return;
    info.seenIn = this.round;
    info.about = known?.about;
    this.byId.set(info.id, info);
    // Not by `tell`: a hidden window draws nothing. What waits as the console opens is no news.
    if (stateOf(info) === "waiting" && (known ? stateOf(known) !== "waiting" || known.head !== info.head : this.complete)) this.onWaiting?.(info);
  }

  take(kind, data) {
    if (kind === "sessions") for (const info of data) this.keep(info);
    else if (kind === "gone") for (const id of data) this.byId.delete(id);
    else if (kind === "reset") {
      clearTimeout(this.again);
      this.again = setTimeout(() => this.load(), 500);
    }
    this.tell();
  }
}

export const sessions = new Sessions();

const NOTIFY = "roost.notify";

/** Whether this browser tells of calls that wait: a person has asked for it, and the browser allows it. */
export const notifies = () => "Notification" in window && Notification.permission === "granted" && recall(NOTIFY) === "on";

/** Begin or end to tell. Returns why it is not possible, or "". */
export async function setNotify(on) {
  if (!("Notification" in window)) return "this browser has no notifications here: they need https or localhost";
  if (on && await Notification.requestPermission() !== "granted") return "the browser does not allow notifications of this page: see its settings";
  keep(NOTIFY, on ? "on" : "off");
  return "";
}

/** The state of a session in one word, with what it means for the eye. */
export function stateOf(info) {
  if (info.state !== "running" && info.state !== "created") return info.state;
  if (info.phase === "working" || info.phase === "waiting") return info.phase;
  if (info.pending) return "queued";
  if (info.state === "created") return "new";
  return ["failed", "limit"].includes(info.last_turn?.outcome) ? "failed" : "idle";
}

/** Whether something went wrong that a person may want to see: the session itself failed, or its last turn did. */
export const failed = (info) => ["error", "failed"].includes(stateOf(info));

const asking = new Map();
let free = 4;
const queue = [];

/** The first message of a session; empty without one. */
export async function firstWords(id) {
  const page = await get(`/sessions/${encodeURIComponent(id)}/events`, { after: 0, limit: 8 });
  for (const { event } of page.events) {
    if (event.type === "input.received") return (event.parts ?? []).filter((one) => one.kind === "text").map((one) => one.text).join(" ").slice(0, 300);
  }
  return "";
}

function next() {
  while (free > 0 && queue.length) {
    const [id, done] = queue.pop();
    free--;
    firstWords(id).then((text) => { asking.delete(id); done(text); }, () => setTimeout(() => asking.delete(id), AGAIN_MS)).finally(() => { free++; next(); });
  }
}

/** Read what a session without a title is about: its first message. Calls `done` once; nothing happens when it is known. */
export function learnAbout(info, done) {
  if (info.about !== undefined || info.title || asking.has(info.id) || info.head < 2) return;
  asking.set(info.id, true);
  if (queue.length > 60) asking.delete(queue.shift()[0]);
  queue.push([info.id, (text) => {
    const known = sessions.byId.get(info.id);
    if (known) known.about = text;
    done();
  }]);
  next();
}
