// Colours of code, whose rules are loaded when a code is shown first.

import { put } from "./dom.js";

let colours = null;

/** Colour a node that holds a code as its text, by the language of `word` or of `path`; the text stays the same. */
export function colour(node, { word, path }) {
  const paint = (module) => {
    const language = module.languageOf(word, path);
    if (language) put(node, module.coloured(node.textContent, language));
  };
  if (colours) paint(colours);
  else if (word || path) import("./views/colours.js").then((module) => { colours = module; paint(module); }, () => null);
  return node;
}
