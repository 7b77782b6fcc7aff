"""Questions of agents to people: shown with buttons, answered by a press or a command. The first answer counts."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from typing import Any

import msgspec

from roost.doors.bots.platform import Button, Pressed
from roost.errors import Conflict, NotFound
from roost.features.bots.records import Chat, Meant
from roost.features.delegation.events import ChildWaits
from roost.log.events import ApprovalRequested
from roost.log.session_info import Decision
from roost.log.session_views import WaitingCall
from roost.server.app_state import Api
from roost.terminal_text import visible, visible_line

_SHOWN = 12_000
"""Characters of a call that a chat is shown, in several messages where one is too short. A longer one is allowed
elsewhere: nobody allows what they were not shown."""
_TOO_LONG = "It is too long for a chat: read and answer it in the console or a terminal. Only /reject counts here."
_DONE = {"approve": "Approved.", "reject": "Rejected."}


def question_id(session: str, call: str, asked: int | None) -> str:
    """Return what names a question in the data of a button, which has 64 bytes."""
    return hashlib.blake2b(f"{session}\0{call}\0{asked}".encode(errors="replace"), digest_size=12).hexdigest()


def buttons(question: str) -> tuple[Button, ...]:
    return (Button("Approve", f"approve:{question}"), Button("Reject", f"reject:{question}"))


def asked_text(event: ApprovalRequested | WaitingCall) -> str:
    """Return a question as Markdown. What the model wrote is in a block of code, whose fence it cannot close."""
    shown = _call_text(event.arguments)
    name = event.name if isinstance(event, ApprovalRequested) else event.tool
    dangers = "".join(f"\n• {_line(one.text)}: {_line(one.why)}" for one in event.dangers[:8])
    head = f"**May I?** {_line(name)}: {_line(event.reason)}{dangers}\n"
    return head + (fenced(shown) if len(shown) <= _SHOWN else f"{fenced(shown[:_SHOWN])}\n{_TOO_LONG}")


def fits(arguments: str) -> bool:
    """Whether a chat is shown all of a call."""
    return len(_call_text(arguments)) <= _SHOWN


def _call_text(arguments: str) -> str:
    """Return the arguments as what they are, and not as the model has written them: JSON can spell each letter as a
    number. What hides or reorders text has its number instead."""
    try:
        given = msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return visible(arguments)
    lines: list[str] = []
    for name, value in given.items():
        text = visible(value if isinstance(value, str) else msgspec.json.encode(value).decode())
        if name == "command" and isinstance(value, str):
            lines += [f"$ {line}" for line in text.split("\n")]
        elif "\n" in text:
            lines += [f"{visible_line(name)}:", *(f"| {line}" for line in text.split("\n"))]
        else:
            lines.append(f"{visible_line(name)}: {text}")
    return "\n".join(lines) or "{}"


async def child_text(api: Api, event: ChildWaits) -> str:
    """Return the question of a task in the background, as Markdown; empty when it waits no more."""
    found = await _waiting_call(api, event.session, event.call)
    return (
        ""
        if found is None
        else f"A task in the background asks, and /approve or /reject answers it.\n{asked_text(found)}"
    )


async def _waiting_call(api: Api, session: str, call: str, asked: int | None = None) -> WaitingCall | None:
    try:
        waiting = (await api.runtime.approvals.waiting(session)).approvals
    except NotFound:
        return None
    return next(
        (one for one in waiting if (one.session, one.call) == (session, call) and asked in (None, one.asked)), None
    )


def fenced(text: str) -> str:
    """Return a text as a block of code, whatever it holds."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _line(text: str) -> str:
    return " ".join("".join("\\" + one if one in "\\`*_{}[]()#+-.!~>|" else one for one in text).split())[:500]


async def waiting(api: Api, chat: Chat) -> list[WaitingCall]:
    """Return the questions of a chat's sessions and of those that come from them, the newest session first."""
    found: list[WaitingCall] = []
    for span in reversed(chat.spans):
        try:
            found += (await api.runtime.approvals.waiting(span.session)).approvals
        except NotFound:
            continue
    return found


async def press(api: Api, chat: Chat, event: Pressed, *, source: str) -> str:
    """Answer the question of a button. Return what to tell the person who pressed it."""
    decision, _, question = event.data.partition(":")
    if decision not in _DONE:
        return "I do not know this button."
    for one in await waiting(api, chat):
        if question_id(one.session, one.call, one.asked) == question:
            return await _answer(api, one, "approve" if decision == "approve" else "reject", source)
    return "This question was answered already."


async def newest(api: Api, session: str, number: int, shown: Container[str]) -> Meant:
    """Return the newest question of a session that its chat was shown, as what the message of this number is about: a
    person cannot mean one that they have not seen. shown: the calls of those that were. Raises `NotFound`."""
    waiting = (await api.runtime.approvals.waiting(session)).approvals
    found = [one for one in waiting if one.call in shown]
    return Meant(number, found[-1].session, found[-1].call, found[-1].asked) if found else Meant(number)


async def answer_meant(api: Api, meant: Meant, *, approve: bool, source: str) -> str:
    """Answer a question, if it still waits. Raises `NotFound`."""
    if not meant.call:
        return "No question waits for an answer."
    if approve:
        found = await _waiting_call(api, meant.session, meant.call, meant.asked)
        if found is not None and not fits(found.arguments):
            return _TOO_LONG
    return await _answer(api, meant, "approve" if approve else "reject", source)


async def _answer(api: Api, call: WaitingCall | Meant, decision: Decision, source: str) -> str:
    try:
        await api.runtime.approvals.answer(call.session, call.call, decision, asked=call.asked, source=source)
    except Conflict as error:
        if error.code != "not_waiting":
            raise
        return f"Too late: {error.message}"[:200]
    return _DONE[decision]
