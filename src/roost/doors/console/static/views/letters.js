// Messages of bots that a platform refused. Only the owner sees them: they hold what sessions say.

import { ask, get, post } from "../api.js";
import { announce, clean, h, once, oneLine } from "../dom.js";
import { ago } from "../format.js";

/** Return the cards of all dead letters, or none. changed: called after one was sent again or deleted. */
export async function deadLetters(changed) {
  const { bots } = await get("/bots");
  const lists = await Promise.all(bots.filter((bot) => bot.dead > 0).map(async ({ name }) => {
    const { letters } = await get(at(name));
    return letters.filter((one) => one.state === "dead").map((one) => card(name, one, changed));
  }));
  const cards = lists.flat();
  return cards.length ? [h("h2", { class: "caps" }, "Messages that were refused"), cards] : [];
}

const at = (bot, rest = "") => `/bots/${encodeURIComponent(bot)}/letters${rest}`;

function card(bot, one, changed) {
  const place = at(bot, `/${encodeURIComponent(one.letter)}`);
  const act = (text, work) => h("button", { type: "button", onclick: once(() => work().then(changed, (error) => announce(error.message, "bad"))) }, text);
  return h("section", { class: "card" }, h("p", null, clean(one.text || one.files.join(", "))),
    h("p", { class: "dim" }, oneLine(one.reason, 300)),
    h("div", { class: "bar" }, h("span", { class: "dim" }, `${oneLine(one.chat, 60)} · ${ago(one.made)}`), h("span", { class: "grow" }),
      act("Send again", () => post(`${place}/retry`)), act("Delete", () => ask("DELETE", place))));
}
