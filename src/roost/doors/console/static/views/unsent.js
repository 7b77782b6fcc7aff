// What a window has for a session and has not sent: attached files, and a message whose answer it did not get.

import { keep, recall } from "../dom.js";

/** Attached files, by session. They outlast the view, and end with the window. */
export const attached = new Map();
addEventListener("beforeunload", (event) => { if (attached.size) event.preventDefault(); });
addEventListener("roost-forget", () => attached.clear());

/** Note under the key of a draft that a message is being sent; without one, that none is. */
export const sending = (draft, message = null) => keep(`${draft}.sent`, message ? JSON.stringify(message) : "", { session: true });

/**
 * Return the text to begin with, and the message in it of which this window does not know whether it was sent, since it
 * was loaded anew: sent with the same key again, it counts once.
 */
export function unsure(draft) {
  const text = recall(draft, { session: true }) ?? "";
  const message = JSON.parse(recall(`${draft}.sent`, { session: true }) || "null");
  return message?.text ? { text: [message.text, text].filter(Boolean).join("\n"), again: text ? null : message } : { text, again: null };
}
