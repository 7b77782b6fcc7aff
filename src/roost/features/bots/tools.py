"""`send_message`: write to a person who has not asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from roost.features.bots.ports import SessionPost
from roost.policy.rules import Touches
from roost.policy.touched_paths import files as touched
from roost.tools.base import ToolContext
from roost.tools.function import tool


def _reach(arguments: Mapping[str, Any], root: Path) -> Touches:
    """Effects of a call: it reads the files that it sends."""
    given = arguments.get("files")
    return touched(root, reads=[one for one in given if isinstance(one, str)] if isinstance(given, list) else ())  # pyright: ignore[reportUnknownVariableType]


@tool(replay="safe", safety="safe_write", files=False, reach=_reach)
async def send_message(
    context: ToolContext,
    text: Annotated[str, "What to say, in Markdown."],
    to: Annotated[str, "A chat, as in `pigeon/7`, or a bot; empty: where the person wrote last."] = "",
    files: Annotated[list[str] | None, "Files of the workspace to send with it, by their paths."] = None,
) -> str:
    """Write to a person by a bot, such as on Telegram, when they have not asked. An answer to a message needs no call:
    what you say is sent, and so is a file of the workspace that you link to, as in [report](report.pdf)."""
    post = context.port(SessionPost, "there are no bots here")
    sent = await post.copied(context.workspace, files) if files else ()
    return await post.send(text, to, sent)
