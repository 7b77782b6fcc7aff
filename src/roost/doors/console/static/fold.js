// What the events of a log add up to, for a person: items of the conversation, and spans of time.

const label = (text) => ({ text });
/** Events that are one line between the items: what they say, and whether it matters to everybody. */
const NOTES = {
  "session.created": (e) => ({ text: `session of ${e.agent}`, dim: true }),
  "session.moved": (e) => label(`moved to version ${e.version} of its agent`),
  "session.imported": (e) => label(`imported from ${e.format ?? "roost"} session ${e.source}`),
  "session.forked": (e) => ({ text: `forked from event ${e.position} of`, session: e.source }),
  "session.tainted": (e) => ({ text: `read untrusted content through ${e.by}: calls with outside effects now ask`, tone: "warn" }),
  "checkpoint.made": (e) => ({ text: `checkpoint${e.label ? ` “${e.label}”` : ""}`, dim: !e.label, pin: true }),
  "session.rolled_back": (e) => ({ text: `rolled back to event ${e.to}${e.why_no_files ? ` (files stay: ${e.why_no_files})` : ""}`, tone: "warn" }),
  "context.compacted": (e) => (e.error ? { text: `the context was not compacted: ${e.error}`, tone: "warn" } : label(`context compacted: ${e.before} → ${e.after} tokens`)),
  "context.elided": (e) => ({ text: `${Object.keys(e.outputs ?? {}).length || "some"} outputs left the context`, dim: true }),
  "context.pinned": (e) => label(e.text === null ? `pin ${e.key} removed` : `pinned ${e.key}`),
  "memory.changed": (e) => ({ text: `memory: ${(e.facts ?? []).length} added, ${(e.ended ?? []).length} ended`, dim: true }),
  "memory.recalled": (e) => ({ text: `recalled ${(e.facts ?? []).length} facts`, dim: true }),
  "instructions.noted": (e) => ({ text: `instructions: ${e.path}`, dim: true }),
  "sandbox.chosen": (e) => ({ text: `sandbox ${e.backend}, level ${e.level}${e.why ? `: ${e.why}` : ""}`, dim: !e.why }),
  "sandbox.limit": (e) => ({ text: `limit ${e.limit}${e.killed ? " killed the command" : " was reached"}`, tone: "warn" }),
  "sandbox.ended": (e) => ({ text: `the sandbox ended: ${e.reason}`, dim: true }),
  "workspace.restored": (e) => (e.error ? { text: `files not restored: ${e.error}`, tone: "bad" } : label("files restored")),
  "workspace.unsaved": (e) => ({ text: `files could not be saved: ${e.reason}`, tone: "bad" }),
  "loop.stalled": (e) => ({ text: `no progress (${e.kind}): ${e.action ?? ""}`, tone: "warn" }),
  "job.started": (e) => label(`background: ${e.command}`),
  "job.ended": (e) => label(`background command ${e.outcome}${e.code === undefined || e.code === null ? "" : ` (${e.code})`}`),
  "child.waits": (e) => ({ text: `a child waits for a person: ${e.tool}`, session: e.session, tone: "warn" }),
  "policy.decided": (e) => ({ text: `${e.by}: ${e.decision}${e.reason ? ` (${e.reason})` : ""}`, dim: true }),
  "schedule.set": (e) => label(`schedule ${e.name} set`),
  "schedule.fired": (e) => ({ text: `schedule ${e.name} fired`, dim: true }),
  "schedule.cleared": (e) => label(`schedule ${e.name} ended${e.why ? `: ${e.why}` : ""}`),
  "skill.used": (e) => ({ text: `skill ${e.name}`, dim: true }),
  "mcp.failed": (e) => ({ text: `MCP server ${e.server}: ${e.reason}`, tone: "warn" }),
  "openapi.failed": (e) => ({ text: `API ${e.api}: ${e.reason}`, tone: "warn" }),
  "files.placed": (e) => label(`files placed: ${(e.files ?? []).map((one) => one.path).join(", ")}`),
  "files.published": (e) => label(`published: ${(e.files ?? []).map((one) => one.path).join(", ")}`),
  emitted: (e) => label(`event ${e.name}`),
};

/** Why a model call was ended on purpose, by the code of its error. */
const ORDERED = { steered: "a message came", cancel: "the turn was cancelled", cancelled: "the turn was cancelled", pause: "the session was paused", paused: "the session was paused", stop: "the session was stopped" };

export const textOf = (parts) => (parts ?? []).filter((one) => one.kind === "text").map((one) => one.text).join("");

/** Folds events, in order. `items` is the conversation; `spans` what took time; `dirty` the items that changed. */
export class Fold {
  constructor() {
    this.items = [];
    this.spans = [];
    this.dirty = new Set();
    this.steps = new Map();
    this.calls = new Map();
    this.waits = new Map();
    this.rollbacks = [];
    this.turn = null;
    this.first = 0;
    this.last = 0;
    this.lastAt = 0;
    this.working = null;
  }

