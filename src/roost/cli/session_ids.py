"""Resolve the session that a person names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roost.errors import Invalid, NotFound, RoostError
from roost.ids import short

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from roost.cli.app import App
    from roost.cli.node import Node

_PAGE = 200
_OFFERED = 100
"""Newest sessions that a shell completes."""
_PAGES = 50
_ID = re.compile(r"'?\bses_[0-9a-z]{24}\b'?")


def shortened(text: str) -> str:
    """Shorten each session id in a message for people."""
    return _ID.sub(lambda found: short(found.group().strip("'")), text)


def completions(app: App, begun: str) -> list[CompletionItem]:
    """Return the short ids of the daemon's newest sessions that begin so, with their titles; none without a daemon, as
    a press of Tab must not start one."""
    from click.shell_completion import CompletionItem

    from roost.terminal_text import one_line

    try:
        node = app.daemon()
        if node is None:
            return []
        with node:
            found = node.sessions.find(limit=_OFFERED).sessions
    except (RoostError, OSError):  # the shell has no place for it
        return []
    named = [(short(one.id), one.title or one.agent) for one in found] + [(one.id, one.title) for one in found if begun]
    last = [("@last", "the newest session")] if found else []
    return [
        CompletionItem(name, help=one_line(about or "", 60))
        for name, about in [*named, *last]
        if name.startswith(begun)
    ]


def session_id(node: Node, text: str | None) -> str:
    """Return the full id of `text`: an id, a unique beginning or end of one of the newest 10,000, or `@last` (also
    None), the newest. Raises `NotFound`, and `Invalid` when several fit."""
    if text is None or text == "@last":
        newest = node.sessions.find(limit=1).sessions
        if not newest:
            raise NotFound('there are no sessions yet. Start one with `roost run "…"`')
        return newest[0].id
    found: list[str] = []
    before: str | None = None
    for _ in range(_PAGES):
        page = node.sessions.find(before=before, limit=_PAGE).sessions
        for info in page:
            if info.id == text:
                return text
            if info.id.startswith((text, f"ses_{text}")) or info.id.endswith(text):
                found.append(info.id)
        if len(page) < _PAGE:
            break
        before = page[-1].id
    if not found:
        raise NotFound(f"there is no session {text!r}; `roost ps --all` lists them")
    if len(found) > 1:
        some = ", ".join(short(one) for one in found[:5])
        raise Invalid(f"{text!r} fits {len(found)} sessions ({some}{', …' if len(found) > 5 else ''}): give more of it")
    return found[0]
