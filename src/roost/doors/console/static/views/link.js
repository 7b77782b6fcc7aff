// The daemon's WebSocket, `roost.v1`: requests by name, and channels.

import { ApiError, base, pageHalf } from "../api.js";

const PROTOCOL = "roost.v1";
const LINE = 10;
const text = new TextDecoder();

const failed = (problem) => new ApiError(problem.status ?? 0, problem.code ?? "error", problem.detail ?? "the request failed");
const gone = () => new ApiError(0, "unreachable", "the connection to the daemon is lost");

/** One connection. `open` and `over` are promises of its beginning and its end; neither fails. */
export class Link {
  constructor() {
    const address = new URL("ws", base);
    address.protocol = base.protocol === "https:" ? "wss:" : "ws:";
    const half = pageHalf(); // browsers send no header of ours here, and the cookie alone is no sign-in
    this.socket = new WebSocket(address, half ? [PROTOCOL, `roost.browser.${half}`] : [PROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.asked = new Map();
    this.channels = new Map();
    this.number = 0;
    this.began = false;
    this.open = new Promise((done) => { this.socket.addEventListener("open", () => { this.began = true; done(); }); this.socket.addEventListener("close", done); });
    this.over = new Promise((done) => { this.socket.addEventListener("close", () => { this.end(); done(); }); });
    this.socket.addEventListener("message", (event) => this.take(event.data));
  }

  /** Do an operation. Returns its answer. Throws `ApiError`. */
  ask(op, args, answered = null) {
    return new Promise((done, refuse) => {
      if (this.socket.readyState !== WebSocket.OPEN) return void refuse(gone());
      const id = ++this.number;
      this.asked.set(id, { done: (body) => { answered?.(body); done(body); }, refuse });
      this.socket.send(JSON.stringify({ op, id, args }));
    });
  }

  /** Attach to a terminal. output(head, bytes), event(event) and end(error) are called with what comes. */
  attach(args, on) {
    return this.ask("terminals.attach", args, (body) => this.channels.set(body.channel, on));
  }

  /** Take no more of a channel. */
  leave(channel) {
    this.channels.delete(channel);
    this.ask("terminals.detach", { channel }).catch(() => {}); // it has ended by itself
  }

  close() {
    this.socket.close();
  }

  end() {
    const asked = [...this.asked.values()];
    this.asked.clear();
    this.channels.clear();
    for (const one of asked) one.refuse(gone());
  }

  take(data) {
    if (data instanceof ArrayBuffer) {
      const bytes = new Uint8Array(data);
      const at = bytes.indexOf(LINE);
      const head = JSON.parse(text.decode(bytes.subarray(0, at)));
      this.channels.get(head.channel)?.output(head, bytes.subarray(at + 1));
      return;
    }
    const got = JSON.parse(data);
    const one = this.asked.get(got.id);
    if (got.type === "channel") this.channels.get(got.channel)?.event(got.event);
    else if (got.type === "end" && got.channel !== undefined) this.channels.get(got.channel)?.end(failed(got.problem));
    else if (one) {
      this.asked.delete(got.id);
      if (got.type === "result") one.done(got.body);
      else one.refuse(failed(got.problem));
    }
  }
}
