"""`roost logs`."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import click
import msgspec

from roost.cli.app import App
from roost.cli.event_queue import Ended, EventQueue, Interrupt
from roost.cli.options import WholeNumber, as_json, command, session_argument
from roost.cli.output import say, styled
from roost.cli.session_ids import session_id
from roost.cli.signals import Signals
from roost.log.frames import Frame
from roost.terminal_text import one_line

if TYPE_CHECKING:
    from roost.cli.node import Node

_PAGE = 500
_decode = msgspec.json.Decoder(dict[str, object])


@command("logs")
@session_argument
@click.option("--follow", "-f", is_flag=True, help="Also print new events, until Ctrl-C.")
@click.option(
    "--after",
    type=WholeNumber(0),
    default=0,
    metavar="N",
    help="Begin after event N, the number at the beginning of a line.",
)
@click.option("-n", "last", type=WholeNumber(0), metavar="N", help="Only the last N events.")
@as_json
def logs(app: App, session: str | None, follow: bool, after: int, last: int | None, as_json: bool) -> int:
    """Print a session's events; by default the newest session's.

    With --json each line is one event: {"seq": N, "event": {…}}.
    """
    node = app.node()
    try:
        session = session_id(node, session)
        if last is not None:
            after = max(after, node.sessions.inspect(session).info.head - last)
        if follow:
            _follow(node, session, after, as_json=as_json)
        else:
            _replay(node, session, after, as_json=as_json)
        return 0
    finally:
        node.close()


def _replay(node: Node, session: str, after: int, *, as_json: bool) -> None:
    while page := node.sessions.events(session, after=after, limit=_PAGE).events:
        for entry in page:
            _print(entry.seq, bytes(entry.event), as_json=as_json)
            after = entry.seq


def _follow(node: Node, session: str, after: int, *, as_json: bool) -> None:
    feed = EventQueue()
    with Signals(feed):
        stop = node.subscribe(session, feed, after=after, deltas=False)
        try:
            while True:
                match feed.get():
                    case Frame(seq=int(seq), body=body) if seq > after:
                        _print(seq, body, as_json=as_json)
                        after = seq
                    case Ended() | Interrupt():
                        return
                    case Exception() as error:
                        raise error
                    case _:
                        pass
        finally:
            stop()


def _print(seq: int, body: bytes, *, as_json: bool) -> None:
    if as_json:
        say(f'{{"seq":{seq},"event":{body.decode()}}}')
        return
    event = _decode.decode(body)
    at = event.pop("at", 0.0)
    kind = str(event.pop("type", "?"))
    moment = datetime.datetime.fromtimestamp(float(at) if isinstance(at, (int, float)) else 0.0)
    fields = " ".join(f"{name}={_short(value)}" for name, value in event.items() if value not in (None, "", [], {}))
    place = f"{seq:>5} {moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
    say(f"{styled(place, 'dim')} {styled(kind.ljust(18), 'cyan')} {one_line(fields, 500)}")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return one_line(text, 160)
