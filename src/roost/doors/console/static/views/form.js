// A dialog that asks for several values.

import { clean, h } from "../dom.js";

/** A field with its label. `more` are attributes of the input. */
export const field = (label, node, note) => ({ label, node, note });

/**
 * Open a dialog with fields. save(): keeps what they say; what it throws is shown, and the dialog stays. The dialog
 * closes only when it was kept, or by Cancel and Esc.
 */
export function form(heading, fields, { button = "Save", save }) {
  const said = h("p", { class: "bad", role: "alert" });
  const send = h("button", { class: "main" }, button);
  const box = h("dialog", { class: "form", "aria-label": heading }, h("form", { onsubmit: async (event) => {
    event.preventDefault();
    send.disabled = true;
    said.textContent = "";
    try {
      await save();
      box.close();
    } catch (error) {
      said.textContent = clean(error.message);
    }
    send.disabled = false;
  } }, h("h2", null, heading), fields.filter(Boolean).map((one, n) => {
    const check = one.node.type === "checkbox";
    one.node.id ||= `form-${n}`;
    const note = one.note ? h("p", { class: "dim note", id: `form-note-${n}` }, one.note) : null;
    if (note) one.node.setAttribute("aria-describedby", note.id);
    return check ? h("div", { class: "form-field" }, h("label", { class: "check" }, one.node, one.label), note) : h("div", { class: "form-field" }, h("label", { for: one.node.id }, one.label), one.node, note);
  }), said, h("div", { class: "bar end" }, h("button", { type: "button", onclick: () => box.close() }, "Cancel"), send)));
  document.body.append(box);
  box.addEventListener("close", () => box.remove());
  box.showModal();
  return box;
}

/** A select of these values; `chosen` is the first choice. */
export const choice = (values, chosen) => h("select", null, values.map((one) => h("option", { value: one, selected: one === chosen }, one)));