  add(seq, event) {
    if (this.last && seq <= this.last) return;
    this.first ||= seq;
    this.last = seq;
    const name = `on_${event.type.replaceAll(".", "_")}`;
    if (this[name]) this[name](seq, event);
    const note = NOTES[event.type]?.(event);
    if (note) this.item({ id: `e${seq}`, kind: "note", seq, at: event.at, ...note });
    this.lastAt = event.at;
  }

  item(item) {
    this.items.push(item);
    this.dirty.add(item);
    return item;
  }

  span(span) {
    this.spans.push(span);
    return span;
  }

  on_session_state(seq, event) {
    if (event.state === "running" || event.state === "created") return;
    if (this.working) this.settle(this.working, "cut", event.at);
    if (this.turn && event.state !== "paused") this.turn.to = event.at;
    const tone = event.state === "error" ? "bad" : "warn";
    this.item({ id: `e${seq}`, kind: "note", seq, at: event.at, text: `${event.state}${event.reason ? `: ${event.reason}` : ""}`, tone });
  }

  on_input_received(seq, event) {
    this.item({ id: `e${seq}`, kind: "message", seq, at: event.at, parts: event.parts, mode: event.mode ?? "follow_up", source: event.source, account: event.account, input: event.input });
  }

  on_turn_started(seq, event) {
    this.turn = this.span({ lane: "turn", seq, from: event.at, to: null, label: `turn ${event.turn}` });
  }

  on_turn_completed(seq, event) {
    if (this.turn) this.turn.to = event.at;
    this.turn = null;
    this.working = null;
    for (const step of this.steps.values()) if (step.status === "running") this.settle(step, "cut", event.at);
    this.item({ id: `e${seq}`, kind: "turn", seq, at: event.at, turn: event.turn, outcome: event.outcome, reason: event.reason, steps: event.steps ?? 0, usage: event.usage ?? {}, seconds: event.seconds ?? 0 });
  }

  step(seq, event) {
    let step = this.steps.get(event.step);
    if (!step) {
      step = this.item({ id: `s${event.step}`, kind: "answer", step: event.step, seq, at: event.at, parts: null, live: { text: "", thinking: "", call: "" }, status: "running", notices: [], attempt: 1, model: event.model });
      step.span = this.span({ lane: "model", seq, from: event.at, to: null, label: event.model ?? `step ${event.step}`, item: step });
      this.steps.set(event.step, step);
    }
    this.dirty.add(step);
    return step;
  }

  on_model_started(seq, event) {
    const known = this.steps.get(event.step);
    const step = this.step(seq, event);
    step.model = event.model;
    step.span.label = event.model;
    step.context = event.context;
    step.attempt = event.attempt ?? 1;
    step.status = "running";
    this.working = step;
    if (known) {
      step.live = { text: "", thinking: "", call: "" };
      if (step.attempt > 1) this.killed(seq, event, `attempt ${step.attempt} of the model call`);
    }
  }

  killed(seq, event, what) {
    this.span({ lane: "kill", seq, from: this.lastAt || event.at, to: event.at, label: `the node ended; ${what}` });
    this.item({ id: `k${seq}`, kind: "note", seq, at: event.at, tone: "warn", text: `the node that ran this ended; taken up again: ${what}` });
  }

  settle(step, status, at) {
    step.status = status;
    step.span.to = at;
    step.span.status = status;
    if (this.working === step) this.working = null;
    this.dirty.add(step);
  }

  on_model_completed(seq, event) {
    const step = this.step(seq, event);
    step.parts = event.parts;
    step.end = seq;
    step.usage = event.usage ?? {};
    step.span.usage = step.usage;
    step.seconds = event.seconds ?? 0;
    step.stop = event.stop;
    if (event.model) step.model = event.model;
    if (step.span.seq === seq && step.seconds) step.span.from = event.at - step.seconds;
    this.settle(step, "done", event.at);
    for (const part of event.parts) if (part.kind === "tool_call") this.call(part.id, seq, event.at, part.name, part.arguments ?? "{}");
  }

  on_model_failed(seq, event) {
    const step = this.step(seq, event);
    step.error = event.error;
    step.end = seq;
    step.usage = event.usage ?? {};
    step.ordered = ORDERED[event.error?.code];
    this.settle(step, step.ordered ? "cut" : "failed", event.at);
  }

  on_model_notice(seq, event) {
    const step = this.step(seq, event);
    step.notices.push({ seq, at: event.at, kind: event.kind, data: event.data ?? {} });
    if (event.kind === "restart") step.live = { text: "", thinking: "", call: "" };
  }

