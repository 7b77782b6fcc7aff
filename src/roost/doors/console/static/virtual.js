// A list of rows of one height, of which only those in view exist.

import { h } from "./dom.js";

/**
 * make(index): a node for a row. key(index): what it shows, if that may move. height: of a row in pixels, read again when the page changes its size.
 * The rows lie in `scroller`, below `above` pixels of other content.
 */
export class VirtualRows {
  constructor(scroller, { height, make, key = (index) => index }) {
    this.scroller = scroller;
    this.height = height;
    this.make = make;
    this.key = key;
    this.count = 0;
    this.rows = new Map();
    this.body = h("div", { class: "rows" });
    scroller.append(this.body);
    this.onScroll = () => this.soon();
    scroller.addEventListener("scroll", this.onScroll, { passive: true });
    this.sizes = new ResizeObserver(() => { this.rows.clear(); this.body.replaceChildren(); this.soon(); });
    this.sizes.observe(scroller);
  }

  close() {
    this.sizes.disconnect();
    this.scroller.removeEventListener("scroll", this.onScroll);
  }

  set(count) {
    this.count = count;
    this.draw(true);
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(false); });
  }

  /** Pixels of the scroller's content before the first row. */
  above() {
    return this.body.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top - this.scroller.clientTop + this.scroller.scrollTop;
  }

  /** Show a row, scrolling as little as needed. */
  reveal(index) {
    const size = this.height();
    const above = this.above();
    const top = above + index * size;
    const view = this.scroller;
    if (top < view.scrollTop + above) view.scrollTop = Math.max(0, top - above);
    else if (top + size > view.scrollTop + view.clientHeight) view.scrollTop = top + size - view.clientHeight;
    this.draw(false);
  }

  /** Return the node of a row: the known one when nothing differs, since the mouse or the focus may be on it. */
  row(known, index, top, all) {
    if (known && !all) return known;
    const node = this.make(index);
    node.style.top = `${top}px`;
    if (!known) return node;
    known.style.top = node.style.top;
    if (known.isEqualNode(node)) return known;
    known.replaceWith(node);
    return node;
  }

  draw(all) {
    const size = this.height();
    // Browsers cut elements beyond some 33 million pixels: far below that, rows would get squeezed.
    this.body.style.height = `${Math.min(this.count * size, 30000000)}px`;
    const above = this.above();
    const from = Math.max(0, Math.floor((this.scroller.scrollTop - above) / size) - 8);
    const to = Math.min(this.count, from + Math.ceil(this.scroller.clientHeight / size) + 16);
    const wanted = new Map();
    for (let index = from; index < to; index++) wanted.set(this.key(index), index);
    const focus = this.body.contains(document.activeElement) ? document.activeElement.closest(".rows > *") : null;
    let focused = null;
    for (const [key, node] of this.rows) {
      if (node === focus) focused = key;
      if (!wanted.has(key)) {
        node.remove();
        this.rows.delete(key);
      }
    }
    let before = null;
    for (const [key, index] of wanted) {
      const node = this.row(this.rows.get(key), index, index * size, all);
      this.rows.set(key, node);
      const next = before ? before.nextSibling : this.body.firstChild;
      if (node !== next) this.body.insertBefore(node, next);
      before = node;
    }
    const again = focused === null ? null : this.rows.get(focused);
    if (again && again !== document.activeElement && !again.contains(document.activeElement)) again.focus({ preventScroll: true });
    this.from = from;
    this.to = to;
  }
}
