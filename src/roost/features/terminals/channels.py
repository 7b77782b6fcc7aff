"""Terminals over a connection that stays open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

import msgspec

from roost.authority import current
from roost.features.terminals.api import Name, TerminalView
from roost.features.terminals.recording import Change, Output
from roost.features.terminals.service import Terminals, typist
from roost.features.terminals.shared_terminal import Redraw, SharedTerminal, Viewer
from roost.kernel.channels import Channel, ChannelMessage, Open, Service


class _Attach(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """after: the position behind the last byte that the client has; null: it has none. scrollback: lines above the
    screen in a redraw. name: what others read as the client's name."""

    session: str
    terminal: str
    after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    scrollback: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 1000
    name: Name | None = None


async def attach(service: Service, args: Mapping[str, Any]) -> Channel:
    """Attach the acting client to a terminal. Raises `RoostError`, `msgspec.ValidationError`."""
    wanted = msgspec.convert(args, _Attach)
    terminals: Terminals = service(Terminals)
    session, name = current().session_id(wanted.session), typist(wanted.name)
    one = await terminals.attached(session, wanted.terminal)
    viewer = one.attach(name, after=wanted.after, scrollback=wanted.scrollback)
    try:
        view: TerminalView = await terminals.get(session, wanted.terminal)
    except BaseException:
        one.detach(viewer)
        raise
    return Channel({"terminal": msgspec.to_builtins(view)}, _follow(one, viewer), lambda: one.detach(viewer))


async def _follow(one: SharedTerminal, viewer: Viewer) -> AsyncGenerator[ChannelMessage]:
    async for piece in one.follow(viewer):
        match piece:
            case Redraw(at, data):
                yield ChannelMessage({"at": at, "redraw": True}, data)
            case Output(at, _, data):
                yield ChannelMessage({"at": at}, data)
            case Change(_, _, event):
                yield ChannelMessage(event)


CHANNELS: Mapping[str, Open] = {"terminals.attach": attach}
