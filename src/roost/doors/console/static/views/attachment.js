// Stay attached to a terminal: a connection that heals where it was, output in order, typing.

import { ApiError, get } from "../api.js";
import { Link } from "./link.js";

const MOST_BEHIND = 3 * 1024 * 1024; // bytes that the screen has not drawn yet: with more, a redraw is cheaper
const FEW_BEHIND = 64 * 1024;
const ALIVE_MS = 25000;
const PART = 16000;
const FOR_GOOD = new Set(["terminal_ended", "terminal_asleep", "terminal_elsewhere", "unknown_terminal", "not_found", "session_deleted", "unauthorized", "forbidden"]);

/**
 * on.view(view): attached. on.event(event): other than output. on.state(name): "live", "connecting" or "cut".
 * on.over(error): it cannot be attached. on.refused(error): what was typed did not arrive.
 */
export class Attachment {
  constructor(session, terminal, screen, on) {
    Object.assign(this, { names: { session, terminal }, screen, on, position: null, channel: null, typed: [], failures: 0, closed: false });
    this.onVisible = () => { if (document.visibilityState === "visible") this.wake?.(); };
    document.addEventListener("visibilitychange", this.onVisible);
    addEventListener("online", this.onVisible);
    this.alive = setInterval(() => this.check(), ALIVE_MS);
    this.run();
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.onVisible);
    removeEventListener("online", this.onVisible);
    clearInterval(this.alive);
    this.link?.close();
    this.wake?.();
  }

  async run() {
    while (!this.closed) {
      this.on.state("connecting");
      try {
        await this.once();
      } catch (error) {
        if (this.closed) return;
        if (this.ends(error)) return;
      }
      if (this.closed) return;
      this.on.state("cut");
      const wait = Math.min(10000, 300 * 2 ** Math.min(this.failures++, 6)) * (0.5 + Math.random() / 2);
      await new Promise((go) => { this.wake = go; setTimeout(go, wait); });
    }
  }

  /** Give up where trying again would bring the same. Returns whether it did. */
  ends(error) {
    const final = FOR_GOOD.has(error.code) || error.status === 401 || error.status === 403;
    if (final && !this.closed) {
      this.close();
      this.on.over(error);
    }
    return final;
  }

  async once() {
    const link = this.link = new Link();
    await link.open;
    if (this.closed) return link.close();
    if (!link.began) { // a browser does not tell why: ask once more in a way that has an answer
      await get("/me");
      throw new ApiError(0, "unreachable", "the daemon's WebSocket does not answer");
    }
    try {
      await this.attach();
      this.failures = 0;
      this.on.state("live");
      await link.over;
    } finally {
      this.channel = null;
      link.close();
    }
    return undefined;
  }

  async attach() {
    const link = this.link;
    const args = { ...this.names, ...(this.position === null ? {} : { after: this.position }) };
    const { channel, terminal } = await link.attach(args, {
      output: (head, data) => this.output(head, data),
      event: (event) => this.event(event),
      end: (error) => this.ends(error) || link.close(),
    });
    this.channel = channel;
    if (this.position === null) this.screen.size(terminal.columns, terminal.rows);
    this.on.view(terminal);
  }

  output(head, data) {
    if (head.redraw) this.screen.redraw(data);
    else this.screen.write(data);
    this.position = head.redraw ? head.at : head.at + data.length;
    if (this.screen.behind > MOST_BEHIND && this.channel !== null) this.skip();
  }

  /** Leave out what the screen does not draw in time, and go on from a redraw. */
  async skip() {
    this.link.leave(this.channel);
    [this.channel, this.position] = [null, null];
    const link = this.link;
    await this.screen.drawn(FEW_BEHIND);
    if (link === this.link && !this.closed) this.attach().catch(() => link.close());
  }

  event(event) {
    if (event.kind === "size") this.screen.size(event.columns, event.rows);
    this.on.event(event);
    if (event.kind === "ended") this.close();
  }

  /** Do an operation on the terminal. Throws `ApiError`. */
  ask(op, args) {
    return this.link?.ask(`terminals.${op}`, { ...this.names, ...args }) ?? Promise.reject(new ApiError(0, "unreachable", "there is no connection"));
  }

  type(text) {
    for (let at = 0; at < text.length; at += PART) this.typed.push({ text: text.slice(at, at + PART) });
    this.flush();
  }

  typeBytes(bytes) {
    this.typed.push({ base64: btoa(bytes) });
    this.flush();
  }

  /** Send what was typed, one request at a time: what comes meanwhile goes with the next one. */
  async flush() {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.typed.length) {
        let next = this.typed.shift();
        while (next.text !== undefined && this.typed[0]?.text !== undefined && next.text.length + this.typed[0].text.length <= PART) next = { text: next.text + this.typed.shift().text };
        await this.ask("type", next);
      }
    } catch (error) {
      this.typed = [];
      this.on.refused(error);
    } finally {
      this.sending = false;
    }
  }

  /** Find out whether the other end is still there. */
  async check() {
    const link = this.link;
    if (this.channel === null || !link) return;
    const late = setTimeout(() => link.close(), ALIVE_MS - 5000);
    await this.ask("get", {}).catch(() => {});
    clearTimeout(late);
  }
}
