"""The calls of a conversation that wait for a person: asked one after the other, answered here or elsewhere."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from roost.cli.terminal.actions import Actions
from roost.cli.terminal.blocks import title
from roost.cli.terminal.conversation import Conversation
from roost.cli.terminal.dialog import SCOPES, Answer, ApprovalDialog, arguments_of
from roost.cli.terminal.keys import Event, Key
from roost.cli.terminal.lines import DIM, GREEN, RED, YELLOW, Line
from roost.errors import RoostError
from roost.ids import short
from roost.log.events import ApprovalResolved
from roost.log.session_views import WaitingCall
from roost.policy.standing_rules import parsed
from roost.terminal_text import one_line

_POLL = 1.5
"""Seconds between looks for calls of descendants, whose answers are not in the log of this session, and before a look
that failed is repeated."""
_LEAST_ROWS, _OWN_ROWS = 12, 10
"""Rows of a question that count as read together: those of the screen without the choices, and never fewer."""
_BELL = "\a"
_NOTIFY = "\x1b]9;{}\x1b\\"


class Approving:
    """The questions of one terminal. `yes`: every call is allowed without asking."""

    def __init__(self, chat: Actions, *, yes: bool) -> None:
        self._chat, self._yes = chat, yes
        self._dialogs: list[ApprovalDialog] = []
        self._shown: ApprovalDialog | None = None
        self._end = -1
        """Blocks of the conversation when the question was shown; -1: it was longer than the screen."""
        self._answered: set[tuple[str, str, int]] = set()
        self._given: set[tuple[str, str]] = set()
        """Session and id of each call that was answered here."""
        self._asked: dict[str, WaitingCall] = {}
        """Each call that was asked about."""
        self._focus = False
        self._asking = False
        self._looked = 0.0
        self._again_at = 0.0
        """When the calls are read again that could not be read, or answered."""

    @property
    def count(self) -> int:
        return len(self._dialogs)

    def clear(self) -> None:
        """Forget all questions: another session is followed."""
        self._dialogs.clear()
        self._shown = None
        self._answered.clear()

    def due(self) -> float | None:
        """Return the seconds until the questions change by themselves."""
        waits = [self._look_in()] if self._chat.link is not None else []
        if self._shown is not None and not self._shown.armed:
            waits.append(self._shown.arms_in())
        return min((one for one in waits if one is not None), default=None)

    def follow(self, talk: Conversation) -> None:
        """Handle what the conversation has told about questions and answers."""
        resolved, talk.resolved = talk.resolved, []
        answered = {event.call for event in resolved}
        for dialog in [one for one in self._dialogs if one.waiting.call in answered and not one.elsewhere]:
            self._close(dialog)
        if self._chat.link is not None and self._look_in() == 0:
            self._look(talk)
        self._next()

    def _look_in(self) -> float | None:
        """Return the seconds until the waiting calls have to be read again; None: they need not."""
        if self._asking:
            return None
        now = time.monotonic()
        if self._chat.conversation.asked:
            return max(0.0, self._again_at - now)
        elsewhere = any(dialog.elsewhere for dialog in self._dialogs)
        return max(0.0, self._looked + _POLL - now) if elsewhere else None

    def _look(self, talk: Conversation) -> None:
        """Read the waiting calls again, in the worker."""
        link = self._chat.link
        assert link is not None
        talk.asked, self._asking, self._looked = False, True, time.monotonic()

        def read(found: list[WaitingCall]) -> None:
            self._asking = False
            if self._chat.link is link:
                self._take(found)

        def failed(error: Exception) -> None:
            self._asking, talk.asked, self._again_at = False, True, time.monotonic() + _POLL

        link.waiting(read, failed)

    def _take(self, found: list[WaitingCall]) -> None:
        link = self._chat.link
        assert link is not None
        there = {_key(one) for one in found}
        for dialog in [one for one in self._dialogs if one.elsewhere and _key(one.waiting) not in there]:
            self._chat.note(f"✔ answered elsewhere: {_what(dialog.waiting)}", DIM)
            self._close(dialog)
        known = {_key(dialog.waiting) for dialog in self._dialogs} | self._answered
        for waiting in found:
            if _key(waiting) in known:
                continue
            elsewhere = "" if waiting.session == link.session else f"{waiting.agent}, session {short(waiting.session)}"
            self._asked[waiting.call] = waiting
            dialog = ApprovalDialog(waiting, elsewhere=elsewhere)
            if self._yes:
                self._send(dialog, Answer("approve"))
            else:
                self._dialogs.append(dialog)
                self._ring(waiting)
        self._next()

    def _ring(self, waiting: WaitingCall) -> None:
        """Tell the person, who may be elsewhere: by the bell, and by the terminal's notification."""
        text = one_line(f"roost: {waiting.tool} waits for you", 80)
        self._chat.tty.write(_BELL + _NOTIFY.format(text))

    def _next(self) -> None:
        """Show the first question that is not shown yet."""
        first = self._dialogs[0] if self._dialogs else None
        if first is self._shown:
            return
        self._shown, self._focus = first, False
        if first is not None:
            first.shown()
            blocks, live = list(first.blocks()), self._chat.live
            for block in blocks:
                self._chat.conversation.block(block, "tool")
            whole = sum(len(block.rows(live.width)) for block in blocks) <= max(_LEAST_ROWS, live.rows - _OWN_ROWS)
            first.read = first.read and whole
            self._end = self._chat.conversation.added if whole else -1

    def describe(self, event: ApprovalResolved) -> tuple[str, str]:
        """Return words and style for an answer that the log has: whose it was, unless it was given here."""
        word, style = {
            "approve": ("✔ allowed", GREEN), "modify": ("✔ allowed, changed", GREEN), "reject": ("✗ rejected", RED)
        }[event.decision]  # fmt: skip
        link = self._chat.link
        mine = link is not None and (link.session, event.call) in self._given
        who = "" if mine else _who(event)
        asked = self._asked.get(event.call)
        what = "" if asked is None else _what(asked, event.arguments)
        rules = " and ".join(parsed(rule).says for rule in event.always)
        where = SCOPES[event.scope or "session"]
        always = f"; from now on {where}: {rules} (/policy list, /policy revoke)" if rules else ""
        reason = f" ({event.note})" if event.note else ""
        return f"{word}{who}{what and ': '}{what}{reason}{always}", style

    def _close(self, dialog: ApprovalDialog) -> None:
        self._dialogs.remove(dialog)
        if dialog is self._shown:
            self._shown = None

    # Keys

    def typing(self) -> None:
        """A key came that belongs to the draft."""
        if self._shown is not None:
            self._shown.typing()

    def takes(self, event: Event, draft: str) -> bool:
        """Return whether the question takes this key: never one typed before it is armed, nor one of a draft."""
        dialog = self._shown
        if dialog is None:
            return False
        if dialog.stage != "choose":
            return True
        if not isinstance(event, Key) or not dialog.armed:
            return False
        if draft and not self._focus:
            if event.name == "tab":
                self._focus = True
                return True
            return event.name == "escape"
        if event.name in ("up", "down", "enter", "escape"):
            return True
        return event.name == "text" and (self._focus or event.text.lower() in ("y", "a", "e", "n", "d", "?"))

    def key(self, event: Event) -> None:
        dialog = self._shown
        assert dialog is not None
        if isinstance(event, Key) and event.name == "tab":
            return
        if dialog.stage != "choose" and isinstance(event, Key) and event.name == "ctrl-c":
            dialog.stage = "choose"
            return
        done = dialog.key(event)
        if isinstance(done, Answer):
            self._decide(dialog, done)
        elif done == "details":
            self._chat.page(dialog.whole())
        elif done == "edit":
            self._edit(dialog)
        elif done == "cancel":
            self._chat.cancel()

    def rows(self, width: int, height: int, draft: str) -> list[Line]:
        """Return the choices of the question that is shown."""
        if self._shown is None:
            return []
        place = f"1 of {len(self._dialogs)}" if len(self._dialogs) > 1 else ""
        gone = self._end != self._chat.conversation.added  # other blocks stand below the question
        return self._shown.rows(width, height, place=place, draft=bool(draft) and not self._focus, again=gone)

    def _decide(self, dialog: ApprovalDialog, answer: Answer) -> None:
        self._dialogs.remove(dialog)
        self._shown = None
        self._send(dialog, answer)
        self._next()

    def _send(self, dialog: ApprovalDialog, answer: Answer) -> None:
        link = self._chat.link
        assert link is not None
        waiting = dialog.waiting
        self._answered.add(_key(waiting))
        self._given.add((waiting.session, waiting.call))

        def then() -> None:
            if dialog.elsewhere:
                word = "✗ rejected" if answer.decision == "reject" else "✔ allowed"
                self._chat.note(f"{word}: {_what(waiting)}", RED if answer.decision == "reject" else GREEN)

        def failed(error: Exception) -> None:
            self._given.discard((waiting.session, waiting.call))
            if isinstance(error, RoostError) and error.code == "not_waiting":
                self._chat.note(f"it was answered elsewhere: {_what(waiting)}", YELLOW)
            else:
                self._answered.discard(_key(waiting))
                self._chat.failed(error)
                self._chat.conversation.asked, self._again_at = True, time.monotonic() + _POLL

        link.answer(waiting, answer, then, failed)

    def _edit(self, dialog: ApprovalDialog) -> None:
        """Let the person change the call's arguments in their editor, then run it so."""
        from roost.cli.terminal.programs import edited

        before = arguments_of(dialog.waiting)
        command = before.get("command")
        if isinstance(command, str):
            before = {**before, "command": command.rstrip("\n")}  # as editors end a file
        with self._chat.lent():
            if isinstance(command, str):
                text = edited(command, suffix=".sh")
            else:
                text = edited(msgspec.json.format(msgspec.json.encode(before), indent=2).decode(), suffix=".json")
        if text is None:
            self._chat.hint("the editor failed, so nothing was decided (set EDITOR)")
            return
        changed: dict[str, Any]
        if isinstance(command, str):
            changed = {**before, "command": text.rstrip("\n")}
        else:
            try:
                changed = msgspec.json.decode(text.encode(), type=dict[str, Any])
            except msgspec.MsgspecError as error:
                self._chat.hint(f"that is no JSON object, so nothing was decided: {error}")
                return
        if changed == before:
            self._chat.hint("nothing was changed, so nothing was decided")
            return
        self._decide(dialog, Answer("modify", arguments=changed))


def _key(waiting: WaitingCall) -> tuple[str, str, int]:
    return waiting.session, waiting.call, waiting.asked


def _what(waiting: WaitingCall, changed: str | None = None) -> str:
    """Return a call in a few words. `changed`: the arguments that it runs with instead."""
    return one_line(f"{waiting.tool} {title(waiting.tool, changed or waiting.arguments)}", 70)


def _who(event: ApprovalResolved) -> str:
    """Say who answered, and from where."""
    by = f" by {event.account}" if event.account else ""
    return f"{by} from {event.source}" if event.source else by
