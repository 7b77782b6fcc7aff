"""`roost schedule`: send agents messages at set times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from roost.cli.app import App, folder
from roost.cli.message_input import message_of
from roost.cli.open_session import SessionOptions, begin
from roost.cli.options import WholeNumber, agent_places, as_json, command
from roost.cli.output import note, say, say_json, styled, table
from roost.cli.session_ids import session_id
from roost.errors import Invalid, NotFound
from roost.features.schedules.api import Ordered
from roost.features.schedules.recurrence import check, check_name
from roost.features.schedules.time_format import duration, local_zone, moment_of, seconds_of, shown
from roost.ids import short
from roost.log.schedule_events import ScheduleSpec, TurnLimits
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.schedules.api import ScheduleView

_in_session = click.option(
    "--session", "-s", metavar="SESSION", help="The session of the schedule, if several schedules have the name."
)


@click.group("schedule")
def schedule() -> None:
    """Send messages to agents at set times.

    \b
      roost schedule create news "What happened in the project?" --cron "0 9 * * 1-5"
      roost schedule create beat "Anything to do?" --every 30m --heartbeat
      roost schedule list
      roost schedule pause news
    """


@command("create", store=True)
@click.argument("name")
@click.argument("text")
@click.option("--cron", metavar="FIELDS", help="As in '0 9 * * 1-5': minute, hour, day, month, day of the week.")
@click.option("--every", metavar="DURATION", help="As in 30m, 2h, 1d.")
@click.option("--at", metavar="TIME", help="Once, as in '2026-12-24 18:00'.")
@click.option("--in", "later", metavar="DURATION", help="Once, after this time from now.")
@click.option("--zone", metavar="NAME", help="The time zone, as in Europe/Berlin. [default: this machine's]")
@click.option("--missed", type=click.Choice(("once", "skip", "all")), default="once", show_default=True,
              help="What happens to missed times.")  # fmt: skip
@click.option("--jitter", metavar="DURATION", help="The longest delay of a firing.")
@click.option("--fresh", is_flag=True, help="Run its turns without the earlier conversation.")
@click.option("--heartbeat", is_flag=True, help="Fresh, with small limits; rests when there is nothing to do.")
@click.option("--steps", type=WholeNumber(1), help="Model calls that one turn may take.")
@click.option("--money", type=click.FloatRange(0), metavar="DOLLARS", help="The highest cost of one turn.")
@click.option("--session", "-s", metavar="SESSION", help="Use this session instead of a new one.")
@click.option("--agent", metavar="NAME", help="The agent of the new session. [default: assistant]")
@click.option(
    "--workspace", "-w", metavar="DIR", default=".", help="The folder of the new session. [default: this one]"
)
@click.option("--private", is_flag=True, help="Give it an empty folder of its own instead.")
@agent_places
@as_json
def create(app: App, name: str, text: str, as_json: bool, **given: Any) -> int:
    """Create the schedule NAME, which sends TEXT to an agent at set times (- reads TEXT from standard input).

    With --session, an existing schedule of this name is changed.
    """
    spec = _spec(message_of(text), given)
    check_name(name)
    check(spec, time.time())
    place = None if given["private"] else folder(given["workspace"])
    if given["session"] is None:
        node, session = begin(
            app, SessionOptions(given["agent"], None, given["agent_places"], None, place, quiet=as_json)
        )
    else:
        node, session = app.node(), given["session"]
    try:
        session = session_id(node, session)
        found = _in_effect(node.schedules.set(session, name, spec))
        if as_json:
            say_json({"session": session, "name": name, "schedule": found})
            return 0
        note(f"schedule {name} of session {short(session)}")
        if found is not None:
            _coming(found)
        _namesakes(node, name, session)
        _need_daemon(node, pending=found is None)
    finally:
        node.close()
    return 0


@command("list", store=True)
@click.option("--session", "-s", metavar="SESSION", help="List only schedules of this session.")
@as_json
def list_(app: App, session: str | None, as_json: bool) -> int:
    """List schedules, the next one first."""
    with app.node() as node:
        found = _all(node) if session is None else node.schedules.of(session_id(node, session)).schedules
        found.sort(key=lambda one: one.coming[0].at if one.coming else float("inf"))
        if as_json:
            say_json(found)
        elif found:
            table(("NAME", "SESSION", "AGENT", "STATE", "NEXT", "TEXT"), [_row(one) for one in found])
        else:
            note("there are no schedules")
    return 0


@command("show", store=True)
@click.argument("name")
@_in_session
@as_json
def show(app: App, name: str, session: str | None, as_json: bool) -> int:
    """Show a schedule and its next times."""
    with app.node() as node:
        found = _named(node, name, session)
    if as_json:
        say_json(found)
        return 0
    spec = found.spec
    rows = {
        "schedule": found.name,
        "session": f"{found.session} of {found.agent}",
        "state": _state(found),
        "when": _when(spec),
        "missed": spec.missed + (f", at most {spec.catch_up}" if spec.missed == "all" else ""),
        "last": "-" if found.last is None else f"{shown(found.last.at, spec.zone)}, turn {found.turn}",
    }
    if spec.jitter:
        rows["jitter"] = f"up to {spec.jitter:g} s"
    if spec.heartbeat:
        rows["heartbeat"] = f"nothing to do {found.idle} times in a row; it rests after {spec.idle_after}"
    for label, value in rows.items():
        say(f"{styled(label.ljust(10), 'dim')} {clean(value)}")
    _coming(found)
    say(clean(spec.text))
    return 0


@command("pause", store=True)
@click.argument("name")
@_in_session
@as_json
def pause(app: App, name: str, session: str | None, as_json: bool) -> int:
    """Pause a schedule. A turn that has begun continues; `roost cancel` ends it."""
    with app.node() as node:
        of = _named(node, name, session).session
        return _told(node, _in_effect(node.schedules.pause(of, name)), as_json)


@command("resume", store=True)
@click.argument("name")
@_in_session
@as_json
def resume(app: App, name: str, session: str | None, as_json: bool) -> int:
    """Resume a paused schedule. It does not catch up the missed times."""
    with app.node() as node:
        of = _named(node, name, session).session
        return _told(node, _in_effect(node.schedules.resume(of, name)), as_json)


@command("run", store=True)
@click.argument("name")
@_in_session
@as_json
def run(app: App, name: str, session: str | None, as_json: bool) -> int:
    """Run a schedule now, once, paused or not."""
    with app.node() as node:
        of = _named(node, name, session).session
        accepted = node.schedules.run(of, name).input
        if as_json:
            say_json({"session": of, "input": accepted})
        else:
            note(f"accepted by {short(of)}; `roost attach {short(of)}` shows the turn")
            _need_daemon(node, pending=False)
    return 0


@command("delete", store=True)
@click.argument("name")
@_in_session
def delete(app: App, name: str, session: str | None) -> int:
    """Delete a schedule. Its session stays."""
    with app.node() as node:
        done = node.schedules.delete(_named(node, name, session).session, name).status == "done"
        note(f"deleted: {name}" if done else f"accepted: {name} is deleted as soon as its session's step has ended")
    return 0


def _spec(text: str, given: dict[str, Any]) -> ScheduleSpec:
    if sum(given[way] is not None for way in ("cron", "every", "at", "later")) != 1:
        raise click.UsageError("give a time, with one of --cron, --every, --at and --in")
    zone = given["zone"] or local_zone()
    once = None if given["at"] is None else moment_of(given["at"], zone)
    if given["later"] is not None:
        once = time.time() + seconds_of(given["later"])
    limits = TurnLimits(steps=given["steps"], money=given["money"])
    return ScheduleSpec(
        text=text,
        cron=given["cron"],
        every=None if given["every"] is None else seconds_of(given["every"]),
        at=once,
        zone=zone,
        missed=given["missed"],
        jitter=0.0 if given["jitter"] is None else seconds_of(given["jitter"]),
        fresh=given["fresh"],
        heartbeat=given["heartbeat"],
        limits=None if limits == TurnLimits() else limits,
    )


def _in_effect(found: ScheduleView | Ordered) -> ScheduleView | None:
    return None if isinstance(found, Ordered) else found


def _all(node: Node) -> list[ScheduleView]:
    found: list[ScheduleView] = []
    after: str | None = ""
    while after is not None:
        page = node.schedules.list(after=after)
        found += page.schedules
        after = page.next
    return found


def _named(node: Node, name: str, session: str | None) -> ScheduleView:
    if session is not None:
        return node.schedules.get(session_id(node, session), name)
    found = [one for one in _all(node) if one.name == name]
    if not found:
        raise NotFound(f"there is no schedule {name!r}; `roost schedule list` lists the schedules")
    if len(found) > 1:
        some = ", ".join(short(one.session) for one in found)
        detail = f"{len(found)} sessions have a schedule {name!r}: {some}; say which with --session"
        raise Invalid(detail, code="ambiguous")
    return found[0]


def _namesakes(node: Node, name: str, session: str) -> None:
    """Warn that the name alone is ambiguous now."""
    others = [one.session for one in _all(node) if one.name == name and one.session != session]
    if others:
        some = ", ".join(short(one) for one in others)
        note(f"there is a schedule {name!r} of session {some} too: name the session with --session", "yellow")


def _told(node: Node, found: ScheduleView | None, as_json: bool) -> int:
    if as_json:
        say_json(found)
    elif found is None:
        note("accepted: it takes effect as soon as its session's step has ended")
        _need_daemon(node, pending=True)
    else:
        note(f"schedule {found.name} is {_state(found)}")
        _coming(found)
    return 0


def _need_daemon(node: Node, *, pending: bool) -> None:
    if not node.daemon:
        what = "it takes effect, and fires," if pending else "it fires"
        note(f"no daemon runs: {what} while one does; `roost up -d` starts it", "yellow")


def _coming(found: ScheduleView) -> None:
    for place, one in enumerate(found.coming):
        say(f"{styled(('next' if place == 0 else '').ljust(10), 'dim')} {shown(one.at, found.spec.zone)}")


def _row(found: ScheduleView) -> tuple[str, ...]:
    coming = shown(found.coming[0].at, found.spec.zone) if found.coming else "-"
    return (found.name, short(found.session), found.agent, _state(found), coming, one_line(found.spec.text, 60))


def _state(found: ScheduleView) -> str:
    if found.session_state not in ("created", "running"):
        return f"waits: its session is {found.session_state}"
    return "rests: there was nothing to do" if found.state == "idle" else found.state


def _when(spec: ScheduleSpec) -> str:
    if spec.cron is not None:
        return f"{spec.cron} in {spec.zone}"
    return f"every {duration(spec.every)}" if spec.every is not None else "once"


for one in (create, list_, show, pause, resume, run, delete):
    schedule.add_command(one)

COMMANDS = {"This machine": (schedule,)}
