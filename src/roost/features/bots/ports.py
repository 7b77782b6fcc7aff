"""The port of the tool `send_message`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from roost.features.bots.post import BotPost
from roost.features.bots.records import LetterFile
from roost.features.uploads.ports import UploadedFiles
from roost.tools.errors import ToolError
from roost.workspace.files import Workspace


class SessionPost(NamedTuple):
    """Writes for one call of a session."""

    post: BotPost
    session: str
    user: str
    key: str
    uploads: UploadedFiles | None

    async def send(self, text: str, to: str, files: Sequence[LetterFile] = ()) -> str:
        return await self.post.send(text, to, key=self.key, session=self.session, user=self.user, files=files)

    async def copied(self, workspace: Workspace, paths: Sequence[str]) -> list[LetterFile]:
        """Copy files of the workspace for the message. Raises `ToolError`, and what reading a file raises."""
        from roost.features.bots.workspace_files import MOST_FILES, copied

        if self.uploads is None:
            raise ToolError("this node keeps no files")
        if len(paths) > MOST_FILES:
            raise ToolError(f"a message has at most {MOST_FILES} files")
        return [
            await copied(
                self.uploads,
                workspace,
                path,
                key=f"bot:{self.key}:{number}:{path}",
                session=self.session,
            )
            for number, path in enumerate(paths)
        ]
