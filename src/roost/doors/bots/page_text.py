"""Read the text of a page of HTML, as people see it. Takes long for megabytes: call it in a thread."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BLOCKS = frozenset(
    ("p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "pre", "hr", "section")
)
_HIDDEN = frozenset(("script", "style", "head", "title", "template"))
_VOID = frozenset(("br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "source", "wbr"))


def page_text(html: str, *, quotations: bool = True) -> str:
    """Return the text. quotations: also what a mail program quotes."""
    reader = _Page(quotations=quotations)
    reader.feed(html)
    reader.close()
    return "".join(reader.text)


class _Page(HTMLParser):
    """Collects the text of a page."""

    def __init__(self, *, quotations: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._quotations = quotations
        self.text: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        quoted = tag == "blockquote" or "gmail_quote" in given.get("class", "") or given.get("id") == "divRplyFwdMsg"
        if self._hidden or tag in _HIDDEN or (quoted and not self._quotations):
            if tag not in _VOID:
                self._hidden.append(tag)
        elif tag in _BLOCKS:
            self.text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        elif tag in _BLOCKS and tag != "br":
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(re.sub(r"\s+", " ", data))
