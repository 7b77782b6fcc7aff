"""Bots, at the seams of the loop."""

from __future__ import annotations

import time

from roost.agent.feature import Feature
from roost.agent.interrupts import Interrupted
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.bots import TOOLS
from roost.features.bots.events import FilesSent, SendFilesInput, SentFile
from roost.features.uploads.ports import UploadedFiles
from roost.log.protocols import InboxItem
from roost.tools.base import ToolContext


def _later(session: Session, item: InboxItem) -> None:
    """Leave the order to `between_turns`, which takes time."""


class Bots(Feature):
    """Give calls of `send_message` the session's post, and copy files that an answer names for the chat."""

    takes = {SendFilesInput: _later}

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if call.call.name in TOOLS:
            from roost.features.bots.ports import SessionPost
            from roost.features.bots.post import BotPost

            if (post := session.means.find(BotPost)) is not None:
                uploads = session.means.find(UploadedFiles)
                context.give(SessionPost(post, session.id, session.about.get("user", ""), context.key, uploads))

    async def between_turns(self, session: Session) -> None:
        if not (orders := _orders(session)):
            return
        detached, session.interrupts.detached = session.interrupts.detached, True
        try:
            for item in orders:
                files = await session.interrupts.interruptible(lambda item=item: _copied(session, item), steer=False)
                assert isinstance(item.input, SendFilesInput)
                event = FilesSent(at=time.time(), input=item.id, of=item.input.of, files=files)
                session.log.note(event, consume=item.id)
        except Interrupted:
            return
        finally:
            session.interrupts.detached = detached


def _orders(session: Session) -> list[InboxItem]:
    return [item for item in session.inbox if isinstance(item.input, SendFilesInput)]


async def _copied(session: Session, item: InboxItem) -> tuple[SentFile, ...]:
    from roost.features.bots.workspace_files import sent_file
    from roost.features.snapshots import workspace_saving

    order, uploads, workspace = item.input, session.means.find(UploadedFiles), session.means.workspace
    assert isinstance(order, SendFilesInput)
    if uploads is None:
        return tuple(SentFile(path, error="this node keeps no files") for path in order.paths)
    await workspace_saving.restore_files(session)
    return tuple(
        [
            await sent_file(uploads, workspace, path, key=f"bot:{session.id}:{item.id}:{path}", session=session.id)
            for path in order.paths
        ]
    )


FEATURE = Bots()
