"""Read feeds: RSS 0.9 to 2.0, Atom and JSON Feed. A document with entities of its own is refused, so none can grow."""

from __future__ import annotations

import hashlib
import xml.parsers.expat
from typing import Any, NamedTuple

import msgspec

from roost.doors.bots.page_text import page_text
from roost.tools.charsets import charset_of, decoded

_DEPTH, _ENTRIES, _TEXT = 100, 1000, 6000
_SPACES = frozenset(
    (
        "",
        "http://purl.org/rss/1.0/",
        "http://my.netscape.com/rdf/simple/0.9/",
        "http://www.w3.org/2005/Atom",
        "http://purl.org/rss/1.0/modules/content/",
        "http://purl.org/dc/elements/1.1/",
    )
)
_ITEMS = ("item", "entry")
_FIELDS = {
    "title": "title",
    "link": "link",
    "guid": "id",
    "id": "id",
    "pubDate": "date",
    "published": "date",
    "updated": "date",
    "date": "date",
    "description": "summary",
    "summary": "summary",
    "content": "content",
    "encoded": "content",
}


class Unreadable(Exception):
    """This is no feed."""


class Entry(NamedTuple):
    """id: names the entry in its feed. text: plain."""

    id: str
    title: str
    link: str
    date: str
    text: str


class Feed(NamedTuple):
    """entries: as the feed has them, the newest first as a rule."""

    title: str
    entries: list[Entry]


def read_feed(body: bytes, content_type: str) -> Feed:
    """Return a feed. Raises `Unreadable`. Takes long for megabytes: call it in a thread."""
    if body.lstrip()[:1] == b"{":
        return _json(body)
    charset = charset_of(content_type)
    reader = _Reader()
    try:
        if charset is None or charset.lower() in ("utf-8", "utf8"):
            reader.parse(body, None)
        else:
            reader.parse(decoded(body, charset).encode(), "utf-8")
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:  # also: it names a charset nobody knows
        raise Unreadable(f"it is not well-formed: {error}") from None
    if not reader.is_feed:
        raise Unreadable("it is neither RSS nor Atom nor a JSON feed")
    return Feed(_plain(reader.title), [_entry(one) for one in reader.entries])


class _Reader:
    """Collects the fields of the entries of an XML feed."""

    def __init__(self) -> None:
        self.title, self.entries, self.is_feed = "", list[dict[str, str]](), False
        self._open: list[str] = []
        self._item: dict[str, str] | None = None
        self._field, self._text, self._at = "", list[str](), 0

    def parse(self, body: bytes, encoding: str | None) -> None:
        parser = xml.parsers.expat.ParserCreate(encoding, " ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = _refused
        parser.Parse(body, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        self._open.append(local)
        if len(self._open) > _DEPTH:
            raise Unreadable(f"its elements are nested more than {_DEPTH} deep")
        if len(self._open) == 1:
            self.is_feed = local in ("rss", "RDF", "feed")
        if self._field or space not in _SPACES:
            return
        if local in _ITEMS and self._item is None:
            self._item = {}
        elif local in _FIELDS and (self._item is not None or (local == "title" and len(self._open) <= 3)):
            if local == "link" and "href" in attributes and self._item is not None:
                if attributes.get("rel", "alternate") == "alternate":
                    self._item.setdefault("link", attributes["href"])
                return
            self._field, self._text, self._at = _FIELDS[local], [], len(self._open)

    def _end(self, name: str) -> None:
        if self._field and len(self._open) == self._at:
            text = "".join(self._text).strip()
            if self._item is None:
                self.title = self.title or text
            elif text:
                self._item.setdefault(self._field, text)
            self._field = ""
        local = self._open.pop()
        if local in _ITEMS and self._item is not None and not self._field:
            if len(self.entries) < _ENTRIES:
                self.entries.append(self._item)
            self._item = None

    def _characters(self, text: str) -> None:
        if self._field:
            self._text.append(text)


def _refused(*_: Any) -> None:
    raise Unreadable("it has entities of its own, which feeds do not need")


def _entry(fields: dict[str, str]) -> Entry:
    title, text = _plain(fields.get("title", "")), fields.get("content") or fields.get("summary", "")
    text = "\n".join(line for line in (one.strip() for one in page_text(text[:200_000]).split("\n")) if line)
    id = fields.get("id") or fields.get("link") or ""
    if not id:
        id = hashlib.blake2b(f"{title}\0{text}".encode(errors="replace"), digest_size=16).hexdigest()
    return Entry(id, title, fields.get("link", "")[:2000], fields.get("date", "")[:60], text[:_TEXT])


def _plain(text: str) -> str:
    return " ".join(page_text(text[:5000]).split())[:300]


class _Item(msgspec.Struct):
    id: str | int = ""
    url: str = ""
    title: str = ""
    content_text: str = ""
    content_html: str = ""
    summary: str = ""
    date_published: str = ""


class _JsonFeed(msgspec.Struct):
    version: str
    title: str = ""
    items: list[_Item] = []


def _json(body: bytes) -> Feed:
    try:
        feed = msgspec.json.decode(body, type=_JsonFeed)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"it is no JSON feed: {error}") from None
    if not feed.version.startswith("https://jsonfeed.org/version/"):
        raise Unreadable("it is JSON, but no JSON feed")
    entries = [
        _entry(
            {
                "id": str(one.id),
                "link": one.url,
                "title": one.title,
                "date": one.date_published,
                "content": one.content_html,
                "summary": one.content_text or one.summary,
            }
        )
        for one in feed.items[:_ENTRIES]
    ]
    return Feed(_plain(feed.title), entries)
