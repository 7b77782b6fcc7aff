// Time as places on a line. Idle time takes little room, however long it was.

const IDLE_PART = 0.03;

/** Make the map of moments to 0 … 1 for spans of time; `gaps` are the idle times that were shortened. */
export function axisOf(spans, now) {
  const busy = [];
  let first = Infinity;
  let last = -Infinity;
  for (const one of spans) {
    const to = one.to ?? now;
    first = Math.min(first, one.from);
    last = Math.max(last, to);
    if (one.lane === "model" || one.lane === "tool") busy.push([one.from, to]);
  }
  if (!Number.isFinite(first)) return { at: () => 0, gaps: [], first: now, last: now };
  busy.sort((a, b) => a[0] - b[0]);
  const merged = [];
  for (const [from, to] of busy) {
    const end = merged.at(-1);
    if (end && from <= end[1]) end[1] = Math.max(end[1], to);
    else merged.push([from, to]);
  }
  const total = merged.reduce((sum, [from, to]) => sum + to - from, 0);
  const most = Math.max(0.2, total * IDLE_PART);
  const knots = [[first, 0]];
  const gaps = [];
  let place = 0;
  let at = first;
  const idle = (to) => {
    const wide = Math.min(to - at, most);
    if (to - at > most * 1.5) gaps.push({ from: at, to });
    place += wide;
    at = to;
    knots.push([at, place]);
  };
  for (const [from, to] of merged) {
    if (from > at) idle(from);
    place += Math.max(0, to - Math.max(at, from));
    at = Math.max(at, to);
    knots.push([at, place]);
  }
  if (last > at) idle(last);
  const whole = place || 1;
  return {
    first, last, gaps,
    at(t) {
      let low = 0;
      let high = knots.length - 1;
      while (low < high) {
        const mid = (low + high) >> 1;
        if (knots[mid][0] < t) low = mid + 1;
        else high = mid;
      }
      const [t1, p1] = knots[low];
      const [t0, p0] = knots[Math.max(0, low - 1)];
      const part = t1 > t0 ? Math.min(1, Math.max(0, (t - t0) / (t1 - t0))) : 1;
      return (p0 + (p1 - p0) * part) / whole;
    },
  };
}
