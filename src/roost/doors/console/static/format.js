// Numbers and times as people read them.

const NANO = 1e-9;

/** Nano-dollars as dollars; null is unknown, never zero. */
export function money(nano) {
  if (nano === null || nano === undefined) return "$?";
  const dollars = nano * NANO;
  if (dollars === 0) return "$0";
  if (dollars < 0.01) return `$${dollars.toFixed(4)}`;
  if (dollars < 1) return `$${dollars.toFixed(3)}`;
  return `$${dollars.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

/** A count with at most three digits: 12.3k. */
export function count(number) {
  const n = Number(number ?? 0);
  if (n < 1000) return String(n);
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size) return `${(n / size).toFixed(n / size < 10 ? 1 : 0)}${unit}`;
  }
  return String(n);
}

/** Seconds as a duration. */
export function span(seconds) {
  const t = Math.max(0, seconds);
  if (t < 0.01) return "0 s";
  if (t < 1) return `${Math.round(t * 1000)} ms`;
  if (t < 10) return `${t.toFixed(1)} s`;
  if (t < 60) return `${Math.round(t)} s`;
  if (t < 3600) return `${Math.floor(t / 60)} min ${Math.round(t % 60)} s`;
  if (t < 86400) return `${Math.floor(t / 3600)} h ${Math.round((t % 3600) / 60)} min`;
  return `${Math.floor(t / 86400)} d ${Math.round((t % 86400) / 3600)} h`;
}

/** How long ago a moment is, in short. */
export function ago(at) {
  const t = Date.now() / 1000 - at;
  if (t < 5) return "now";
  if (t < 60) return `${Math.floor(t)} s`;
  if (t < 3600) return `${Math.floor(t / 60)} min`;
  if (t < 86400) return `${Math.floor(t / 3600)} h`;
  return `${Math.floor(t / 86400)} d`;
}

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export const moment = (at) => DAY.format(at * 1000);
export const clock = (at) => CLOCK.format(at * 1000);
export const bytes = (n) => (n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);
/** The end of a session's id, which is its random part. */
export const short = (id) => (id.startsWith("ses_") ? id.slice(-8) : id);

/** Parse JSON whose numbers `JSON.stringify` writes again as they are, where the browser can: a number of this language has 53 bits. */
export const parsed = (text) => JSON.parse(text, (_, value, at) => (typeof value === "number" && at?.source && JSON.rawJSON ? JSON.rawJSON(at.source) : value));

/** JSON, indented; what is no JSON stays as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(typeof text === "string" ? parsed(text) : text, null, 2);
  } catch {
    return String(text);
  }
}
