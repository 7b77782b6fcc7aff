// Notifications of the browser: a call that waits for an answer, also while the window is hidden.

import { get, of } from "../api.js";
import { exact, oneLine } from "../dom.js";
import { short } from "../format.js";

const told = new Set();

/** Tell of each call of a session that waits and was not told of yet. The same call has one notification, however many windows tell of it. */
export async function notify(info, { icon, open }) {
  const { approvals } = await get(of(info.id, "/approvals"));
  for (const one of approvals.filter((each) => each.session === info.id)) {
    const key = `${one.session} ${one.call} ${one.asked}`;
    if (told.has(key)) continue;
    if (told.size > 1000) told.clear();
    told.add(key);
    const name = oneLine(info.title || info.about || `${info.agent} ${short(info.id)}`, 80);
    const note = new Notification(`${name} asks`, { body: `${oneLine(exact(one.tool), 60)}: ${oneLine(exact(one.reason), 160)}`, tag: `roost ${key}`, icon });
    note.onclick = () => {
      window.focus();
      open(`/s/${encodeURIComponent(info.id)}`);
      note.close();
    };
  }
}
