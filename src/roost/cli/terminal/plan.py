"""Plan first, then work: `/plan TEXT` asks for a plan while nothing may be changed, `/go` has it carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.cli.terminal.actions import Actions
from roost.cli.terminal.link import Link

if TYPE_CHECKING:
    from roost.policy.gate import Permissions

_ASK = "Make a plan for this. Look at what you need, change nothing yet, and end with the plan."
_GO = "Carry out the plan."


def plan(chat: Actions, link: Link, text: str) -> None:
    """Ask for a plan. Until `/go` or `/mode` the agent may only read."""
    if chat.conversation.working:
        chat.hint("a turn is running: Esc stops it, then /plan")
    elif not text:
        chat.hint("say what for, as in: /plan make the tests faster")
    else:
        former = link.planned_from or (chat.permissions if chat.permissions != "read_only" else "")
        _adjust(chat, link, "read_only", f"{text}\n\n{_ASK}", former)


def go(chat: Actions, link: Link, text: str) -> None:
    """Have the plan carried out, with the permissions that counted before it."""
    if chat.conversation.working:
        chat.hint("a turn is running: wait for the plan")
    elif not link.planned_from:
        chat.hint("there is no /plan in this conversation; /mode says what the agent may do")
    else:
        _adjust(chat, link, link.planned_from, text or _GO, "")


def _adjust(chat: Actions, link: Link, mode: str, message: str, former: str) -> None:
    """Change the permissions, and send the message once they have changed."""

    def done(_: object) -> None:
        if chat.link is not link:
            return
        chat.permissions, link.planned_from = mode, former
        if former:
            chat.note("it changes nothing until /go carries out the plan, or /mode chooses otherwise")
        chat.say(message, "follow_up")

    def failed(error: Exception) -> None:
        chat.input.editor.set(message)
        chat.failed(error)

    permissions: Permissions = mode  # pyright: ignore[reportAssignmentType]
    chat.worker.do(
        lambda: link.node.upgrades.adjust(link.session, permissions=permissions, by="terminal"), done, failed
    )
