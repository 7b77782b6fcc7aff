// Styles of xterm.js under the page's policy, which allows neither <style> elements nor style attributes.
//
// xterm.js writes both. Rules that scripts set in constructed sheets and in `element.style` are allowed, so both go there.
// Its option `documentOverride` reaches only a part of it: its scroll bar takes the window's own document.

function adopt(node, sheets) {
  const sheet = new CSSStyleSheet();
  let text = "";
  sheets.add(sheet);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(node, "textContent", {
    get: () => text,
    set: (given) => { text = String(given); sheet.replaceSync(text); },
  });
  node.remove = () => {
    drop(new Set([sheet]));
    Element.prototype.remove.call(node);
  };
}

function drop(sheets) {
  document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => !sheets.has(one));
}

function attribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}

/** Let elements that are made from now on have styles. Returns a function that ends this and removes the sheets. */
export function allowStyles() {
  const sheets = new Set();
  document.createElement = function createElement(name, options) {
    const made = name === "style" ? "template" : name; // even an empty <style> is forbidden
    const node = Document.prototype.createElement.call(document, made, options);
    if (name === "style") adopt(node, sheets);
    else if (name === "span") node.setAttribute = attribute;
    return node;
  };
  return () => {
    delete document.createElement;
    drop(sheets);
  };
}