  on_model_lost(seq, event) {
    const step = this.step(seq, event);
    step.notices.push({ seq, at: event.at, kind: "lost", data: { attempt: event.attempt } });
  }

  call(id, seq, at, name, args) {
    let call = this.calls.get(id);
    if (!call) {
      call = this.item({ id: `c${id}`, kind: "call", call: id, seq, at, name, arguments: args, status: "planned", attempt: 1 });
      this.calls.set(id, call);
    }
    this.dirty.add(call);
    return call;
  }

  on_tool_started(seq, event) {
    const call = this.call(event.call, seq, event.at, event.name, "");
    if ((event.attempt ?? 1) > 1) this.killed(seq, event, `attempt ${event.attempt} of ${event.name}`);
    call.attempt = event.attempt ?? 1;
    call.status = "running";
    call.why = event.why;
    call.replay = event.replay;
    call.key = event.key;
    call.early = event.early;
    call.started = seq;
    call.startedAt = event.at;
    call.span = this.span({ lane: "tool", seq, from: event.at, to: null, label: event.name, item: call });
  }

  on_tool_completed(seq, event) {
    const call = this.call(event.call, seq, event.at, "tool", "");
    call.status = event.outcome;
    call.parts = event.parts ?? [];
    call.seconds = event.seconds ?? 0;
    call.code = event.code;
    call.end = seq;
    if (event.why) call.why = event.why;
    if (call.span) Object.assign(call.span, { to: event.at, status: event.outcome });
  }

  on_approval_requested(seq, event) {
    const call = this.call(event.call, seq, event.at, event.name, event.arguments);
    call.status = "waiting";
    call.asked = { seq, at: event.at, reason: event.reason, why: event.why, cause: event.cause, due: event.due };
    this.waits.set(event.call, this.span({ lane: "wait", seq, from: event.at, to: null, label: `waits for a person: ${event.name}`, item: call }));
  }

  on_approval_resolved(seq, event) {
    const call = this.call(event.call, seq, event.at, "tool", "");
    if (call.status === "waiting") call.status = event.decision === "reject" ? "denied" : "planned";
    call.answer = { seq, at: event.at, decision: event.decision, note: event.note, by: event.account ?? event.source, always: event.always, arguments: event.arguments };
    if (event.arguments) call.arguments = event.arguments;
    const wait = this.waits.get(event.call);
    if (wait) wait.to = event.at;
    this.waits.delete(event.call);
  }

  on_child_started(seq, event) {
    const call = event.call && this.calls.get(event.call);
    if (call) {
      call.child = event.child;
      this.dirty.add(call);
    } else this.item({ id: `e${seq}`, kind: "note", seq, at: event.at, text: `child of ${event.agent}`, session: event.child });
    this.span({ lane: "child", seq, from: event.at, to: null, label: `child ${event.agent}`, child: event.child });
  }

  on_child_ended(seq, event) {
    const span = this.spans.find((one) => one.child === event.child && one.to === null);
    if (span) Object.assign(span, { to: event.at, status: event.outcome });
  }

  on_plan_changed(seq, event) {
    this.item({ id: `e${seq}`, kind: "plan", seq, at: event.at, goals: event.goals ?? [] });
  }

  on_session_rolled_back(seq, event) {
    this.rollbacks.push({ seq, to: event.to });
    const counts = this.counting();
    for (const item of this.items) {
      const undone = !counts(item.seq);
      if (undone === Boolean(item.undone)) continue;
      item.undone = undone;
      this.dirty.add(item);
    }
    for (const span of this.spans) {
      span.undone = !counts(span.seq);
      if (span.to === null) span.to = event.at;
    }
    this.waits.clear();
    this.working = null;
  }

  /** Return what tells whether an event still counts: a rollback brings back what counted at its position, as undoing one does. */
  counting() {
    const ranges = [];
    let end = Infinity;
    for (const { seq, to } of this.rollbacks.toReversed()) {
      if (seq > end) continue; // undone itself
      ranges.push([seq, end]);
      end = to;
    }
    ranges.push([0, end]);
    return (seq) => ranges.some(([from, until]) => seq >= from && seq <= until);
  }

  /** Take a piece of an answer in progress. */
  delta(piece) {
    const step = this.steps.get(piece.step);
    if (!step || step.parts) return;
    const live = step.live;
    if (piece.offset === 0) live[piece.kind] = piece.text;
    else if (piece.offset <= live[piece.kind].length) live[piece.kind] = live[piece.kind].slice(0, piece.offset) + piece.text;
    step.progress = null;
    this.dirty.add(step);
  }

  progress(piece) {
    const step = this.steps.get(piece.step);
    if (!step || step.parts) return;
    step.progress = piece;
    this.dirty.add(step);
  }
}
