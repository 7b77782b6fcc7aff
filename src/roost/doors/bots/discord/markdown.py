"""Write a styled text in Discord's Markdown. All marks of the text itself are escaped."""

from __future__ import annotations

import itertools
import re

from roost.doors.bots.rich_text import Rich, Span, SpanKind, utf16

MOST = 2000
"""Characters of a message."""
_MARK = re.compile(r"[\\*_~`|<>\[\]#@]")
_AROUND: dict[SpanKind, str] = {"bold": "**", "italic": "*", "strike": "~~"}


def markdown_of(rich: Rich) -> str:
    """Return a text of at most `MOST` characters: without styles, where they would make it longer. `rich.text` must
    fit."""
    written = _written(rich)
    if utf16(written) <= MOST:
        return written
    escaped = _escaped(rich.text)
    return escaped if utf16(escaped) <= MOST else rich.text


def _written(rich: Rich) -> str:
    """Return the text with its styles. Those that cross each other are cut at their ends."""
    points = sorted({0, len(rich.text), *(one.start for one in rich.spans), *(one.end for one in rich.spans)})
    out: list[str] = []
    for start, end in itertools.pairwise(points):
        inside = [one for one in rich.spans if one.start <= start and end <= one.end]
        out.append(_piece(rich.text[start:end], inside, begins=_begins(rich.text, start)))
    return "".join(out)


def _piece(text: str, inside: list[Span], *, begins: bool) -> str:
    kinds = {one.kind: one.more for one in inside}
    if "pre" in kinds:
        return f"```{kinds['pre'] if kinds['pre'].isalnum() else ''}\n{_unticked(text)}\n```"
    if "code" in kinds and "\n" not in text:
        return f"``{_unticked(text)} ``" if text.startswith("`") or text.endswith("`") else f"`{_unticked(text)}`"
    core = text.strip()
    if not core:
        return text
    left, right = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    shown = _escaped(core)
    for kind, mark in _AROUND.items():
        if kind in kinds and "\n" not in core:
            shown = f"{mark}{shown}{mark}"
    if "link" in kinds:
        shown = f"{shown} (<{kinds['link']}>)" if core != kinds["link"] else f"<{core}>"
    return f"{left}{'> ' if 'quote' in kinds and begins else ''}{shown}{right}"


def _begins(text: str, at: int) -> bool:
    """Whether a line begins here."""
    return at == 0 or text[at - 1] == "\n"


def _escaped(text: str) -> str:
    return _MARK.sub(lambda found: "\\" + found[0], text)


def _unticked(text: str) -> str:
    """Return a text that cannot end the code around it."""
    return text.replace("`", "`\u200b")
