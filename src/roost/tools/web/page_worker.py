"""Convert HTML to text. Runs as a program in the sandbox: `page_worker.py URL links|- [trafilatura]`, HTML on stdin.

A parser of untrusted bytes may take any time and memory, and no thread can be stopped, so it has a process of its own.
Standard library alone, except trafilatura where it is installed.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from importlib import import_module
from typing import Any
from urllib.parse import urljoin

_NEVER = {"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "head"}
_AROUND = {"nav", "footer", "aside", "form", "button", "select", "dialog"}
_BLOCKS = set(
    "address article blockquote center dd details div dl dt fieldset figcaption figure h1 h2 h3 h4 h5 h6 header hr li "
    "main ol p pre section summary table tbody thead tr ul".split()
)
_LINES = {"li", "tr", "dd"}
_LEAST = 200
"""Characters from which a part is likely the page's main text."""


class Page(HTMLParser):
    """`around`: keep the parts that usually surround a page's text, such as navigation and footers."""

    def __init__(self, base: str, *, links: bool, around: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.base, self.links = base, links
        self.dropped = _NEVER if around else _NEVER | _AROUND
        self.title = ""
        self.text: list[str] = []
        self.main: list[str] = []
        self.in_main = self.in_pre = 0
        self.open: list[str] = []
        self.target: str | None = None
        self.in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_title = tag == "title" and not self.title
        if tag in self.dropped:
            self.open.append(tag)
        if self.open:
            return
        self.in_main += tag in ("main", "article")
        self.in_pre += tag == "pre"
        if tag == "br":
            self.put("\n")
        elif tag in _BLOCKS:
            self.put("\n" if tag in _LINES else "\n\n")
        if re.fullmatch("h[1-6]", tag):
            self.put("#" * int(tag[1]) + " ")
        elif tag == "li":
            self.put("- ")
        elif tag in ("td", "th"):
            self.put(" | ")
        elif tag == "a" and self.links:
            self.target = dict(attrs).get("href")

    def handle_endtag(self, tag: str) -> None:
        self.in_title = False
        if tag in self.open:
            while self.open.pop() != tag:
                pass
            return
        if self.open:
            return
        if tag == "a" and self.target and not self.target.startswith(("#", "javascript:", "data:")):
            self.put(f" ({urljoin(self.base, self.target)})")
        self.target = None if tag == "a" else self.target
        if tag in _BLOCKS and tag not in _LINES:
            self.put("\n\n")
        self.in_main -= tag in ("main", "article") and self.in_main > 0
        self.in_pre -= tag == "pre" and self.in_pre > 0

    def handle_data(self, data: str) -> None:
        if self.in_title:
            self.title += data
        elif not self.open:
            self.put(data if self.in_pre else re.sub(r"\s+", " ", data))

    def put(self, text: str) -> None:
        self.text.append(text)
        if self.in_main:
            self.main.append(text)


def tidy(pieces: list[str]) -> str:
    text = "".join(pieces)
    text = re.sub(r"[ \t]*\n[ \t]*(?=\n)", "\n", text)
    text = re.sub(r"(?m)^ (?=\S)|[ \t]+$", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def read(html: str, base: str, *, links: bool) -> tuple[str, str]:
    """Return the title and the text."""
    title = ""
    for around in (False, True):
        page = Page(base, links=links, around=around)
        page.feed(html)
        page.close()
        title = title or " ".join(page.title.split())
        main, text = tidy(page.main), tidy(page.text)
        if len(main) >= _LEAST:
            return title, main
        if len(text) >= _LEAST or around:
            return title, text
    return title, ""


def read_well(html: str, base: str) -> str:
    """Return the text by trafilatura; empty where it finds nothing."""
    trafilatura: Any = import_module("trafilatura")
    found: object = trafilatura.extract(html, url=base, output_format="markdown", include_tables=True)
    return found if isinstance(found, str) else ""


def main() -> None:
    base, links = sys.argv[1], sys.argv[2] == "links"
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    html = sys.stdin.buffer.read().decode("utf-8", "replace")
    title, text = read(html, base, links=links)
    if sys.argv[3:]:
        well = read_well(html, base)  # on a page with little text it takes text for boilerplate
        text = well if len(well) >= _LEAST else text
    print(title)
    print(text)


if __name__ == "__main__":
    main()
